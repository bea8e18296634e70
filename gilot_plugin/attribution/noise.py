"""How much scores move by themselves: the same ones, measured in other batches."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gilot_plugin.attribution.game import Game
from gilot_plugin.attribution.types import Attribution, NoiseFloor

#: Prompts of which some units are measured again, and units of each. Another score deviates by more than the
#: largest of n deviations with a probability of 1 / (n + 1), if they are alike: of 18, one in 19.
NOISE_SAMPLES = 3
_UNITS = 6


class Remeasured(NamedTuple):
    """Units of one prompt, measured again.

    Attributes:
        deviations: For each distance, by how much the score of each of the units has moved.
        seconds: What that took.
    """

    deviations: Mapping[str, Sequence[float]]
    seconds: float


def remeasure(game: Game, attribution: Attribution) -> Remeasured:
    """Measure some units of an explained prompt again, and the full prompt, with batches cut otherwise.

    Matrix products round otherwise where their shapes differ, and half precision rounds by as much as small
    scores are.

    Args:
        game: What the attribution was made of.
        attribution: Its result.
    """
    started = time.perf_counter()
    units = attribution.units
    places = sorted(set(np.linspace(0, len(units) - 1, min(_UNITS, len(units))).round().astype(int).tolist()))
    again = game.anew(batch_size=1 if game.batch_size > 1 else 2)
    values = again.values([(units[place],) for place in places])
    deviations = {
        measure.name: [
            abs(value - attribution.scores[measure.name][place])
            for value, place in zip(values.means(measure.name), places, strict=True)
        ]
        for measure in game.measures
    }
    return Remeasured(deviations, time.perf_counter() - started)


def noise_floor(samples: Sequence[Remeasured]) -> NoiseFloor | None:
    """The largest deviation of each distance; None if nothing was measured again."""
    if not samples:
        return None
    names = dict.fromkeys(name for sample in samples for name in sample.deviations)
    every = {
        name: [value for sample in samples for value in sample.deviations.get(name, ())] for name in names
    }
    return NoiseFloor(
        {name: max(values) for name, values in every.items() if values},
        max((len(values) for values in every.values()), default=0),
    )
