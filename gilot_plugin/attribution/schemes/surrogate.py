"""What single units are worth, as a linear model of coalitions says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from gilot_plugin.attribution.schemes.readings import Coalitions, Numbers, Readings, alone
from gilot_plugin.attribution.schemes.regression import Problem, Solution, solve
from gilot_plugin.errors import PromptError

#: Fewer coalitions than this say nothing of how well others are predicted.
LEAST_HELD_OUT = 8

#: Half the width of an interval in standard deviations: 95 %.
WIDTH = 1.96


class Drawn(NamedTuple):
    """Coalitions that a model is fitted to.

    Attributes:
        absent: ``[n, players]``.
        values: ``[n, measures]``.
        opposites: ``[n, measures]``, what the coalitions of all others are worth; None where they were not
            read.
        weights: ``[n]``.
        blocks: ``[n]``; coalitions with the same number were drawn together.
    """

    absent: Coalitions
    values: Numbers
    opposites: Numbers | None
    weights: Numbers
    blocks: NDArray[np.int64]


def drawn_of(readings: Readings) -> Drawn:
    """What was read and counts in a regression.

    Raises:
        PromptError: There is nothing.
    """
    counts = readings.weights > 0
    if not counts.any():
        raise _nothing_read(readings)
    return Drawn(
        readings.absent[counts],
        readings.values[counts],
        None,
        readings.weights[counts],
        readings.blocks[counts],
    )


def pairs_of(readings: Readings) -> Drawn:
    """Pairs of complements that were read and count in a regression, each once.

    Half the difference between the two is free of whatever is the same for both, as a constant and all
    interactions of two players are: a linear model of it has the Shapley and Banzhaf values of a game of
    second order without error.

    Raises:
        PromptError: There are none.
    """
    opposites = _opposites(readings)
    places = list(opposites)
    if not places:
        raise _nothing_read(readings)
    return Drawn(
        readings.absent[places],
        readings.values[places],
        np.array(list(opposites.values())),
        readings.weights[places],
        np.arange(len(places)),
    )


def any_pairs(readings: Readings) -> bool:
    """Whether there are such pairs."""
    return bool(_opposites(readings))


def _opposites(readings: Readings) -> dict[int, Numbers]:
    """Places of coalitions whose complement is known, too, and what that is worth; each pair once."""
    found: dict[int, Numbers] = {}
    used: set[bytes] = set()
    for place in np.flatnonzero(readings.weights > 0).tolist():
        row = readings.absent[place]
        other = None if row.tobytes() in used else readings.known(~row)
        if other is not None:
            used.add((~row).tobytes())
            found[place] = other
    return found


def _nothing_read(readings: Readings) -> PromptError:
    return PromptError(
        f"{readings.asked} coalitions were read, {readings.left_out} of them without a finite value, and say "
        f"nothing of {len(readings.players)} units: allow more by coalitions or token_budget"
    )


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A linear model of the game by one measure: a coalition is worth the sum of its scores.

    Attributes:
        scores: ``[players]``.
        deviations: ``[players]``, how far scores may be from the guess.
        solution: How they were found, in such deviations.
        lds: Rank correlation between what scores predict for coalitions that they were not estimated from
            and what those are worth; None where there are too few of them.
        held_out: How many coalitions that was found on.
    """

    scores: Numbers
    deviations: Numbers
    solution: Solution
    lds: float | None
    held_out: int

    def intervals(self) -> tuple[tuple[float, float], ...]:
        """Where the scores lie, with a probability of about 95 %."""
        width = WIDTH * self.deviations * np.sqrt(self.solution.variances)
        return tuple(zip((self.scores - width).tolist(), (self.scores + width).tolist(), strict=True))

    def surely_ahead(self, one: int, other: int) -> bool:
        """Whether the first score is above the second, with a probability of about 97.5 %."""
        scales, factor = self.deviations, self.solution.factor
        before = self.solution.spread * (scales[one] ** 2 + scales[other] ** 2)
        taken = float(((scales[one] * factor[one] - scales[other] * factor[other]) ** 2).sum())
        apart = self.scores[one] - self.scores[other]
        return bool(apart > WIDTH * np.sqrt(max(0.0, before - taken)))


def linear(drawn: Drawn, measure: int, strength: float) -> Surrogate:
    """Ridge regression of values on absences, with a constant, of a given strength."""
    absent, values = drawn.absent.astype(float), drawn.values[:, measure]
    solution = solve(
        Problem(absent, np.ones((len(values), 1)), values, drawn.weights, drawn.blocks), strength
    )
    players = np.ones(absent.shape[1])
    return Surrogate(solution.coefficients, players, solution, *_quality(solution.predicted, values))


def odd(
    drawn: Drawn,
    measure: int,
    guess: Numbers,
    total: float | None,
    deviations: Numbers,
    bends: int = 0,
) -> Surrogate:
    """Fit scores to half the differences between complements, drawn towards a multiple of a guess.

    Args:
        drawn: Pairs of complements, one at least.
        measure: Column of their values.
        guess: ``[players]``; zeros for an ordinary ridge regression.
        total: What the scores sum up to: the value of the coalition of all, the empty one being worth 0.
            None where it is not known.
        deviations: ``[players]``, in what proportion scores may be away from the guess.
        bends: How many odd powers of a coalition's size are fitted beside the scores, for values that
            saturate.
    """
    assert drawn.opposites is not None
    absent, values, opposites = (
        drawn.absent.astype(float),
        drawn.values[:, measure],
        drawn.opposites[:, measure],
    )
    # What scores sum up to beyond the guess is shared out by how far they may be away from it.
    shares = deviations**2 / (deviations**2).sum()
    sizes = absent @ shares if total is not None else np.full(len(values), 0.5)
    away = guess - (guess.sum() * shares if total is not None else 0.0)
    design = absent - sizes[:, None]
    base = 0.0 if total is None else total * (sizes - 0.5)
    around = 2 * absent.mean(axis=1) - 1
    free = np.column_stack([design @ guess, *(around ** (3 + 2 * bend) - around for bend in range(bends))])
    solution = solve(
        Problem(design * deviations, free, (values - opposites) / 2 - base, drawn.weights, drawn.blocks)
    )
    found = solution.coefficients * deviations
    if total is not None:
        found += total * shares - found.sum() * shares
    scores = solution.free[0] * away + found
    if solution.predicted is None:
        return Surrogate(scores, deviations, solution, None, 0)
    # Up to a constant, which changes no ranks.
    predicted = base + solution.predicted
    quality = _quality(np.concatenate((predicted, -predicted)), np.concatenate((values, opposites)))
    return Surrogate(scores, deviations, solution, *quality)


def _quality(predicted: Numbers | None, values: Numbers) -> tuple[float | None, int]:
    """Rank correlation of predictions, and how many there are; None and 0 where there are too few."""
    if predicted is None or len(values) < LEAST_HELD_OUT:
        return None, 0
    found = rank_correlation(predicted, values)
    return found, 0 if found is None else len(values)


def marginal_guesses(readings: Readings, *, both_ends: bool) -> Numbers:
    """What the absence of each player is worth by itself, ``[players, measures]``; 0 where that is not known.

    Args:
        readings: What was read.
        both_ends: Whether, where it is known, what its absence adds to that of all others counts as much.
    """
    players = len(readings.players)
    total = readings.known(np.ones(players, dtype=bool))
    guesses = np.zeros((players, readings.values.shape[1]))
    for player in range(players):
        row = alone(players, player)
        first, rest = readings.known(row), readings.known(~row)
        if first is not None:
            guesses[player] = first
            if both_ends and total is not None and rest is not None:
                guesses[player] = (first + total - rest) / 2
    return guesses


def rank_correlation(predicted: Numbers, values: Numbers) -> float | None:
    """Spearman's; None where all of one are equal."""
    if np.ptp(predicted) == 0 or np.ptp(values) == 0:
        return None
    return float(np.clip(spearmanr(predicted, values).statistic, -1.0, 1.0))
