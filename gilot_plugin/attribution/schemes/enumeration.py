"""Shapley and Banzhaf values, and pairs, of a game that was read whole."""

from __future__ import annotations

from collections.abc import Callable
from math import comb
from typing import NamedTuple

import numpy as np

from gilot_plugin.attribution.schemes.readings import Coalitions, Numbers

#: Weight of a coalition of others, from the number of others and how many of them are absent; the weights of
#: all coalitions of the others sum to 1.
Weighting = Callable[[int, int], float]


def shapley_weight(others: int, absent: int) -> float:
    """All orders in which players leave count alike (Shapley 1953; for pairs Grabisch and Roubens 1999)."""
    return 1.0 / ((others + 1) * comb(others, absent))


def banzhaf_weight(others: int, absent: int) -> float:
    """All coalitions count alike (Banzhaf 1965; for pairs Grabisch and Roubens 1999)."""
    return 0.5**others


class Exact(NamedTuple):
    """Values of a whole game.

    Attributes:
        scores: ``[players, measures]``.
        pairs: ``[players, players, measures]``, the interaction of each two; 0 on the diagonal.
    """

    scores: Numbers
    pairs: Numbers


def every_coalition(players: int) -> Coalitions:
    """``[2 ** players, players]``, in the order of binary numbers whose lowest digit is the first player."""
    numbers = np.arange(2**players)[:, None]
    absent: Coalitions = (numbers >> np.arange(players)) & 1 == 1
    return absent


def exact_values(values: Numbers, players: int, weight: Weighting) -> Exact:
    """Mean marginal values of a player, and mean second differences of two.

    Args:
        values: ``[2 ** players, measures]``, what the coalitions of :func:`every_coalition` are worth.
        players: How many there are.
        weight: Of the coalitions of the others.

    Returns:
        Scores in the direction of ``values``; interactions in that of what presence is worth: below 0, two
        stand in for each other.
    """
    sizes = every_coalition(players).sum(axis=1)
    cube = values.reshape(*(2,) * players, -1)  # the last player first
    weights = {k: np.array([weight(players - k, size) for size in range(players - k + 1)]) for k in (1, 2)}
    counts = sizes.reshape((2,) * players)
    scores = np.zeros((players, values.shape[1]))
    pairs = np.zeros((players, players, values.shape[1]))
    for one in range(players):
        axis = players - 1 - one
        gain = np.take(cube, 1, axis) - np.take(cube, 0, axis)
        scores[one] = _mean(gain, weights[1][np.take(counts, 0, axis)])
        for other in range(one + 1, players):
            second = players - 1 - other  # before ``axis``, so that it is where it was
            both = np.take(gain, 1, second) - np.take(gain, 0, second)
            rest = np.take(np.take(counts, 0, axis), 0, second)
            pairs[one, other] = pairs[other, one] = -_mean(both, weights[2][rest])
    return Exact(scores, pairs)


def _mean(values: Numbers, weights: Numbers) -> Numbers:
    found: Numbers = np.tensordot(weights, values, axes=weights.ndim)
    return found
