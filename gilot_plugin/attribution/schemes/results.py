"""From what was estimated of a game to what a scheme says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gilot_plugin.attribution.schemes.pairs import Second, strongest
from gilot_plugin.attribution.schemes.protocol import SchemeResult, UnitsGame
from gilot_plugin.attribution.schemes.readings import Numbers, Readings, singles
from gilot_plugin.attribution.schemes.surrogate import Surrogate
from gilot_plugin.errors import PromptError

#: Scores below this share of the largest one do not matter, and neither does their order.
MATTERS = 0.1


def estimated(
    game: UnitsGame,
    readings: Readings,
    models: Sequence[Surrogate],
    pairs: Sequence[Second],
    *,
    interrupted: bool = False,
) -> SchemeResult:
    """What linear models say, one a measure."""
    names = [measure.name for measure in game.measures]
    held_out = max(model.held_out for model in models)
    return SchemeResult(
        scores={name: tuple(model.scores.tolist()) for name, model in zip(names, models, strict=True)},
        intervals={name: model.intervals() for name, model in zip(names, models, strict=True)},
        interactions=strongest(pairs, names, score_columns(models)),
        tied=tied_groups(models[0]),
        coalitions=readings.asked,
        left_out=readings.left_out,
        lds={name: model.lds for name, model in zip(names, models, strict=True) if model.lds is not None},
        held_out=held_out,
        interrupted=interrupted,
    )


def exactly(game: UnitsGame, readings: Readings, scores: Numbers, pairs: Sequence[Second]) -> SchemeResult:
    """What the values of every coalition say; ``scores`` are ``[units, measures]``.

    Nothing is held out, for nothing is predicted.
    """
    names = [measure.name for measure in game.measures]
    columns = {name: tuple(column.tolist()) for name, column in zip(names, scores.T, strict=True)}
    return SchemeResult(
        scores=columns,
        intervals={name: tuple((score, score) for score in column) for name, column in columns.items()},
        interactions=strongest(pairs, names, scores),
        coalitions=readings.asked,
    )


def unestimated(game: UnitsGame, readings: Readings, *, interrupted: bool) -> SchemeResult:
    """What single absences say, where nothing else was read.

    Raises:
        PromptError: One of them was not read, or has no finite value.
    """
    rows = [readings.known(row) for row in singles(len(readings.players))]
    known = [row for row in rows if row is not None]
    if len(known) < len(rows):
        raise PromptError(
            f"of {len(rows) - len(known)} of {len(rows)} units it is not known what their absence is worth"
        )
    scores = np.array(known)
    return SchemeResult(
        {measure.name: tuple(scores[:, place].tolist()) for place, measure in enumerate(game.measures)},
        coalitions=readings.asked,
        left_out=readings.left_out,
        interrupted=interrupted,
    )


def score_columns(models: Sequence[Surrogate]) -> Numbers:
    """``[units, measures]``."""
    return np.stack([model.scores for model in models], axis=1)


def tied_groups(model: Surrogate) -> tuple[tuple[int, ...], ...]:
    """Units that matter, by their numbers, whose order is not settled; highest scores first."""
    ranked = np.argsort(-model.scores, kind="stable")
    threshold = MATTERS * np.abs(model.scores).max(initial=0.0)
    groups: list[list[int]] = []
    for unit in ranked.tolist():
        if model.scores[unit] < threshold or threshold == 0.0:
            break
        if groups and not model.surely_ahead(groups[-1][0], unit):
            groups[-1].append(unit)
        else:
            groups.append([unit])
    return tuple(tuple(sorted(group)) for group in groups if len(group) > 1)
