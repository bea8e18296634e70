"""The network simplex on few arcs, to which those are added that the optimum may need."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import ot
from numpy.typing import NDArray
from scipy.sparse import coo_array

from gilot_plugin.attribution.transport.problem import Costs, Coupling, FloatArray, Indices

#: Arcs from whatever has too much to so many outcomes that lack most, and to whatever lacks some from as many
#: that have most. The time of the simplex is proportional to the arcs: more of these cost more than the round
#: that they save, and arcs at outcomes that neither have nor lack are hardly used.
_HUBS = 16

#: Times that arcs are changed. Problems of language models take 3 to 8.
_MAX_ROUNDS = 60

#: Rounds after which no arc is dropped any more, so that ties cannot go round in circles.
_DROPPING_ROUNDS = 20

#: Arcs an outcome that are added without choosing the worst among them.
_ALL_ARCS = 40

#: Arcs an outcome, in the mean of a block, that are looked at further: a bound of memory, which problems of
#: language models hardly reach.
_MOST_ARCS = 80

#: An arc is added where its reduced cost is at most this part of the worst one's at either of its ends.
_WORST_SHARE = 0.6

#: Arcs without flow whose reduced cost is larger are dropped, in units of the largest cost.
_KEPT = 0.05

#: Reduced costs, relative to the largest cost, that count as negative.
_NEGATIVE = -1e-11

#: Entries of the cost matrix that are looked at together: they stay in a core's own cache.
_BLOCK = 2**16

#: Reduced costs in float32 that may be negative in float64, in units of the largest number that they are made
#: of: several times its round-off.
_UNSURE = 1e-6


class Optimum(NamedTuple):
    """An optimal plan and what proves it.

    Attributes:
        plan: Coupling.
        lower: Value of feasible dual potentials, which no plan can cost less than.
    """

    plan: Coupling
    lower: float


class _Arcs(NamedTuple):
    """Some arcs, ``[k]`` each, sorted by row and column, and none twice.

    Attributes:
        rows: Where they start.
        columns: Where they end.
    """

    rows: Indices
    columns: Indices


class _Scan(NamedTuple):
    """What the potentials say of all arcs.

    Attributes:
        least: The smallest reduced cost.
        of_columns: By how much each potential of the target is too high for some arc, at most 0, ``[m]``;
            None where not all such arcs were looked at.
        wanted: Arcs to add.
    """

    least: float
    of_columns: FloatArray | None
    wanted: _Arcs


def generate_columns(
    source: FloatArray, target: FloatArray, costs: Costs, max_pivots: int, allowed_gap: float = 0.0
) -> Optimum | None:
    """Column generation: solve on a sparse set of arcs, add the arcs of negative reduced cost, repeat.

    Arcs that carry nothing and look dear are dropped on the way. The plan can only become cheaper, since
    those that carry something stay.

    Args:
        source: ``[n]``, sums to 1.
        target: ``[n]``, sums to 1.
        costs: ``[n, n]``.
        max_pivots: Pivots of the network simplex in each round.
        allowed_gap: By how much the plan may cost more than what is proven. The last round often proves the
            optimum and hardly improves it.

    Returns:
        The optimum over all arcs, or a plan that is as near to it as is allowed; None if it was not found,
        for which round-off is one possible reason.
    """
    rows, columns = np.flatnonzero(source), np.flatnonzero(target)
    a, b = source[rows], target[columns]
    # Without outcomes of no mass, whose potentials nothing determines.
    inner = costs if len(a) == len(b) == len(costs) else costs[np.ix_(rows, columns)]
    largest = float(inner.max())
    negative = _NEGATIVE * largest
    arcs = _first_arcs(source - target, rows, columns, a, b)
    for step in range(_MAX_ROUNDS):
        values = inner[arcs].astype(np.float64)
        plan, log = ot.emd(
            a, b, coo_array((values, arcs), shape=inner.shape), numItermax=max_pivots, log=True
        )
        if log["warning"] is not None:
            return None
        u, v = log["u"], log["v"]
        scan = _scan(inner, u, v, negative)
        if scan.least >= negative:
            # Lowered by the largest violation, the source's potentials are feasible.
            lower = float(a @ u + b @ v) + min(0.0, scan.least)
            return Optimum(Coupling(rows[plan.row], columns[plan.col], plan.data), lower)
        if allowed_gap > 0.0 and scan.of_columns is not None:
            lower = float(a @ u + b @ (v + scan.of_columns))
            if float(plan.data @ inner[plan.row, plan.col]) - lower <= allowed_gap:
                return Optimum(Coupling(rows[plan.row], columns[plan.col], plan.data), lower)
        near = values - u[arcs.rows] - v[arcs.columns] <= _KEPT * largest
        kept = _Arcs(*(ends[near] for ends in arcs)) if step < _DROPPING_ROUNDS else arcs
        arcs = _union(inner.shape, kept, scan.wanted, _Arcs(plan.row, plan.col))
    return None


def _first_arcs(excess: FloatArray, rows: Indices, columns: Indices, a: FloatArray, b: FloatArray) -> _Arcs:
    """Arcs that admit a plan and are likely in the optimum.

    Mass may stay, come from where there is too much, go to where there is too little, or follow the
    north-west corner path, which alone would do for a plan.
    """
    have, lack = np.flatnonzero(excess[rows] > 0.0), np.flatnonzero(excess[columns] < 0.0)
    _, stay_rows, stay_columns = np.intersect1d(rows, columns, assume_unique=True, return_indices=True)
    out = np.argsort(-excess[rows], kind="stable")[:_HUBS]
    into = np.argsort(excess[columns], kind="stable")[:_HUBS]
    ends_a, ends_b = np.cumsum(a), np.cumsum(b)
    ends = np.concatenate(([0.0], np.union1d(ends_a, ends_b)))
    middles = (ends[:-1] + ends[1:]) / 2.0
    # The last sums may differ by round-off, so that a middle lies beyond one of them.
    path_rows = np.minimum(np.searchsorted(ends_a, middles), len(a) - 1)
    path_columns = np.minimum(np.searchsorted(ends_b, middles), len(b) - 1)
    return _union(
        (len(a), len(b)),
        _Arcs(stay_rows, stay_columns),
        _Arcs(np.repeat(out, len(lack)), np.tile(lack, len(out))),
        _Arcs(np.tile(have, len(into)), np.repeat(into, len(have))),
        _Arcs(path_rows, path_columns),
    )


def _union(shape: tuple[int, ...], *parts: _Arcs) -> _Arcs:
    """Arcs of a matrix of that shape that are in any part."""
    # Marks are several times faster than sorting.
    marks = np.zeros(shape, dtype=np.bool_)
    for part in parts:
        marks[part] = True
    return _Arcs(*np.divmod(np.flatnonzero(marks), shape[1]))


def _scan(costs: Costs, u: FloatArray, v: FloatArray, negative: float) -> _Scan:
    """Reduced costs of all arcs, block by block: those wanted are negative, the worst where many are.

    Args:
        costs: ``[n, m]``.
        u: Potentials of the source, ``[n]``.
        v: Potentials of the target, ``[m]``.
        negative: What is below counts as negative.
    """
    width = costs.shape[1]
    height = max(1, _BLOCK // width)
    least, complete = np.inf, True
    places, values = [np.empty(0, dtype=np.intp)], [np.empty(0)]
    # As precise as the costs, which is half the memory to wait for where that is float32; what may be
    # negative is then computed again.
    near_u, near_v = u.astype(costs.dtype), v.astype(costs.dtype)
    unsure = _UNSURE * max(np.abs(u).max(), np.abs(v).max(), negative / _NEGATIVE)
    for top in range(0, len(costs), height):
        block = costs[top : top + height]
        reduced = block - near_u[top : top + height, None]
        reduced -= near_v
        found = np.flatnonzero(reduced < unsure)
        if len(found):
            ends = np.divmod(found, width)
            values_found = block.ravel()[found] - u[top + ends[0]] - v[ends[1]]
            least = min(least, float(values_found.min()))
            negatives = values_found < negative
            found, values_found = found[negatives], values_found[negatives]
            most = _MOST_ARCS * len(reduced)
            if len(found) > most:
                complete = False
                lowest_first = np.argpartition(values_found, most)[:most]
                found, values_found = found[lowest_first], values_found[lowest_first]
            places.append(found + top * width)
            values.append(values_found)
    rows, columns = np.divmod(np.concatenate(places), width)
    violations = np.concatenate(values)
    chosen = _worst(rows, columns, violations, costs.shape)
    of_columns: FloatArray | None = None
    # Where there are many, the gap is known to be wide.
    if complete and len(rows) <= _ALL_ARCS * len(costs):
        of_columns = np.zeros(width)
        np.minimum.at(of_columns, columns, violations)
    return _Scan(least, of_columns, _Arcs(rows[chosen], columns[chosen]))


def _worst(
    rows: Indices, columns: Indices, reduced: FloatArray, shape: tuple[int, ...]
) -> NDArray[np.bool_] | slice:
    """Which of the negative reduced costs of a matrix are to be removed: all if they are few."""
    if len(rows) <= _ALL_ARCS * shape[0]:
        return slice(None)
    of_rows, of_columns = np.zeros(shape[0]), np.zeros(shape[1])
    np.minimum.at(of_rows, rows, reduced)
    np.minimum.at(of_columns, columns, reduced)
    chosen: NDArray[np.bool_] = reduced <= _WORST_SHARE * np.maximum(of_rows[rows], of_columns[columns])
    return chosen
