"""Composition of the method: prompt in, attribution out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gilot_plugin.attribution.choices import ChoicesTarget
from gilot_plugin.attribution.distances import MARGIN, margin
from gilot_plugin.attribution.flows import readable_flows, total_flows
from gilot_plugin.attribution.generation import generation_target
from gilot_plugin.attribution.geometry import Labels
from gilot_plugin.attribution.measuring import Measurer, Progress
from gilot_plugin.attribution.methods import (
    AttributionMethod,
    Distance,
    Measurement,
    MethodContext,
    PromptMethod,
)
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.refinement import Refinement, refine
from gilot_plugin.attribution.targets import Target
from gilot_plugin.attribution.types import Attribution, CoarseUnit, Diagnostics, Prompt, Unit
from gilot_plugin.backends.protocol import Backend


def attribute_generation(
    backend: Backend,
    prompt: Prompt,
    units: Sequence[Unit] | Refinement,
    recipe: Recipe,
    labels: Labels,
    decode: Callable[[Sequence[int]], str],
    progress: Progress | None = None,
    *,
    answer: Sequence[int] | None = None,
) -> Attribution:
    """Explain what the model would generate after the prompt.

    Args:
        backend: The model.
        prompt: The prompt as fed.
        units: What is taken away, one at a time, or how to find out.
        recipe: How.
        labels: Text of a token id, for flows.
        decode: Text of a hypothesis.
        progress: Told of measured units.
        answer: Tokens that the model answered, for ``hypotheses: response`` and the method ``logprob``; None
            for its greedy continuation.

    Returns:
        One score a unit and method, and the hypotheses of the full prompt.

    Raises:
        UnsupportedModelError: The absence needs explicit positions, which the model does not take.
        PromptError: The prompt and the hypotheses do not fit into the model's window, or nothing is in scope.
        NonFiniteLogitsError: The model returned NaN.
        BudgetError: The memory budget is too small for one prompt.
    """
    clock = _Clock(backend)
    target = generation_target(backend, prompt, recipe, labels, answer)
    found = _measure(backend, prompt, units, recipe, recipe.methods, target, clock, progress)
    return _attribution(prompt, found, clock, hypotheses=target.hypotheses(decode))


def attribute_choices(
    backend: Backend,
    prompt: Prompt,
    units: Sequence[Unit] | Refinement,
    choices: Sequence[Sequence[int]],
    texts: Sequence[str],
    recipe: Recipe,
    progress: Progress | None = None,
    *,
    lengths: Sequence[int] | None = None,
    gold: Sequence[int] = (),
) -> Attribution:
    """Explain which of the task's choices the model prefers.

    Args:
        backend: The model.
        prompt: The context as fed.
        units: What is taken away, one at a time, or how to find out.
        choices: Token ids of each choice, as fed after the context.
        texts: Text of each choice.
        recipe: How; beams and steps do not matter here.
        progress: Told of measured units.
        lengths: Characters of each choice as lm-eval counts them for ``acc_norm``; None for those of the
            texts.
        gold: Numbers of the right choices. If some are right and some are not, the scores hold ``margin``.

    Returns:
        One score a unit and method, and the choices with their probabilities.

    Raises:
        UnsupportedModelError: The absence needs explicit positions, which the model does not take.
        PromptError: The prompt and the longest choice do not fit into the model's window, or nothing is in
            scope.
        NonFiniteLogitsError: The model returned NaN.
        BudgetError: The memory budget is too small for one prompt.
    """
    clock = _Clock(backend)
    target = ChoicesTarget(backend, prompt, recipe, choices, texts, lengths, gold)
    has_margin = 0 < len(set(gold)) < len(choices)
    methods = (*recipe.methods, MARGIN) if has_margin else recipe.methods
    found = _measure(backend, prompt, units, recipe, methods, target, clock, progress)
    assert found.measurer.present is not None  # known once something was measured
    (logprobs,) = found.measurer.present.logprobs
    described = target.choices(np.exp(logprobs).tolist())
    return _attribution(
        prompt, found, clock, choices=described, margin=margin(logprobs, gold) if has_margin else None
    )


class _Clock:
    """What the model read and how long it took since now."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._tokens, self._started = backend.model_tokens, time.perf_counter()

    @property
    def model_tokens(self) -> int:
        return self.backend.model_tokens - self._tokens

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started


@dataclass(frozen=True, slots=True)
class _Found:
    """Everything that was measured of a prompt."""

    target: Target
    measurer: Measurer
    distances: tuple[Distance, ...]
    units: tuple[Unit, ...]
    measurements: dict[Unit, list[Measurement]]
    coarse: tuple[Unit, ...]
    scores: dict[str, tuple[float, ...]]


def _measure(
    backend: Backend,
    prompt: Prompt,
    units: Sequence[Unit] | Refinement,
    recipe: Recipe,
    methods: Sequence[AttributionMethod],
    target: Target,
    clock: _Clock,
    progress: Progress | None,
) -> _Found:
    """Run the distances, then the methods that need no outcome distributions."""
    distances = tuple(method for method in methods if isinstance(method, Distance))
    measurer = Measurer(backend, target, distances, recipe, progress)
    measurements: dict[Unit, list[Measurement]] = {}
    coarse: tuple[Unit, ...] = ()

    def measure(some: Sequence[Unit]) -> list[float]:
        found = measurer.measure(some)
        measurements.update(zip(some, found, strict=True))
        return [first.score for first, *_ in found]

    if isinstance(units, Refinement):
        refined = refine(prompt, units, measure, target.model_tokens, lambda: clock.model_tokens)
        units, coarse = refined.units, refined.coarse
    else:
        measurements.update(zip(units, measurer.measure(units), strict=True))
    scores: dict[str, tuple[float, ...]] = {}
    context = MethodContext(backend, prompt, tuple(units), recipe.seed)
    for method in methods:
        if isinstance(method, PromptMethod):
            scores[method.name] = tuple(float(value) for value in method.score(context))
            if len(scores[method.name]) != len(units):
                raise ValueError(
                    f"method {method.name!r} gave {len(scores[method.name])} scores for {len(units)} units"
                )
        else:
            column = distances.index(method)
            scores[method.name] = tuple(measurements[unit][column].score for unit in units)
    return _Found(target, measurer, distances, tuple(units), measurements, coarse, scores)


def _attribution(prompt: Prompt, found: _Found, clock: _Clock, **described: Any) -> Attribution:
    """Assemble the result."""
    measurements = [found.measurements[unit] for unit in found.units]
    moves = [next((one.moves for one in unit if one.moves), ()) for unit in measurements]
    geometry, measurer = found.target.geometry, found.measurer
    return Attribution(
        prompt=prompt,
        units=found.units,
        scores=found.scores,
        flows=tuple(readable_flows(unit, geometry) for unit in moves),
        total_flows=total_flows(moves, geometry),
        diagnostics=_diagnostics(measurements, measurer, clock),
        coarse_units=tuple(
            CoarseUnit(
                unit,
                {
                    distance.name: one.score
                    for distance, one in zip(found.distances, found.measurements[unit], strict=True)
                },
            )
            for unit in found.coarse
        ),
        **described,
    )


def _diagnostics(
    measurements: Sequence[Sequence[Measurement]], measurer: Measurer, clock: _Clock
) -> Diagnostics:
    every = [one for unit in measurements for one in unit]
    bounds = [next((one.interval for one in unit if one.interval is not None), None) for unit in measurements]
    return Diagnostics(
        outside_support=max((one.outside_support for one in every), default=0.0),
        transport_gap=max((one.gap for one in every), default=0.0),
        transport_bounds=tuple((bound.lower, bound.upper) for bound in bounds if bound is not None),
        support_size=tuple(max((one.support_size for one in unit), default=0) for unit in measurements),
        model_tokens=clock.model_tokens,
        batch_size=measurer.plan.size,
        seconds={
            "model": measurer.model_seconds,
            "measure": measurer.measure_seconds,
            "total": clock.seconds,
        },
        recomputed=clock.backend.recomputes,
    )
