"""Short ways to call the engine on bare token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from gilot_plugin.attribution.builtins import BUILTIN_METHODS
from gilot_plugin.attribution.engine import attribute
from gilot_plugin.attribution.execution import Execution
from gilot_plugin.attribution.games import choices_game, generation_game
from gilot_plugin.attribution.methods import Distance, TransportDistance, signed
from gilot_plugin.attribution.prompt.absence import BUILTIN_ABSENCES, AbsenceContext
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.transport import Solver, make_solver
from gilot_plugin.attribution.types import CONTENT_SEGMENT, Attribution, Prompt, Token, Unit
from gilot_plugin.backends.scorer import Scorer
from gilot_plugin.backends.transformers import TransformersBackend

Span = tuple[int, int]

#: A prompt for the tiny models, and some units of it: first, last, single and longer ones.
PROMPT = (0, 37, 211, 64, 150, 9, 301, 88, 12, 250, 133, 70, 19, 205)
SPANS = [(0, 1), (3, 5), (6, 7), (10, 13), (13, 14)]
EVERY_TOKEN = [(index, index + 1) for index in range(len(PROMPT))]

_DISTANCES = [method for method in BUILTIN_METHODS if isinstance(method, (Distance, TransportDistance))]
_METHODS = {method.name: method for method in (*BUILTIN_METHODS, *map(signed, _DISTANCES))}
_ABSENCES = {operator.name: operator for operator in BUILTIN_ABSENCES}


def methods(*names: str) -> tuple[Distance, ...]:
    """Built-in methods by name, signed ones too."""
    return tuple(_METHODS[name] for name in names)


def recipe(
    *, absence: str = "delete", solver: str | Solver = "exact", replace_with: int | None = None, **more: Any
) -> Recipe:
    """The default settings, and what differs from them."""
    settings = {
        "num_beams": 4,
        "max_new_tokens": 5,
        "absence": _ABSENCES[absence],
        "absence_context": AbsenceContext(replace_with, empty_prompt_id=0),
        "methods": methods("ot", "kl", "l2"),
        "solver": make_solver(solver, 1e-3, torch.device("cpu")) if isinstance(solver, str) else solver,
        "top_p": 0.9999,
        "top_k": 1000,
    }
    of_numbers = {name: value for name, value in more.items() if name not in Execution._fields}
    return Recipe(**{**settings, **of_numbers})


def execution(*, batch_size: int | None = 4, num_threads: int | None = 1, **settings: Any) -> Execution:
    """How it is carried out: as settings say, of which others are passed over.

    As much as a batch of the default size takes would depend on the machine.
    """
    return Execution(batch_size, settings.get("memory_budget"), num_threads)


def prompt_of(token_ids: Sequence[int]) -> Prompt:
    """A prompt whose tokens read ``<id>``."""
    texts = [f"<{token_id}>" for token_id in token_ids]
    starts = [sum(map(len, texts[:index])) for index in range(len(texts))]
    tokens = tuple(
        Token(token_id, text, start, start + len(text))
        for token_id, text, start in zip(token_ids, texts, starts, strict=True)
    )
    return Prompt("".join(texts), tokens, (CONTENT_SEGMENT,) * len(tokens))


def units_at(prompt: Prompt, spans: Sequence[Span]) -> list[Unit]:
    """Units that take the given token spans."""
    return [
        Unit(
            start, end, prompt.text[prompt.tokens[start].start : prompt.tokens[end - 1].end], CONTENT_SEGMENT
        )
        for start, end in spans
    ]


def attribute_generation(backend: Scorer, *arguments: Any, **named: Any) -> Attribution:
    """The attribution of a :func:`generation_game`."""
    return attribute(backend, generation_game(backend, *arguments, **named))


def attribute_choices(backend: Scorer, *arguments: Any, **named: Any) -> Attribution:
    """The attribution of a :func:`choices_game`."""
    return attribute(backend, choices_game(backend, *arguments, **named))


def opened(model: Any) -> Scorer:
    """What runs a model; other runtimes come as they are."""
    return TransformersBackend(model) if isinstance(model, torch.nn.Module) else model


def generation(
    model: Any,
    token_ids: Sequence[int],
    spans: Sequence[Span],
    answer: Sequence[int] | None = None,
    **settings: Any,
) -> Attribution:
    """:func:`attribute_generation` with :func:`recipe` and its settings."""
    prompt = prompt_of(token_ids)
    units = units_at(prompt, spans)
    return attribute_generation(
        opened(model),
        prompt,
        units,
        recipe(**settings),
        str,
        str,
        execution(**settings),
        answer=answer,
    )


def choices(
    model: Any,
    token_ids: Sequence[int],
    spans: Sequence[Span],
    continuations: Sequence[Sequence[int]],
    lengths: Sequence[int] | None = None,
    gold: Sequence[int] = (),
    unscored: Sequence[int] | None = None,
    **settings: Any,
) -> Attribution:
    """:func:`attribute_choices` with :func:`recipe` and its settings."""
    prompt = prompt_of(token_ids)
    return attribute_choices(
        opened(model),
        prompt,
        units_at(prompt, spans),
        continuations,
        [str(tuple(continuation)) for continuation in continuations],
        recipe(**settings),
        execution(**settings),
        lengths=lengths,
        gold=gold,
        unscored=unscored,
    )
