"""The network simplex: exact, on the CPU, one problem at a time."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import ot
import torch

from gilot_plugin.attribution.transport.certificate import feasible, rounded
from gilot_plugin.attribution.transport.column_generation import Optimum, generate_columns
from gilot_plugin.attribution.transport.problem import (
    MOST_FLOWS,
    Coupling,
    FloatArray,
    Flows,
    HostProblem,
    TransportProblem,
    TransportResult,
    on_host,
)

#: Pivots after which the network simplex gives up; supports of 2,000 outcomes need some 10^5.
_MAX_PIVOTS = 10_000_000

#: Outcomes from which column generation is tried first: twice as fast as all arcs at once there, and some 20
#: times on problems of language models with 1,000 to 2,000.
_SPARSE_FROM = 200

#: Memory by entry of the cost matrix: the costs and the plan in float64, and some 16 bytes in the simplex.
_ENTRY_BYTES = 40
_FIXED_BYTES = 2**22


class Exact:
    """Network simplex of POT (``ot.emd``), certified by its own potentials.

    Its potentials are checked on every arc, so that the lower bound holds whatever the simplex did.
    ``upper - lower`` is round-off, or what is allowed. If the simplex runs out of pivots (which a
    ``RuntimeWarning`` says), the result is the best plan that it found.

    Args:
        threads: Problems of one call that are solved at the same time.
        batched: Whether it is to be given many problems at once, as costs on a device should be, which then
            come to the host together.
        most_flows: Flows of a result.
        allowed_gap: Gap of a large problem that is left as it is, in units of the ground cost.
    """

    def __init__(
        self,
        threads: int = 1,
        batched: bool = False,
        most_flows: int = MOST_FLOWS,
        allowed_gap: float = 0.0,
    ) -> None:
        self._threads, self.batched = threads, batched
        self._solve = partial(_solve, most_flows=most_flows, allowed_gap=allowed_gap)

    def peak_bytes(self, outcomes: int) -> int:
        """What the simplex takes on all arcs, which is the last resort; columns take a third of it."""
        return _FIXED_BYTES + _ENTRY_BYTES * outcomes**2

    def host_bytes(self, outcomes: int) -> int:
        """All of it."""
        return self.peak_bytes(outcomes)

    def __call__(self, problems: Sequence[TransportProblem]) -> list[TransportResult]:
        """One result a problem, in their order."""
        return self.solve(on_host(problems))

    def solve(self, problems: Sequence[HostProblem]) -> list[TransportResult]:
        """The same of problems on the host."""
        if self._threads == 1 or len(problems) <= 1:
            return [self._solve(problem) for problem in problems]
        # The simplex lets go of the interpreter's lock.
        with ThreadPoolExecutor(self._threads, thread_name_prefix="gilot-transport") as pool:
            return list(pool.map(self._solve, problems))


def _solve(problem: HostProblem, most_flows: int, allowed_gap: float) -> TransportResult:
    source, target, costs = problem
    found: Optimum | None = None
    if len(source) >= _SPARSE_FROM:
        found = generate_columns(source, target, costs, _MAX_PIVOTS, allowed_gap)
    plan, lower = found or _all_arcs(source, target, costs.astype(np.float64, copy=False))
    cost = float(plan.masses @ costs[plan.rows, plan.columns])
    flows = Flows.of(plan, costs, most_flows)
    return TransportResult(cost, flows, min(max(0.0, lower), cost), cost, float(costs.max()))


def _all_arcs(source: FloatArray, target: FloatArray, costs: FloatArray) -> Optimum:
    """The simplex on the dense problem, which also ends with a coupling if it does not finish."""
    plan, log = ot.emd(source, target, costs, numItermax=_MAX_PIVOTS, log=True)
    if log["warning"] is not None:
        warnings.warn(f"network simplex did not finish: {log['warning']}", RuntimeWarning, stacklevel=2)
        tensors = (torch.from_numpy(array)[None] for array in (plan, source, target))
        plan = rounded(*tensors).plan[0].numpy()
    tensors = (torch.from_numpy(array)[None] for array in (log["u"], source, target, costs))
    return Optimum(Coupling.of(plan), float(feasible(*tensors).value))
