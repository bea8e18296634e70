"""The network simplex on few arcs, to which those are added that the optimum may need."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import ot
from numpy.typing import NDArray
from scipy.sparse import coo_array

from gilot_plugin.attribution.transport.problem import FloatArray

#: Arcs from everywhere to so many outcomes that lack mass, and from as many that have too much.
_HUBS = 10

#: Times that arcs are added. Problems of language models take 2 to 6.
_MAX_ROUNDS = 30

#: Arcs an outcome that are added without choosing the worst among them.
_ALL_ARCS = 40

#: An arc is added where its reduced cost is at most this part of the worst one's at either of its ends.
_WORST_SHARE = 0.6

#: Reduced costs, relative to the largest cost, that count as negative.
_NEGATIVE = -1e-11

Indices = NDArray[np.intp]


class Optimum(NamedTuple):
    """An optimal plan and what proves it.

    Attributes:
        plan: Coupling, ``[n, n]``.
        potentials: Of the source, ``[n]``; 0 at outcomes without mass.
    """

    plan: FloatArray
    potentials: FloatArray


def generate_columns(
    source: FloatArray, target: FloatArray, costs: FloatArray, max_pivots: int
) -> Optimum | None:
    """Column generation: solve on a sparse set of arcs, add the arcs of negative reduced cost, repeat.

    Args:
        source: ``[n]``, sums to 1.
        target: ``[n]``, sums to 1.
        costs: ``[n, n]``.
        max_pivots: Pivots of the network simplex in each round.

    Returns:
        The optimum over all arcs; None if it was not found, for which round-off is one possible reason.
    """
    rows, columns = np.flatnonzero(source), np.flatnonzero(target)
    a, b = source[rows], target[columns]
    # Without outcomes of no mass, whose potentials nothing determines.
    inner = costs if len(a) == len(b) == len(costs) else costs[np.ix_(rows, columns)]
    negative = _NEGATIVE * float(inner.max())
    arcs = _first_arcs(source - target, rows, columns, a, b)
    for _ in range(_MAX_ROUNDS):
        i, j = np.nonzero(arcs)
        sparse, log = ot.emd(
            a, b, coo_array((inner[i, j], (i, j)), shape=inner.shape), numItermax=max_pivots, log=True
        )
        if log["warning"] is not None:
            return None
        reduced = inner - log["u"][:, None]
        reduced -= log["v"]
        if reduced.min() >= negative:
            plan, potentials = np.zeros_like(costs), np.zeros_like(source)
            plan[rows[sparse.row], columns[sparse.col]] = sparse.data
            potentials[rows] = log["u"]
            return Optimum(plan, potentials)
        before = len(i)
        arcs |= _wanted(reduced, negative)
        if np.count_nonzero(arcs) == before:
            return None
    return None


def _first_arcs(
    excess: FloatArray, rows: Indices, columns: Indices, a: FloatArray, b: FloatArray
) -> NDArray[np.bool_]:
    """Arcs that admit a plan and are likely in the optimum, ``[rows, columns]``.

    Mass may stay, come from where there is too much, go to where there is too little, or follow the
    north-west corner path, which alone would do for a plan.
    """
    arcs: NDArray[np.bool_] = rows[:, None] == columns
    arcs[np.argsort(-excess[rows], kind="stable")[:_HUBS], :] = True
    arcs[:, np.argsort(excess[columns], kind="stable")[:_HUBS]] = True
    ends_a, ends_b = np.cumsum(a), np.cumsum(b)
    ends = np.concatenate(([0.0], np.union1d(ends_a, ends_b)))
    middles = (ends[:-1] + ends[1:]) / 2.0
    # The last sums may differ by round-off, so that a middle lies beyond one of them.
    i = np.minimum(np.searchsorted(ends_a, middles), len(a) - 1)
    j = np.minimum(np.searchsorted(ends_b, middles), len(b) - 1)
    arcs[i, j] = True
    return arcs


def _wanted(reduced: FloatArray, negative: float) -> NDArray[np.bool_]:
    """Arcs to add: those of negative reduced cost, or the worst of them where there are many."""
    wanted: NDArray[np.bool_] = reduced < negative
    if np.count_nonzero(wanted) > _ALL_ARCS * len(reduced):
        wanted = reduced < np.minimum(_WORST_SHARE * reduced.min(axis=1), negative)[:, None]
        wanted |= reduced < np.minimum(_WORST_SHARE * reduced.min(axis=0), negative)
    return wanted
