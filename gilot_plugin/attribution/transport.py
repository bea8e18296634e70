"""Optimal transport between two distributions on the same outcomes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import ot
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: Pivots after which the network simplex gives up; supports of 2,000 outcomes need some 10^5.
_MAX_PIVOTS = 10_000_000

_IPOT_BETA = 2.0
_IPOT_ITERATIONS = 1000
_IPOT_FLOOR = 1e-4
#: Iterations after which the scalings are multiplied into the plan, before they could overflow.
_IPOT_ABSORB = 50


class TransportResult(NamedTuple):
    """Solution of a transport problem.

    Attributes:
        cost: Value that the solver reports, ``<plan, costs>``.
        plan: Coupling, ``[n, n]``.
        lower: Certified lower bound of the optimal cost: value of feasible dual potentials.
        upper: Certified upper bound: cost of a feasible plan.
    """

    cost: float
    plan: FloatArray
    lower: float
    upper: float

    @property
    def gap(self) -> float:
        """Width of the certified interval."""
        return self.upper - self.lower


def exact(source: FloatArray, target: FloatArray, costs: FloatArray) -> TransportResult:
    """Network simplex of POT (``ot.emd``), certified by its own potentials.

    The potentials are made feasible by a c-transform, so that the lower bound holds whatever the solver did.

    Args:
        source: ``[n]``, sums to 1.
        target: ``[n]``, sums to 1.
        costs: ``[n, n]``.

    Returns:
        The optimal plan; ``upper - lower`` is round-off. If the simplex runs out of pivots (which a
        ``RuntimeWarning`` says), the best plan that it found.
    """
    plan, log = ot.emd(source, target, costs, numItermax=_MAX_PIVOTS, log=True)
    if log["warning"] is not None:
        warnings.warn(f"network simplex did not finish: {log['warning']}", RuntimeWarning, stacklevel=2)
        plan = _completed(plan, source, target)
    cost = float(np.vdot(plan, costs))
    lower = float(source @ log["u"] + target @ (costs - log["u"][:, None]).min(axis=0))
    return TransportResult(cost, plan, min(max(lower, 0.0), cost), cost)


def _completed(plan: FloatArray, source: FloatArray, target: FloatArray) -> FloatArray:
    """A coupling made of a plan that moves too little: the rest moves from everywhere to everywhere."""
    left = np.maximum(source - plan.sum(axis=1), 0.0)
    missing = np.maximum(target - plan.sum(axis=0), 0.0)
    completed: FloatArray = plan + np.outer(left, missing) / max(left.sum(), np.finfo(np.float64).tiny)
    return completed


def ipot(source: FloatArray, target: FloatArray, costs: FloatArray) -> TransportResult:
    """Inexact proximal point iterations as the published GiLOT code runs them (Xie et al. 2020, algorithm 1).

    beta = 2, 1000 outer iterations with one inner, plan started at 1/n^2, and 1e-4 added to every entry of
    both vectors, which therefore sum to more than 1. Kept for comparison with published numbers: it is slower
    than :func:`exact` and its value carries the error that the bounds show.

    Args:
        source: ``[n]``, sums to 1.
        target: ``[n]``, sums to 1.
        costs: ``[n, n]``.

    Returns:
        The last plan and its cost. The bounds are those of the original problem, without the added 1e-4.
    """
    size = len(source)
    mu, nu = source + _IPOT_FLOOR, target + _IPOT_FLOOR
    kernel = np.exp(-costs / _IPOT_BETA)
    # The plan is diag(left) core diag(right): scaling the core at every step would double the memory traffic.
    core = np.full((size, size), 1.0 / size**2)
    left, right, scaling = np.ones(size), np.ones(size), np.full(size, 1.0 / size)
    for iteration in range(1, _IPOT_ITERATIONS + 1):
        np.multiply(core, kernel, out=core)
        step = mu / (left * (core @ (right * scaling)))
        left = left * step
        scaling = nu / (right * (left @ core))
        right = right * scaling
        if iteration % _IPOT_ABSORB == 0:
            core *= left[:, None]
            core *= right
            left, right = np.ones(size), np.ones(size)
    plan = left[:, None] * core * right
    cost = float(np.vdot(plan, costs))
    optimum = exact(source, target, costs)
    return TransportResult(cost, plan, optimum.lower, optimum.upper)


Solver = Callable[[FloatArray, FloatArray, FloatArray], TransportResult]

#: Values of the setting ``solver``; ``auto`` is the exact one.
SOLVERS: Mapping[str, Solver] = {"auto": exact, "exact": exact, "ipot": ipot}
