"""Single units first, then coalitions where they leave the order of what matters open."""

from __future__ import annotations

from functools import partial

from gilot_plugin.attribution.schemes.averages import make_shapley
from gilot_plugin.attribution.schemes.exploring import Exploration
from gilot_plugin.attribution.schemes.nested import nested
from gilot_plugin.attribution.schemes.protocol import (
    Interrupted,
    Scheme,
    SchemeAsking,
    SchemeOptions,
    SchemeResult,
    UnitsGame,
)
from gilot_plugin.attribution.schemes.readings import Budget, Readings, singles
from gilot_plugin.attribution.schemes.results import estimated, unestimated
from gilot_plugin.attribution.schemes.surrogate import any_pairs

#: Coalitions beside the single absences where nobody says how many, and the most of both: beyond it, units
#: are looked at in groups first.
_BESIDE_SINGLES, _MOST = 48, 560


def make_auto(options: SchemeOptions) -> Scheme:
    """Single absences, then pairs of complements over the units in play until their order is settled."""
    return partial(_auto, options)


def _auto(options: SchemeOptions, game: UnitsGame) -> SchemeAsking[SchemeResult]:
    units = len(game.units)
    most = min(units + _BESIDE_SINGLES, _MOST) if options.coalitions is None else options.coalitions
    if 2**units - 1 <= most and options.token_budget is None:
        return (yield from make_shapley(options)(game))
    budget = Budget(game, most, options.token_budget)
    if units > most or not (readings := Readings(game, budget)).affords(singles(units)):
        return (yield from nested(game, budget, options.seed))
    exploration, interrupted = Exploration(readings, options.seed), False
    try:
        yield from exploration.explore()
    except Interrupted:
        if not readings.asked:
            raise
        interrupted = True
    if not any_pairs(readings):
        return unestimated(game, readings, interrupted=interrupted)
    models = [exploration.model(column) for column in range(len(game.measures))]
    return estimated(game, readings, models, exploration.pairs(), interrupted=interrupted)
