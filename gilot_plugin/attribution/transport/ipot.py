"""The published solver, for comparison with published numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gilot_plugin.attribution.transport.exact import Exact
from gilot_plugin.attribution.transport.problem import (
    MOST_FLOWS,
    Coupling,
    Flows,
    HostProblem,
    TransportProblem,
    TransportResult,
    on_host,
)

_BETA = 2.0
_ITERATIONS = 1000
_FLOOR = 1e-4
#: Iterations after which the scalings are multiplied into the plan, before they could overflow.
_ABSORB = 50
#: Memory by entry of the cost matrix: seven arrays of 8 bytes.
_ENTRY_BYTES = 56


class Ipot:
    """Inexact proximal point iterations as the published GiLOT code runs them (Xie et al. 2020, algorithm 1).

    beta = 2, 1000 outer iterations with one inner, plan started at 1/n^2, and 1e-4 added to every entry of
    both vectors, which therefore sum to more than 1. It is slower than the exact solver, and its value has an
    error, which the bounds show: they are those of the original problem, without the added 1e-4.

    Args:
        batched: Whether it is to be given many problems at once, as costs on a device should be, which then
            come to the host together.
        most_flows: Flows of a result.
    """

    def __init__(self, batched: bool = False, most_flows: int = MOST_FLOWS) -> None:
        self.batched, self._most_flows = batched, most_flows

    def peak_bytes(self, outcomes: int) -> int:
        """Its matrices and the plan with the place of every entry, and what the exact solver takes."""
        return _ENTRY_BYTES * outcomes**2 + Exact().peak_bytes(outcomes)

    def host_bytes(self, outcomes: int) -> int:
        """All of it."""
        return self.peak_bytes(outcomes)

    def __call__(self, problems: Sequence[TransportProblem]) -> list[TransportResult]:
        """The last plan of each problem and its cost, in their order."""
        return [_solve(problem, self._most_flows) for problem in on_host(problems)]


def _solve(problem: HostProblem, most_flows: int) -> TransportResult:
    costs = problem.costs.astype(np.float64, copy=False)
    size = len(costs)
    mu, nu = problem.source + _FLOOR, problem.target + _FLOOR
    kernel = np.exp(-costs / _BETA)
    # The plan is diag(left) core diag(right): scaling the core at every step would double the memory traffic.
    core = np.full((size, size), 1.0 / size**2)
    left, right, scaling = np.ones(size), np.ones(size), np.full(size, 1.0 / size)
    for iteration in range(1, _ITERATIONS + 1):
        np.multiply(core, kernel, out=core)
        step = mu / (left * (core @ (right * scaling)))
        left = left * step
        scaling = nu / (right * (left @ core))
        right = right * scaling
        if iteration % _ABSORB == 0:
            core *= left[:, None]
            core *= right
            left, right = np.ones(size), np.ones(size)
    plan = left[:, None] * core * right
    cost = float(np.vdot(plan, costs))
    (optimum,) = Exact().solve([problem])
    flows = Flows.of(Coupling.of(plan), costs, most_flows)
    return TransportResult(cost, flows, optimum.lower, optimum.upper, optimum.largest_cost)
