"""Coalitions that the model gives no finite numbers for: the others are read all the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gilot_plugin.attribution.game import Game, Values, read_together
from gilot_plugin.attribution.types import Absent
from gilot_plugin.errors import NonFiniteLogitsError


def with_gaps(game: Game, absent: Sequence[Absent]) -> Values | Exception:
    """Read coalitions some of which fail, by halves.

    Args:
        game: The game.
        absent: What was asked for.

    Returns:
        Values, NaN where there is none; the error where the full prompt fails.
    """
    full = read_together({game: ()})[game]
    if isinstance(full, Exception):
        return full
    parts = list(_by_halves(game, absent))
    found = next((part for part in parts if isinstance(part, Values)), full)
    return Values(
        {
            name: np.concatenate(
                [
                    np.full((1, numbers.shape[1]), np.nan) if part is None else part.positions[name]
                    for part in parts
                ]
            )
            for name, numbers in found.positions.items()
        },
        found.summed,
    )


def _by_halves(game: Game, absent: Sequence[Absent]) -> Iterator[Values | None]:
    """Values of neighbouring coalitions, in order; None for a single one that has none.

    Raises:
        Exception: Something else went wrong.
    """
    found = read_together({game: absent})[game]
    if isinstance(found, Values):
        yield found
    elif not isinstance(found, NonFiniteLogitsError):
        raise found
    elif len(absent) == 1:
        yield None
    else:
        middle = len(absent) // 2
        yield from _by_halves(game, absent[:middle])
        yield from _by_halves(game, absent[middle:])
