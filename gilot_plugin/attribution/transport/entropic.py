"""Entropic solvers: scale, certify, sharpen, until the certified gap is small enough.

Sinkhorn's algorithm and the proximal point method both follow the solutions of entropic problems whose
regularisation vanishes. They differ in the path, which is all that :mod:`.sinkhorn` and :mod:`.proximal` say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from gilot_plugin.attribution.transport import padding
from gilot_plugin.attribution.transport.certificate import lower_bound, rounded
from gilot_plugin.attribution.transport.padding import Batch, in_chunks, padded
from gilot_plugin.attribution.transport.problem import Coupling, TransportProblem, TransportResult
from gilot_plugin.attribution.transport.scaling import Scalings, scale, unscaled

#: Iterations (one update of rows and columns each) after which a problem stays as good as it is. Problems
#: of language models take 20 to 300 for a gap of 1e-3.
MAX_ITERATIONS = 3000

#: Iterations between two certificates, which cost about as much as ten.
_SWEEPS = 20

#: Exponent of the changes of scalings: 1.0 takes twice the iterations on problems of language models, and so
#: does 1.75.
_RELAXATION = 1.6

#: No sharper: the exponents would lose what float64 can tell.
_SHARPEST = 1e7

#: Memory of a plan of which every entry carries something, by entry: the entry, its row and its column.
_RESULT_BYTES = 24
_FIXED_BYTES = 2**16


class Path(NamedTuple):
    """How the entropic regularisation vanishes.

    Attributes:
        first: The first sharpness, in units of 1 / cost range.
        next: Scalings to start at with the next sharpness, from those that settled at the last one and those
            that settled at the one before it (:func:`unscaled` before the first).
    """

    first: float
    next: Callable[[Scalings, Scalings], Scalings]


class EntropicSolver:
    """Follows a path until each problem's certified gap is at most ``tolerance`` times its cost range.

    Works on the device where the costs are, in float64, on many problems at once. Bounds hold to round-off in
    any case; a problem that is not solved after :data:`MAX_ITERATIONS` has a wider gap.

    Args:
        tolerance: Largest gap, relative to the cost range.
        path: How the regularisation vanishes.
    """

    batched = True

    def __init__(self, tolerance: float, path: Path) -> None:
        self._tolerance = tolerance
        self._path = path

    def peak_bytes(self, outcomes: int) -> int:
        """Its part of the batch's tensors, and its plan with the place of every entry."""
        return (padding.ENTRY_BYTES + _RESULT_BYTES) * outcomes**2 + _FIXED_BYTES

    def __call__(self, problems: Sequence[TransportProblem]) -> list[TransportResult]:
        """One result a problem, in their order: a coupling, which costs ``upper``, and its certificate."""
        results: dict[int, TransportResult] = {}
        for chunk in in_chunks(problems, padding.WORKING_BYTES):
            solved = _solve(padded([problems[index] for index in chunk]), self._tolerance, self._path)
            for index, result in solved.items():
                results[chunk[index]] = result
        return [results[index] for index in range(len(problems))]


def _solve(batch: Batch, tolerance: float, path: Path) -> dict[int, TransportResult]:
    """Results by index in the batch."""
    results: dict[int, TransportResult] = {}
    numbers = torch.arange(len(batch.source), device=batch.source.device)
    lower = torch.zeros_like(batch.ranges)
    before = unscaled(batch)
    now = before._replace(sharpness=torch.full_like(lower, path.first))
    # Nothing moves that need not. Ends equal distributions, equal places and single outcomes with cost 0.
    plan = torch.diag_embed(torch.minimum(batch.source, batch.target))
    iterations = 0
    while True:
        plan, moved = rounded(plan, batch.source, batch.target)
        upper = (plan * batch.costs).sum((1, 2))
        done = (upper - lower <= tolerance) | torch.full_like(lower, iterations >= MAX_ITERATIONS).bool()
        if done.any():
            for row in done.nonzero()[:, 0].tolist():
                results[int(numbers[row])] = _result(plan[row], upper[row], lower[row], batch.ranges[row])
            if done.all():
                return results
            left = ~done
            batch, before, now = batch.only(left), before.only(left), now.only(left)
            numbers, lower, upper, moved = numbers[left], lower[left], upper[left], moved[left]
        if iterations > 0:
            # Mass that is missing at the marginals costs at most as much: while that dominates, go on here.
            settled = (moved < upper - lower) & (now.sharpness < _SHARPEST)
            before, now = _mixed(settled, now, before), _mixed(settled, path.next(now, before), now)
        del plan
        now, plan = scale(batch, now, _RELAXATION, _SWEEPS)
        lower = torch.fmax(lower, _dual_value(batch, now))
        iterations += _SWEEPS + 1


def _dual_value(batch: Batch, scalings: Scalings) -> torch.Tensor:
    """Best value of the dual at potentials made from either side's scalings, ``[b]``."""
    source, target, costs, _ = batch
    sharpness = scalings.sharpness[:, None]
    rows = (scalings.rows + source.log()) / sharpness
    columns = (scalings.columns + target.log()) / sharpness
    return torch.fmax(
        lower_bound(rows, source, target, costs), lower_bound(columns, target, source, costs.mT)
    )


def _mixed(chosen: torch.Tensor, those: Scalings, others: Scalings) -> Scalings:
    """Those where chosen, ``[b]``, the others elsewhere."""
    return Scalings(
        torch.where(chosen[:, None], those.rows, others.rows),
        torch.where(chosen[:, None], those.columns, others.columns),
        torch.where(chosen, those.sharpness, others.sharpness),
    )


def _result(
    plan: torch.Tensor, upper: torch.Tensor, lower: torch.Tensor, cost_range: torch.Tensor
) -> TransportResult:
    cost = float(upper * cost_range)
    rows, columns = plan.nonzero(as_tuple=True)
    coupling = Coupling(*(part.cpu().numpy() for part in (rows, columns, plan[rows, columns])))
    return TransportResult(cost, coupling, min(float(lower * cost_range), cost), cost)
