"""Shapley and Banzhaf values: what a unit is worth on average over coalitions of the others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from gilot_plugin.attribution.schemes.drawing import by_weight, complements, halves, kernel_weights
from gilot_plugin.attribution.schemes.enumeration import (
    Weighting,
    banzhaf_weight,
    every_coalition,
    exact_values,
    shapley_weight,
)
from gilot_plugin.attribution.schemes.pairs import by_regression, exact_pairs
from gilot_plugin.attribution.schemes.protocol import (
    Interrupted,
    Scheme,
    SchemeAsking,
    SchemeOptions,
    SchemeResult,
    UnitsGame,
)
from gilot_plugin.attribution.schemes.readings import (
    Budget,
    Coalitions,
    Numbers,
    Readings,
    coalitions_for,
    singles,
)
from gilot_plugin.attribution.schemes.results import estimated, exactly, score_columns
from gilot_plugin.attribution.schemes.surrogate import marginal_guesses, odd, pairs_of

#: Of more units than this, not every coalition is read, whatever the budget.
_MOST_ENUMERATED = 16

#: Single absences, to be drawn towards, are read beside drawn coalitions if there is room for so many times
#: as many.
_SINGLES_FROM = 3


class _Average(NamedTuple):
    """A way to average.

    Attributes:
        weight: Of coalitions of the others.
        draw: Gives coalitions whose regression is that average, and their weights there, from a generator,
            the number of units and of coalitions.
        reweigh: Gives those weights of all coalitions.
        adds_up: Whether scores sum up to the value of the coalition of all units.
    """

    weight: Weighting
    draw: Callable[[np.random.Generator, int, int], tuple[Coalitions, Numbers]]
    reweigh: Callable[[Coalitions], Numbers]
    adds_up: bool


def _drawn_halves(generator: np.random.Generator, units: int, count: int) -> tuple[Coalitions, Numbers]:
    rows = complements(halves(generator, units, count // 2))
    return rows, _alike(rows)


def _alike(rows: Coalitions) -> Numbers:
    return np.ones(len(rows))


_SHAPLEY = _Average(shapley_weight, by_weight, kernel_weights, adds_up=True)
_BANZHAF = _Average(banzhaf_weight, _drawn_halves, _alike, adds_up=False)


def make_shapley(options: SchemeOptions) -> Scheme:
    """Shapley values (Shapley 1953), which sum up to what the absence of all units is worth."""
    return partial(_averaged, _SHAPLEY, options)


def make_banzhaf(options: SchemeOptions) -> Scheme:
    """Banzhaf values (Banzhaf 1965): all coalitions of the others count alike."""
    return partial(_averaged, _BANZHAF, options)


def _averaged(average: _Average, options: SchemeOptions, game: UnitsGame) -> SchemeAsking[SchemeResult]:
    units = len(game.units)
    most = coalitions_for(units, options.coalitions)
    readings = Readings(game, Budget(game, most, options.token_budget))
    interrupted = whole = False
    try:
        every = every_coalition(units)[1:] if units <= _MOST_ENUMERATED and 2**units - 1 <= most else None
        if every is not None and readings.affords(every):
            yield from readings.read(every, weights=average.reweigh(every))
            whole = not readings.left_out
        else:
            yield from _draw(average, readings, np.random.default_rng(options.seed))
    except Interrupted:
        interrupted = True
    if whole and not interrupted:
        values = np.concatenate((np.zeros((1, readings.values.shape[1])), readings.values))
        exact = exact_values(values, units, average.weight)
        return exactly(game, readings, exact.scores, exact_pairs(exact))
    return _regressed(average, game, readings, interrupted)


def _draw(average: _Average, readings: Readings, generator: np.random.Generator) -> SchemeAsking[None]:
    """Read what there is room for, complements in a block."""
    units = len(readings.players)
    if average.adds_up:
        yield from readings.read(np.ones((1, units), dtype=bool), weights=0.0)
    elif readings.expected(generator) >= _SINGLES_FROM * units:
        yield from readings.read(singles(units), weights=0.0)
    rows, weights = average.draw(generator, units, readings.expected(generator))
    yield from readings.read(rows, drawn_together=2, weights=weights)


def _regressed(average: _Average, game: UnitsGame, readings: Readings, interrupted: bool) -> SchemeResult:
    drawn = pairs_of(readings)
    everybody = readings.known(np.ones(len(game.units), dtype=bool)) if average.adds_up else None
    guesses = marginal_guesses(readings, both_ends=average.adds_up)
    alike = np.ones(len(game.units))
    models = [
        odd(drawn, column, guess, None if everybody is None else float(everybody[column]), alike)
        for column, guess in enumerate(guesses.T)
    ]
    pairs = by_regression(drawn, score_columns(models), everybody)
    return estimated(game, readings, models, pairs, interrupted=interrupted)
