"""Composition of the method: prompt in, attribution out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from gilot_plugin.attribution.absence import AbsenceContext
from gilot_plugin.attribution.geometry import ChoiceGeometry, Labels, VocabularyGeometry
from gilot_plugin.attribution.hypotheses import Hypotheses
from gilot_plugin.attribution.measuring import PRESENT, MeasuredUnits, Progress, measure_units
from gilot_plugin.attribution.methods import Distance, MethodContext, PromptMethod
from gilot_plugin.attribution.outcomes import (
    Outcomes,
    choice_outcomes,
    regenerated_outcomes,
    rescored_outcomes,
)
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.types import Attribution, Choice, Diagnostics, Flow, Hypothesis, Prompt, Unit
from gilot_plugin.backends.protocol import Backend, Row
from gilot_plugin.errors import PromptError, UnsupportedModelError


def attribute_generation(
    backend: Backend,
    prompt: Prompt,
    units: Sequence[Unit],
    recipe: Recipe,
    labels: Labels,
    decode: Callable[[Sequence[int]], str],
    progress: Progress | None = None,
) -> Attribution:
    """Explain what the model would generate after the prompt.

    Args:
        backend: The model.
        prompt: The prompt as fed.
        units: What is taken away, one at a time.
        recipe: How.
        labels: Text of a token id, for flows.
        decode: Text of a hypothesis.
        progress: Told of measured units.

    Returns:
        One score a unit and method, and the hypotheses of the full prompt.

    Raises:
        UnsupportedModelError: The absence needs explicit positions, which the model does not take.
        PromptError: The prompt and the hypotheses do not fit into the model's window.
        NonFiniteLogitsError: The model returned NaN.
        BudgetError: The memory budget is too small for one prompt.
    """
    _check_positions(backend, recipe)
    longest = len(prompt.tokens) + recipe.max_new_tokens
    if backend.max_positions is not None and longest > backend.max_positions:
        raise PromptError(
            f"the prompt's {len(prompt.tokens)} tokens and max_new_tokens={recipe.max_new_tokens} need "
            f"{longest} positions, the model has {backend.max_positions}: lower max_new_tokens or shorten "
            "the prompt"
        )
    second = recipe.absence.rescored_without

    def outcomes(indices: Sequence[int]) -> Outcomes:
        rows = [
            _row(prompt, units, index, recipe.absence.without, recipe.absence_context) for index in indices
        ]
        if second is None:
            return regenerated_outcomes(backend, rows, recipe.num_beams, recipe.max_new_tokens)
        rescored = [_row(prompt, units, index, second, recipe.absence_context) for index in indices]
        return rescored_outcomes(backend, rows, rescored, recipe.num_beams, recipe.max_new_tokens)

    geometry = VocabularyGeometry(backend, labels)
    row_bytes = backend.row_bytes(longest, recipe.num_beams)
    run = measure_units(backend, units, outcomes, geometry, recipe, row_bytes, progress)
    assert run.hypotheses is not None  # generation outcomes always carry them
    return _finish(backend, prompt, units, recipe, run, hypotheses=_describe(run.hypotheses, decode))


def attribute_choices(
    backend: Backend,
    prompt: Prompt,
    units: Sequence[Unit],
    choices: Sequence[Sequence[int]],
    texts: Sequence[str],
    recipe: Recipe,
    progress: Progress | None = None,
) -> Attribution:
    """Explain which of the task's choices the model prefers.

    Args:
        backend: The model.
        prompt: The context as fed.
        units: What is taken away, one at a time.
        choices: Token ids of each choice, as fed after the context.
        texts: Text of each choice.
        recipe: How; beams and steps do not matter here.
        progress: Told of measured units.

    Returns:
        One score a unit and method, and the choices with their probabilities.

    Raises:
        UnsupportedModelError: The absence needs explicit positions, which the model does not take.
        PromptError: The prompt and the longest choice do not fit into the model's window.
        NonFiniteLogitsError: The model returned NaN.
        BudgetError: The memory budget is too small for one prompt.
    """
    _check_positions(backend, recipe)
    longest = len(prompt.tokens) + max(map(len, choices))
    # The last token of a choice is only predicted, never fed.
    if backend.max_positions is not None and longest - 1 > backend.max_positions:
        raise PromptError(
            f"the prompt's {len(prompt.tokens)} tokens and its longest choice need {longest - 1} positions, "
            f"the model has {backend.max_positions}"
        )
    present_logprobs: list[torch.Tensor] = []

    def outcomes(indices: Sequence[int]) -> Outcomes:
        rows = [
            _row(prompt, units, index, recipe.absence.without, recipe.absence_context) for index in indices
        ]
        result, logprobs = choice_outcomes(backend, rows, choices)
        if indices[0] == PRESENT:
            present_logprobs.append(logprobs[0])
        return result

    geometry = ChoiceGeometry(backend, choices, texts)
    # Choices are scored as so many beams, whose logits are all kept.
    row_bytes = backend.row_bytes(longest, len(choices) * max(map(len, choices)))
    run = measure_units(backend, units, outcomes, geometry, recipe, row_bytes, progress)
    described = tuple(
        Choice(text, tuple(ids), float(logprob), float(probability))
        for text, ids, logprob, probability in zip(
            texts, choices, present_logprobs[-1].tolist(), np.exp(run.log_present).tolist(), strict=True
        )
    )
    return _finish(backend, prompt, units, recipe, run, choices=described)


def _check_positions(backend: Backend, recipe: Recipe) -> None:
    if recipe.absence.needs_positions and not backend.takes_positions:
        raise UnsupportedModelError(
            f"absence {recipe.absence.name!r} needs a model that takes explicit positions, which this one "
            "does not: choose 'delete' or 'replace'"
        )


def _row(
    prompt: Prompt,
    units: Sequence[Unit],
    index: int,
    without: Callable[[Sequence[int], Unit, AbsenceContext], Row],
    context: AbsenceContext,
) -> Row:
    return Row(prompt.token_ids) if index == PRESENT else without(prompt.token_ids, units[index], context)


def _describe(hypotheses: Hypotheses, decode: Callable[[Sequence[int]], str]) -> tuple[Hypothesis, ...]:
    """Hypotheses of the full prompt (row 0), likeliest first."""
    logprobs = hypotheses.logprobs[0].double()
    shares = logprobs.softmax(dim=0).tolist()
    found = zip(
        hypotheses.tokens[0].tolist(),
        hypotheses.lengths[0].tolist(),
        logprobs.tolist(),
        shares,
        hypotheses.ended[0].tolist(),
        strict=True,
    )
    described = [
        Hypothesis(tuple(ids[:length]), decode(ids[:length]), logprob, share, ended)
        for ids, length, logprob, share, ended in found
        if logprob > float("-inf")
    ]
    return tuple(sorted(described, key=lambda hypothesis: -hypothesis.logprob))


def _finish(
    backend: Backend,
    prompt: Prompt,
    units: Sequence[Unit],
    recipe: Recipe,
    run: MeasuredUnits,
    hypotheses: tuple[Hypothesis, ...] = (),
    choices: tuple[Choice, ...] = (),
) -> Attribution:
    """Run the methods that need no outcome distributions and assemble the result."""
    scores: dict[str, tuple[float, ...]] = {}
    distances = [method.name for method in recipe.methods if isinstance(method, Distance)]
    for column, name in enumerate(distances):
        scores[name] = tuple(measured[column].score for measured in run.measurements)
    context = MethodContext(backend, prompt, tuple(units), recipe.seed)
    for method in recipe.methods:
        if isinstance(method, PromptMethod):
            scores[method.name] = tuple(float(value) for value in method.score(context))
            if len(scores[method.name]) != len(units):
                raise ValueError(
                    f"method {method.name!r} gave {len(scores[method.name])} scores for {len(units)} units"
                )
    flows: list[tuple[Flow, ...]] = [
        next((measured.flows for measured in unit if measured.flows), ()) for unit in run.measurements
    ]
    every = [measured for unit in run.measurements for measured in unit]
    diagnostics = Diagnostics(
        outside_support=max((measured.outside_support for measured in every), default=0.0),
        transport_gap=max((measured.gap for measured in every), default=0.0),
        support_size=tuple(
            max((measured.support_size for measured in unit), default=0) for unit in run.measurements
        ),
        model_tokens=run.model_tokens,
        batch_size=run.batch_size,
        seconds={**run.seconds, "total": time.perf_counter() - run.started},
    )
    ordered = {method.name: scores[method.name] for method in recipe.methods}
    return Attribution(prompt, tuple(units), ordered, tuple(flows), diagnostics, hypotheses, choices)
