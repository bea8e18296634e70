"""Leave one out: a unit's score is what its absence alone is worth (GiLOT, Li et al. 2024)."""

from __future__ import annotations

from gilot_plugin.attribution.schemes.protocol import (
    Scheme,
    SchemeAsking,
    SchemeOptions,
    SchemeResult,
    UnitsGame,
)


def leave_one_out(game: UnitsGame) -> SchemeAsking[SchemeResult]:
    """v({a}) for each unit a.

    Blind where two units say the same: taking either away changes nothing.
    """
    values = yield [(unit,) for unit in game.units]
    scores = {measure.name: tuple(values.means(measure.name)) for measure in game.measures}
    return SchemeResult(scores, coalitions=len(game.units))


def make_leave_one_out(_: SchemeOptions) -> Scheme:
    """The scheme; there is nothing to choose."""
    return leave_one_out
