"""Which two units stand in for each other, or work only together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from gilot_plugin.attribution.schemes.enumeration import Exact
from gilot_plugin.attribution.schemes.readings import Coalitions, Numbers, Readings
from gilot_plugin.attribution.schemes.regression import Problem, solve
from gilot_plugin.attribution.schemes.surrogate import WIDTH, Drawn
from gilot_plugin.attribution.types import Interaction

#: Pairs that are told of a measure.
MOST_PAIRS = 10

#: An interaction is told if it is at least this share of the largest score.
_COUNTS = 0.1

#: Coalitions for each pair that a regression looks at: with fewer, second orders tell of noise.
_ROWS_A_PAIR = 4

#: Units whose pairs a regression looks at.
_MOST_UNITS = 12

#: Share of the values below which what is left is rounding.
_NOTHING_LEFT = 1e-6


class Second(NamedTuple):
    """Second difference of presence of two players: below 0 where either is as good as both.

    Attributes:
        pair: The players, ascending.
        values: ``[measures]``.
        lower: ``[measures]``, where it lies.
        upper: ``[measures]``.
    """

    pair: tuple[int, int]
    values: Numbers
    lower: Numbers
    upper: Numbers


def strongest(found: Sequence[Second], measures: Sequence[str], scores: Numbers) -> tuple[Interaction, ...]:
    """The pairs that matter beside the scores, strongest first, by one measure after the other.

    Args:
        found: Pairs.
        measures: Their names.
        scores: ``[players, measures]``.
    """
    told: list[Interaction] = []
    for column, measure in enumerate(measures):
        threshold = _COUNTS * np.abs(scores[:, column]).max(initial=0.0)
        ranked = sorted(found, key=lambda one, column=column: -abs(one.values[column]))  # type: ignore[misc]
        told += [
            Interaction(
                one.pair,
                measure,
                float(one.values[column]),
                (float(one.lower[column]), float(one.upper[column])),
            )
            for one in ranked[:MOST_PAIRS]
            if abs(one.values[column]) > threshold and not one.lower[column] <= 0 <= one.upper[column]
        ]
    return tuple(told)


def exact_pairs(exact: Exact) -> list[Second]:
    """All pairs of a game that was read whole."""
    return [
        Second((one, other), values, values, values)
        for one, other in combinations(range(len(exact.scores)), 2)
        for values in (exact.pairs[one, other],)
    ]


def at_the_ends(readings: Readings, pairs: Sequence[tuple[int, int]]) -> Iterator[Second]:
    """Second differences with all others present and, where that was read, with all others absent.

    Told is their mean, and as interval both of them: how far it hangs on the others. Pairs of which a
    coalition is missing are left out.
    """
    players = len(readings.players)
    for pair in pairs:
        others = np.ones(players, dtype=bool)
        others[list(pair)] = False
        ends = [_second_difference(readings, absent, pair) for absent in (~np.ones_like(others), others)]
        found = np.array([end for end in ends if end is not None])
        if len(found):
            yield Second(pair, found.mean(axis=0), found.min(axis=0), found.max(axis=0))


def by_regression(drawn: Drawn, scores: Numbers, totals: Numbers | None) -> list[Second]:
    """Second-order terms by what is the same for a coalition and for that of all others.

    First orders do not show there. The terms are drawn towards their common mean: a value that saturates has
    a little of it in every pair.

    Args:
        drawn: Pairs of complements.
        scores: ``[players, measures]``, which say what units are looked at.
        totals: ``[measures]``, what the coalition of all is worth; None where that is not known.

    Returns:
        Pairs of the units with the largest scores by the first measure, as far as the coalitions suffice.
    """
    assert drawn.opposites is not None
    rows, players = drawn.absent.shape
    pairs = list(combinations(_heaviest(scores[:, 0], rows // _ROWS_A_PAIR), 2))
    if not pairs:
        return []
    absent, sizes = drawn.absent.astype(float), drawn.absent.sum(axis=1)
    firsts, seconds = (absent[:, list(places)] for places in zip(*pairs, strict=True))
    features = firsts * seconds - (firsts + seconds) / 2
    # The sum of such features of all pairs that there are.
    common = -sizes * (players - sizes) / 2.0
    free = common[:, None] if totals is not None else np.column_stack((common, np.ones(rows)))
    values, widths = (np.zeros((len(pairs), scores.shape[1])) for _ in range(2))
    for column in range(scores.shape[1]):
        alike = (drawn.values[:, column] + drawn.opposites[:, column]) / 2
        target = alike - (0.0 if totals is None else totals[column] / 2)
        solution = solve(Problem(features, free, target, drawn.weights, drawn.blocks))
        values[:, column] = -(solution.free[0] + solution.coefficients)
        widths[:, column] = WIDTH * np.sqrt(solution.variances)
    return [
        Second(pair, values[place], values[place] - widths[place], values[place] + widths[place])
        for place, pair in enumerate(pairs)
    ]


def suspected(readings: Readings, guess: Numbers, more: int) -> list[tuple[int, int]]:
    """Pairs that explain what single absences leave unexplained (orthogonal matching pursuit).

    Few coalitions tell which two stand in for each other where most players do nothing: those without both
    are worth something, all others are not.

    Args:
        readings: What was read.
        guess: ``[players]``, what their absence is worth by the first measure.
        more: How many pairs are wanted.

    Returns:
        The pairs, the most suspect first; fewer where nothing is left to explain.
    """
    absent, target = readings.absent.astype(float), readings.values[:, 0]
    known = np.column_stack((np.ones(len(target)), absent @ guess, absent.sum(axis=1)))
    firsts, seconds = np.triu_indices(absent.shape[1], 1)
    together = absent[:, firsts] * absent[:, seconds]
    spread = together - together.mean(axis=0)
    lengths = np.sqrt((spread**2).sum(axis=0))
    found: list[int] = []
    for _ in range(min(more, len(firsts))):
        left = target - known @ np.linalg.lstsq(known, target, rcond=None)[0]
        if np.linalg.norm(left) <= _NOTHING_LEFT * np.linalg.norm(target):
            break
        likeness = np.abs(left @ spread) / np.where(lengths > 0, lengths, np.inf)
        likeness[found] = -1.0
        found.append(int(likeness.argmax()))
        known = np.column_stack((known, together[:, found[-1]]))
    return [(int(firsts[place]), int(seconds[place])) for place in found]


def _heaviest(scores: Numbers, most_pairs: int) -> list[int]:
    count = min(_MOST_UNITS, len(scores))
    while count * (count - 1) // 2 > most_pairs:
        count -= 1
    return sorted(np.argsort(-np.abs(scores), kind="stable")[:count].tolist())


def _second_difference(readings: Readings, others: Coalitions, pair: tuple[int, int]) -> Numbers | None:
    """With these others absent."""
    values = []
    for gone in ((), pair[:1], pair[1:], pair):
        row = others.copy()
        row[list(gone)] = True
        value = readings.known(row)
        if value is None:
            return None
        values.append(value)
    neither, first, second, both = values
    found: Numbers = first + second - both - neither
    return found
