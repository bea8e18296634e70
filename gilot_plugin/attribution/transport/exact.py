"""The network simplex: exact, on the CPU, one problem at a time."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import ot
import torch

from gilot_plugin.attribution.transport.certificate import lower_bound, rounded
from gilot_plugin.attribution.transport.problem import (
    FloatArray,
    TransportProblem,
    TransportResult,
    host_costs,
)

#: Pivots after which the network simplex gives up; supports of 2,000 outcomes need some 10^5.
_MAX_PIVOTS = 10_000_000


class Exact:
    """Network simplex of POT (``ot.emd``), certified by its own potentials.

    The potentials are made feasible by c-transforms, so that the lower bound holds whatever the simplex did.
    ``upper - lower`` is round-off. If the simplex runs out of pivots (which a ``RuntimeWarning`` says), the
    result is the best plan that it found.
    """

    batched = False

    def __call__(self, problems: Sequence[TransportProblem]) -> list[TransportResult]:
        """One result a problem, in their order."""
        return [_solve(problem) for problem in problems]


def _solve(problem: TransportProblem) -> TransportResult:
    source, target, _ = problem
    costs = host_costs(problem)
    plan, log = ot.emd(source, target, costs, numItermax=_MAX_PIVOTS, log=True)
    if log["warning"] is not None:
        warnings.warn(f"network simplex did not finish: {log['warning']}", RuntimeWarning, stacklevel=2)
        plan = _completed(plan, source, target)
    cost = float(np.vdot(plan, costs))
    a, b, c, potentials = (torch.from_numpy(array)[None] for array in (source, target, costs, log["u"]))
    lower = float(lower_bound(potentials, a, b, c))
    return TransportResult(cost, plan, min(max(0.0, lower), cost), cost)


def _completed(plan: FloatArray, source: FloatArray, target: FloatArray) -> FloatArray:
    """A coupling made of a plan that moves too little."""
    tensors = (torch.from_numpy(array)[None] for array in (plan, source, target))
    completed: FloatArray = rounded(*tensors).plan[0].numpy()
    return completed
