"""Entropic solvers: scale, certify, sharpen, until the certified gap is small enough.

Sinkhorn's algorithm and the proximal point method both follow the solutions of entropic problems whose
regularisation vanishes. They differ in the path, which is all that :mod:`.sinkhorn` and :mod:`.proximal` say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from gilot_plugin.attribution.transport import padding
from gilot_plugin.attribution.transport.certificate import Dual, feasible, rounded
from gilot_plugin.attribution.transport.padding import PaddedProblems, in_chunks, padded
from gilot_plugin.attribution.transport.problem import (
    MOST_FLOWS,
    Flows,
    TransportProblem,
    TransportResult,
)
from gilot_plugin.attribution.transport.scaling import Scalings, scale, unscaled
from gilot_plugin.attribution.transport.tolerance import Tolerance
from gilot_plugin.backends.scoring.transfer import HostCopy

#: Iterations (one update of rows and columns each) after which a problem stays as good as it is. Where half
#: of the mass moves, language models' take 100 to 400 for a gap of 1e-3 of the cost; where little moves, as
#: many times more.
MAX_ITERATIONS = 3000

#: Iterations between two certificates, which cost about as much as ten.
_SWEEPS = 20

#: Exponent of the changes of scalings: 1.0 takes twice the iterations on problems of language models, and so
#: does 1.75.
_RELAXATION = 1.6

#: No sharper: the exponents would lose what float64 can tell.
_SHARPEST = 1e7

#: Memory of a solved problem by entry: its plan, and what finding its largest entries takes.
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


class Followed(NamedTuple):
    """A problem at the end of its path, in units of its cost range.

    Attributes:
        number: Its place in the batch.
        plan: Coupling, ``[n, m]``.
        lower: Certified lower bound of the optimal cost.
        upper: Cost of the plan.
        rows: Potentials of the source, ``[n]``, which prove the lower bound with those of the target.
        columns: Potentials of the target, ``[m]``.
    """

    number: int
    plan: torch.Tensor
    lower: torch.Tensor
    upper: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor


class EntropicSolver:
    """Follows a path until each problem's certified gap is small enough.

    Works on the device where the costs are, in float64, on many problems at once. Bounds hold to round-off in
    any case; a problem that is not solved after :data:`MAX_ITERATIONS` has a wider gap.

    Args:
        tolerance: The gap to reach.
        path: How the regularisation vanishes.
        most_flows: Flows of a result.
    """

    batched = True

    def __init__(self, tolerance: Tolerance, path: Path, most_flows: int = MOST_FLOWS) -> None:
        self._tolerance, self._path, self._most_flows = tolerance, path, most_flows

    def peak_bytes(self, outcomes: int) -> int:
        """Its part of the batch's tensors, and its plan, among whose entries the largest are sought."""
        return (padding.ENTRY_BYTES + _RESULT_BYTES) * outcomes**2 + _FIXED_BYTES

    def host_bytes(self, outcomes: int) -> int:
        """Nothing."""
        return 0

    def __call__(self, problems: Sequence[TransportProblem]) -> list[TransportResult]:
        """One result a problem, in their order: a coupling, which costs ``upper``, and its certificate."""
        results: dict[int, TransportResult] = {}
        for chunk in in_chunks(problems, padding.WORKING_BYTES):
            batch = padded([problems[index] for index in chunk])
            # Nothing moves that need not.
            plan = torch.diag_embed(torch.minimum(batch.source, batch.target))
            solved = [
                Certified.of(one.number, one.plan, one.lower, one.upper, batch, self._most_flows)
                for one in follow(batch, plan, self._tolerance, self._path, MAX_ITERATIONS)
            ]
            for number, result in results_of(solved).items():
                results[chunk[number]] = result
        return [results[index] for index in range(len(problems))]


def follow(
    batch: PaddedProblems, plan: torch.Tensor, tolerance: Tolerance, path: Path, most: int
) -> Iterator[Followed]:
    """Solve the problems of a batch; each leaves it as soon as its gap is allowed.

    Args:
        batch: The problems.
        plan: What to begin with, ``[b, n, m]``; overwritten. If it is of no cost, it is the solution.
        tolerance: The gap to reach, in units of the costs as given.
        path: How the regularisation vanishes.
        most: Iterations after which a problem stays as good as it is.

    Yields:
        Each problem once.
    """
    numbers = list(range(len(batch.source)))
    before = unscaled(batch)
    now = before._replace(sharpness=torch.full_like(batch.ranges, path.first))
    # Costs are not negative.
    dual = Dual(torch.zeros_like(batch.ranges), before.rows, before.columns)
    iterations = 0
    while True:
        plan, moved = rounded(plan, batch.source, batch.target)
        upper = (plan * batch.costs).sum((1, 2))
        # The least gap alone does not even tell which of two small costs is larger: one look at least.
        lower = dual.value
        allowed = torch.fmax(tolerance.share * lower, tolerance.least / batch.ranges * (iterations > 0))
        done = (upper - lower <= allowed) | torch.full_like(lower, iterations >= most).bool()
        # The host waits for the device here and nowhere else.
        finished = done.tolist()
        if any(finished):
            for row, number in enumerate(numbers):
                if finished[row]:
                    yield Followed(
                        number, plan[row], lower[row], upper[row], dual.rows[row], dual.columns[row]
                    )
            if all(finished):
                return
            going_on = [row for row in range(len(numbers)) if not finished[row]]
            numbers = [numbers[row] for row in going_on]
            left = torch.tensor(going_on).to(done.device)
            batch, before, now = batch.only(left), before.only(left), now.only(left)
            dual = Dual(*(part[left] for part in dual))
            upper, moved = upper[left], moved[left]
        if iterations > 0:
            # Mass that is missing at the marginals costs at most as much: while that dominates, go on here.
            settled = (moved < upper - dual.value) & (now.sharpness < _SHARPEST)
            before, now = _mixed(settled, now, before), _mixed(settled, path.next(now, before), now)
        del plan
        now, plan = scale(batch, now, _RELAXATION, _SWEEPS)
        dual = _better(dual, _best_dual(batch, now))
        iterations += _SWEEPS + 1


def _best_dual(batch: PaddedProblems, scalings: Scalings) -> Dual:
    """The better of the potentials made from either side's scalings."""
    source, target, costs, *_ = batch
    sharpness = scalings.sharpness[:, None]
    of_rows = feasible((scalings.rows + source.log()) / sharpness, source, target, costs)
    value, columns, rows = feasible((scalings.columns + target.log()) / sharpness, target, source, costs.mT)
    return _better(of_rows, Dual(value, rows, columns))


def _better(one: Dual, other: Dual) -> Dual:
    """Of each problem, those that prove more; the second ones where the first are not finite."""
    first = (one.value >= other.value) | other.value.isnan()
    return Dual(
        torch.where(first, one.value, other.value),
        torch.where(first[:, None], one.rows, other.rows),
        torch.where(first[:, None], one.columns, other.columns),
    )


def _mixed(chosen: torch.Tensor, those: Scalings, others: Scalings) -> Scalings:
    """Those where chosen, ``[b]``, the others elsewhere."""
    return Scalings(
        torch.where(chosen[:, None], those.rows, others.rows),
        torch.where(chosen[:, None], those.columns, others.columns),
        torch.where(chosen, those.sharpness, others.sharpness),
    )


class Certified(NamedTuple):
    """A solved problem on the device, in the units of the costs as given.

    Attributes:
        number: Its place in the batch.
        bounds: Certified lower bound, cost of the plan and largest cost, ``[3]``.
        masses: The largest entries of the plan off its diagonal, largest first, ``[k]``.
        places: Where they are in the flattened plan, ``[k]``.
        costs: Ground cost of each, ``[k]``.
        size: Rows of the plan.
    """

    number: int
    bounds: torch.Tensor
    masses: torch.Tensor
    places: torch.Tensor
    costs: torch.Tensor
    size: int

    @classmethod
    def of(
        cls,
        number: int,
        plan: torch.Tensor,
        lower: torch.Tensor,
        upper: torch.Tensor,
        batch: PaddedProblems,
        most_flows: int,
    ) -> Certified:
        """Without waiting for the device.

        Args:
            number: Place in the batch.
            plan: Coupling, ``[n, n]``, of the cost ``upper``; overwritten.
            lower: Certified lower bound, in units of the cost range.
            upper: In the same units.
            batch: The problems.
            most_flows: Flows wanted.
        """
        unit = batch.ranges[number]
        entries = plan.fill_diagonal_(0.0).flatten()
        masses, places = entries.topk(min(most_flows, len(entries)))
        costs = batch.costs[number].flatten()[places] * unit
        bounds = torch.stack((lower * unit, upper * unit, batch.largest[number]))
        return cls(number, bounds, masses, places, costs, len(plan))


def results_of(solved: Sequence[Certified]) -> dict[int, TransportResult]:
    """Results by the places in the batch, brought to the host in one transfer.

    The cost is the middle of the interval: no other number is less wrong at worst, and neither end is nearer
    to the optimum than the other on problems of language models.
    """
    arrays = iter(HostCopy([part for one in solved for part in one[1:5]]).arrays())
    results = {}
    for one in solved:
        bounds, masses, places, costs = (next(arrays) for _ in range(4))
        some = masses > 0.0
        rows, columns = np.divmod(places[some], one.size)
        below, above, largest = bounds.tolist()
        below = min(below, above)
        flows = Flows(rows, columns, masses[some], costs[some])
        results[one.number] = TransportResult((below + above) / 2.0, flows, below, above, largest)
    return results
