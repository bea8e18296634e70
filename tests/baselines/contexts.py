"""What methods of the prompt are given: around a model, or around a game with known values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gilot_plugin.attribution.methods import MethodContext, PromptMethod
from gilot_plugin.attribution.types import Absent
from tests.attribution import engine_calls
from tests.attribution.engine_calls import PROMPT, Span, prompt_of, units_at

#: Some units of the prompt; its first, its last and some other tokens belong to none.
SPANS = [(1, 2), (3, 5), (6, 7), (8, 9), (10, 13)]

#: About equally likely, so that each matters.
CHOICES = [(5,), (300,), (44,)]


def context_of(
    model: Any,
    token_ids: Sequence[int] = PROMPT,
    spans: Sequence[Span] = SPANS,
    choices: Sequence[Sequence[int]] | None = None,
    **settings: Any,
) -> MethodContext:
    """The context that the engine makes."""
    kept: list[MethodContext] = []

    def keep(context: MethodContext) -> list[float]:
        kept.append(context)
        return [0.0] * len(context.units)

    given = {"methods": (PromptMethod("keep", "", keep),), **settings}
    if choices is None:
        engine_calls.generation(model, token_ids, spans, **given)
    else:
        engine_calls.choices(model, token_ids, spans, choices, **given)
    return kept[0]


class Game:
    """A reader of answers whose values are those of a function of which units are there.

    Args:
        value: Takes ``[units]`` of 0 and 1.
        units: Their number.
    """

    def __init__(self, value: Callable[[np.ndarray], float], units: int) -> None:
        self.value, self.batches = value, list[int]()
        prompt = prompt_of(range(units))
        self._units = units_at(prompt, [(place, place + 1) for place in range(units)])
        self.context = MethodContext(None, prompt, tuple(self._units), lambda: self, seed=3)  # type: ignore[arg-type, return-value]

    def logprobs(self, absent: Sequence[Absent]) -> np.ndarray:
        self.batches.append(len(absent))
        present = [[float(unit not in gone) for unit in self._units] for gone in absent]
        return np.array([self.value(np.array(row)) for row in present])


def table_game(units: int, seed: int = 0) -> tuple[Game, Mapping[tuple[int, ...], float]]:
    """A game whose coalitions have values that are unrelated."""
    rng = np.random.default_rng(seed)
    table = {present: float(rng.normal(0, 3)) for present in np.ndindex(*(2,) * units)}
    return Game(lambda present: table[tuple(present.astype(int).tolist())], units), table
