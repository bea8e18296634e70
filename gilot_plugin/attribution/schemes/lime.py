"""LIME: a ridge regression on random coalitions, weighted by their likeness to the full prompt."""

from __future__ import annotations

from functools import partial

import numpy as np

from gilot_plugin.attribution.schemes.drawing import halves
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
)
from gilot_plugin.attribution.schemes.results import estimated, exactly
from gilot_plugin.attribution.schemes.surrogate import drawn_of, linear

#: Width of the kernel, in cosine distances; that of LIME's own explainer of texts (Ribeiro et al. 2016;
#: ``lime_text.py`` has 25 for distances times 100).
KERNEL_WIDTH = 0.25

#: Penalty on the sum of squared coefficients, that of LIME's own explainers.
PENALTY = 1.0


def make_lime(options: SchemeOptions) -> Scheme:
    """Each unit is absent with probability 1/2; coefficients of absence are the scores."""
    return partial(_lime, options)


def likeness(absent: Coalitions) -> Numbers:
    """Weights of coalitions, ``[n]``: they fall with the cosine distance of who is present from everybody."""
    distances = 1.0 - np.sqrt((~absent).mean(axis=1))
    found: Numbers = np.exp(-(distances**2) / (2 * KERNEL_WIDTH**2))
    return found


def _lime(options: SchemeOptions, game: UnitsGame) -> SchemeAsking[SchemeResult]:
    units = len(game.units)
    most = coalitions_for(units, options.coalitions)
    readings = Readings(game, Budget(game, most, options.token_budget))
    generator = np.random.default_rng(options.seed)
    interrupted = False
    try:
        if units == 1:  # the kernel gives the only coalition next to no weight
            yield from readings.read(np.ones((1, 1), dtype=bool))
            return exactly(game, readings, drawn_of(readings).values, ())
        # What is drawn again is read once and counts again.
        rows, times = np.unique(
            halves(generator, units, readings.expected(generator)), axis=0, return_counts=True
        )
        order = generator.permutation(len(rows))
        yield from readings.read(rows[order], weights=(times * likeness(rows))[order])
    except Interrupted:
        interrupted = True
    drawn = drawn_of(readings)
    models = [linear(drawn, column, PENALTY) for column in range(drawn.values.shape[1])]
    return estimated(game, readings, models, (), interrupted=interrupted)
