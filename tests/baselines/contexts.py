"""What methods of the prompt are given: around a model, or around a game with known values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from gilot_plugin.attribution.builtins import LOGPROB
from gilot_plugin.attribution.game import Values
from gilot_plugin.attribution.methods import MethodContext, OutcomeMethod, PromptMethod
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
    """A game whose values are those of a function of which units are there; notes what it is asked.

    Args:
        value: Takes ``[units]`` of 0 and 1.
        units: Their number.
    """

    def __init__(self, value: Callable[[np.ndarray], float], units: int) -> None:
        self.value, self.asked = value, list[list[tuple[bool, ...]]]()
        self.prompt = prompt_of(range(units))
        self.units = tuple(units_at(self.prompt, [(place, place + 1) for place in range(units)]))
        self.target = SimpleNamespace(answer_measure=LOGPROB)
        self.context = MethodContext(None, self, seed=3)  # type: ignore[arg-type]

    def values(self, absent: torch.Tensor, measures: Sequence[OutcomeMethod]) -> Values:
        self.asked.append([tuple(row) for row in absent.tolist()])
        everybody = self.value(np.ones(len(self.units)))
        drops = [[everybody - self.value(present)] for present in (~absent).numpy().astype(float)]
        return Values({measure.name: np.array(drops) for measure in measures})


def table_game(units: int, seed: int = 0) -> tuple[Game, Mapping[tuple[int, ...], float]]:
    """A game whose coalitions have values that are unrelated."""
    rng = np.random.default_rng(seed)
    table = {present: float(rng.normal(0, 3)) for present in np.ndindex(*(2,) * units)}
    return Game(lambda present: table[tuple(present.astype(int).tolist())], units), table
