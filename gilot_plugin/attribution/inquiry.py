"""A prompt that is to be explained: what is asked of it, and the attribution that comes of the answers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from scipy.special import entr

from gilot_plugin.attribution.builtins import MARGIN
from gilot_plugin.attribution.distance.flows import readable_flows, total_flows
from gilot_plugin.attribution.distance.geometry import Labels
from gilot_plugin.attribution.distances import margin
from gilot_plugin.attribution.measuring import Progress, Subject
from gilot_plugin.attribution.methods import (
    AttributionMethod,
    Distance,
    Measurement,
    MethodContext,
    PromptMethod,
)
from gilot_plugin.attribution.prediction.choices import ChoicesTarget
from gilot_plugin.attribution.prediction.generation import GenerationTarget, generation_target
from gilot_plugin.attribution.prediction.reading import BatchedReader
from gilot_plugin.attribution.prediction.targets import Target
from gilot_plugin.attribution.prompt.refinement import Refinement, refine
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.types import Attribution, CoarseUnit, Diagnostics, Prompt, Unit
from gilot_plugin.backends.protocol import Backend

#: What an inquiry asks to be measured, and gets back: one measurement a unit and distance.
_Rounds = Generator[tuple[Unit, ...], list[list[Measurement]], Attribution]


_TargetT = TypeVar("_TargetT", bound=Target)


class Inquiry(Generic[_TargetT]):
    """A prompt that is to be explained, alone or with others at once.

    See :func:`gilot_plugin.attribution.engine.attribute_together`.

    Args:
        backend: The model.
        prompt: The prompt as fed.
        units: What is taken away, one at a time, or how to find out.
        recipe: How.
        methods: What is computed for each unit.
        make_target: Makes what is explained; the model may be asked.
        describe: What the attribution says of the target, by field, once everything was measured.
        progress: Told of measured units.
    """

    def __init__(
        self,
        backend: Backend,
        prompt: Prompt,
        units: Sequence[Unit] | Refinement,
        recipe: Recipe,
        methods: Sequence[AttributionMethod],
        make_target: Callable[[], _TargetT],
        describe: Callable[[_TargetT, Subject], dict[str, Any]],
        progress: Progress | None = None,
    ) -> None:
        started, tokens = time.perf_counter(), backend.model_tokens
        self._backend, self._prompt, self._units, self.recipe = backend, prompt, units, recipe
        self._methods, self._describe = tuple(methods), describe
        self._target = make_target()
        distances = tuple(method for method in methods if isinstance(method, Distance))
        self.subject = Subject(self._target, distances, recipe, progress)
        self.subject.model_tokens = backend.model_tokens - tokens
        self.seconds = self.subject.model_seconds = time.perf_counter() - started
        self.method_seconds: dict[str, float] = {}
        self.failed_methods: dict[str, str] = {}
        # What finds out about the full prompt beforehand reads what rows have in common with it.
        if not self.subject.model_tokens:
            self.subject.unread = self._target.load(()).known

    @property
    def width(self) -> int:
        """About how many tokens its units bring into a pass, as far as they are known."""
        units = () if isinstance(self._units, Refinement) else self._units
        return sum(max(1, self._target.load(absent).together) for absent in ((), *((one,) for one in units)))

    def rounds(self) -> _Rounds:
        """Units to measure, a round at a time; their measurements are to be sent back.

        Returns:
            The attribution.
        """
        measurements: dict[Unit, list[Measurement]] = {}
        units, coarse = self._units, tuple[Unit, ...]()
        if isinstance(units, Refinement):
            cut = refine(self._prompt, units, self._estimate, lambda: self.subject.model_tokens)
            try:
                wanted = next(cut)
                while True:
                    found = yield wanted
                    measurements.update(zip(wanted, found, strict=True))
                    wanted = cut.send([first.score for first, *_ in found])
            except StopIteration as stop:
                units, coarse = stop.value.units, stop.value.coarse
        else:
            # Without distances, only what the model says to the full prompt is of interest.
            found = yield tuple(units) if self.subject.distances else ()
            measurements.update(zip(units, found or [[]] * len(units), strict=True))
        return self._attribution(tuple(units), coarse, measurements)

    def _estimate(self, unit: Unit | None) -> int:
        load = self._target.load(() if unit is None else (unit,))
        return load.own + load.room + (self.subject.unread if unit is None else 0)

    def _attribution(
        self, units: tuple[Unit, ...], coarse: tuple[Unit, ...], measurements: dict[Unit, list[Measurement]]
    ) -> Attribution:
        """Assemble the result."""
        geometry, distances = self._target.geometry, self.subject.distances
        scores = self._scores(units, measurements)
        rows = [measurements[unit] for unit in units]
        moves = [next((one.moves for one in unit if one.moves), ()) for unit in rows]
        return Attribution(
            prompt=self._prompt,
            units=units,
            scores=scores,
            flows=tuple(readable_flows(unit, geometry) for unit in moves),
            total_flows=total_flows(moves, geometry),
            diagnostics=self._diagnostics(rows),
            coarse_units=tuple(
                CoarseUnit(
                    unit,
                    {
                        distance.name: one.score
                        for distance, one in zip(distances, measurements[unit], strict=True)
                    },
                )
                for unit in coarse
            ),
            **self._describe(self._target, self.subject),
        )

    def _scores(
        self, units: tuple[Unit, ...], measurements: dict[Unit, list[Measurement]]
    ) -> dict[str, tuple[float, ...]]:
        """Scores of all methods, in their order; those that need no outcome distributions run now.

        One of these that fails takes no other method along.
        """
        scores: dict[str, tuple[float, ...]] = {}
        failures: dict[str, Exception] = {}
        context = MethodContext(self._backend, self._prompt, units, self._reader, self.recipe.seed)
        for method in self._methods:
            if isinstance(method, PromptMethod):
                started, tokens = time.perf_counter(), self._backend.model_tokens
                try:
                    scores[method.name] = _prompt_scores(method, context)
                except (torch.OutOfMemoryError, MemoryError):
                    raise
                except Exception as error:
                    failures[method.name] = error
                self.method_seconds[method.name] = time.perf_counter() - started
                self.subject.model_tokens += self._backend.model_tokens - tokens
            else:
                column = self.subject.distances.index(method)
                scores[method.name] = tuple(measurements[unit][column].score for unit in units)
        if failures and not scores:
            raise next(iter(failures.values()))
        self.failed_methods = {name: f"{type(error).__name__}: {error}" for name, error in failures.items()}
        return scores

    def _reader(self) -> BatchedReader:
        return BatchedReader(self._backend, self._prompt, self.recipe, self._target.answer())

    def _diagnostics(self, measurements: Sequence[Sequence[Measurement]]) -> Diagnostics:
        subject = self.subject
        every = [one for unit in measurements for one in unit]
        bounds = [
            next((one.interval for one in unit if one.interval is not None), None) for unit in measurements
        ]
        return Diagnostics(
            outside_support=max((one.outside_support for one in every), default=0.0),
            transport_gap=max((one.gap for one in every), default=0.0),
            transport_bounds=tuple((bound.lower, bound.upper) for bound in bounds if bound is not None),
            support_size=tuple(max((one.support_size for one in unit), default=0) for unit in measurements),
            model_tokens=subject.model_tokens,
            batch_size=subject.batch_size,
            out_of_memory=subject.out_of_memory,
            seconds={
                "model": subject.model_seconds,
                "measure": subject.measure_seconds,
                **self.method_seconds,
                # Methods of the prompt run after everything that was counted so far.
                "total": self.seconds + sum(self.method_seconds.values()),
            },
            recomputed=self._backend.recomputes_at(len(self._prompt.tokens) + self.recipe.max_new_tokens),
            outcome_entropy=_entropy(subject),
            failed_methods=self.failed_methods,
            transport_left_over=sum(one.left_over for one in every),
        )


def _prompt_scores(method: PromptMethod, context: MethodContext) -> tuple[float, ...]:
    """What a method says of each unit.

    Raises:
        ValueError: It has not one finite number for each.
    """
    scores = tuple(float(value) for value in method.score(context))
    if len(scores) != len(context.units):
        raise ValueError(f"method {method.name!r} gave {len(scores)} scores for {len(context.units)} units")
    for unit, score in zip(context.units, scores, strict=True):
        if not math.isfinite(score):
            raise ValueError(f"method {method.name!r} gave {score} for the unit {unit.text!r}")
    return scores


def _entropy(subject: Subject) -> float:
    """Entropy of the full prompt's outcome, averaged over steps."""
    assert subject.present is not None  # known once something was measured
    logprobs = subject.present.logprobs
    return float(entr(np.exp(logprobs)).sum(axis=1).mean())


def generation_inquiry(
    backend: Backend,
    prompt: Prompt,
    units: Sequence[Unit] | Refinement,
    recipe: Recipe,
    labels: Labels,
    decode: Callable[[Sequence[int]], str],
    progress: Progress | None = None,
    *,
    answer: Sequence[int] | None = None,
) -> Inquiry[GenerationTarget]:
    """Ask what the model would generate after the prompt.

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
        What gives one score a unit and method, and the hypotheses of the full prompt.

    Raises:
        UnsupportedModelError: The absence needs explicit positions, which the model does not take.
        PromptError: The prompt and the hypotheses do not fit into the model's window.
        NonFiniteLogitsError: The model returned NaN.
    """
    return Inquiry(
        backend,
        prompt,
        units,
        recipe,
        recipe.methods,
        lambda: generation_target(backend, prompt, recipe, labels, answer),
        lambda target, _: {"hypotheses": target.hypotheses(decode)},
        progress,
    )


def choices_inquiry(
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
    unscored: Sequence[int] | None = None,
) -> Inquiry[ChoicesTarget]:
    """Ask which of the task's choices the model prefers.

    Args:
        backend: The model.
        prompt: The context as fed.
        units: What is taken away, one at a time, or how to find out.
        choices: Token ids of each choice, as fed after the prompt.
        texts: Text of each choice.
        recipe: How; beams and steps do not matter here.
        progress: Told of measured units.
        lengths: Characters of each choice as lm-eval counts them for ``acc_norm``; None for those of the
            texts.
        gold: Numbers of the right choices. If some are right and some are not, the scores hold ``margin``.
        unscored: How many tokens of each choice belong to its context, where contexts differ; None for none.

    Returns:
        What gives one score a unit and method, and the choices with their probabilities.

    Raises:
        UnsupportedModelError: The absence needs explicit positions, which the model does not take.
        PromptError: The prompt and the longest choice do not fit into the model's window.
    """
    has_margin = 0 < len(set(gold)) < len(choices)

    def describe(target: ChoicesTarget, subject: Subject) -> dict[str, Any]:
        assert subject.present is not None  # known once something was measured
        (logprobs,) = subject.present.logprobs
        return {
            "choices": target.choices(np.exp(logprobs).tolist()),
            "margin": margin(logprobs, gold) if has_margin else None,
        }

    return Inquiry(
        backend,
        prompt,
        units,
        recipe,
        (*recipe.methods, MARGIN) if has_margin else recipe.methods,
        lambda: ChoicesTarget(backend, prompt, recipe, choices, texts, lengths, gold, unscored),
        describe,
        progress,
    )
