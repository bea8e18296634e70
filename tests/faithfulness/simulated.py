"""Curves without a model: areas as one wants them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gilot_plugin.faithfulness.controls import control_rankings
from gilot_plugin.faithfulness.curves import FRACTIONS, SIMILARITY, Curves, SampleCurves, SampleKey

#: Both curves start at 1 and end alike; between, they differ by what the area asks for.
_INNER = len(FRACTIONS) - 2


def curves_of_area(area: float) -> Curves:
    """Curves with so large an area between them."""
    half = area * (len(FRACTIONS) - 1) / _INNER / 2
    morf = (1.0, *(0.5 - half for _ in range(_INNER)), 0.0)
    lerf = (1.0, *(0.5 + half for _ in range(_INNER)), 0.0)
    return Curves(morf, lerf)


def simulated(
    generator: np.random.Generator,
    samples: int,
    effects: dict[str, float],
    random_rankings: int = 3,
    absence: str = "delete",
) -> Iterator[SampleCurves]:
    """Samples whose areas scatter around 0 for controls, and around its effect for each method."""
    for doc in range(samples):
        key = SampleKey("task", doc, f"hash{doc}")
        names = {**effects, **dict.fromkeys(control_rankings(key, 4, 0, random_rankings), 0.0)}
        for name, effect in names.items():
            area = effect + 0.1 * generator.standard_normal()
            yield SampleCurves(key, absence, name, {SIMILARITY.name: curves_of_area(area)})
