"""Composition of the method: prompt in, attribution out."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from gilot_plugin.attribution.absence import AbsenceContext, AbsenceOperator
from gilot_plugin.attribution.batching import BatchPlan, in_batches
from gilot_plugin.attribution.geometry import ChoiceGeometry, Geometry, Labels, VocabularyGeometry
from gilot_plugin.attribution.hypotheses import Hypotheses
from gilot_plugin.attribution.methods import (
    AttributionMethod,
    Distance,
    FloatArray,
    Measurement,
    MethodContext,
    OutcomePair,
    PromptMethod,
)
from gilot_plugin.attribution.outcomes import (
    Outcomes,
    choice_outcomes,
    regenerated_outcomes,
    rescored_outcomes,
)
from gilot_plugin.attribution.transport import Solver
from gilot_plugin.attribution.types import Attribution, Choice, Diagnostics, Flow, Hypothesis, Prompt, Unit
from gilot_plugin.backends.protocol import Backend, Row
from gilot_plugin.errors import PromptError, UnsupportedModelError

#: Called with the number of units that were measured since the last call.
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that determines the numbers of an attribution, and how to spread the work.

    Attributes:
        num_beams: K.
        max_new_tokens: J.
        absence: How units are taken away.
        absence_context: What the absence operator may need.
        methods: What is computed for each unit.
        solver: Solves the transport problems.
        top_p: Cumulative mass of the support.
        top_k: Largest support of each distribution.
        batch_size: Prompts a batch; None for as many as the memory budget allows.
        memory_budget: Bytes that rows may take; None for half of what is free.
        num_threads: Worker threads of the measurements; None for one a core.
        seed: For methods that draw random numbers.
    """

    num_beams: int
    max_new_tokens: int
    absence: AbsenceOperator
    absence_context: AbsenceContext
    methods: tuple[AttributionMethod, ...]
    solver: Solver
    top_p: float
    top_k: int
    batch_size: int | None = None
    memory_budget: int | None = None
    num_threads: int | None = None
    seed: int = 0


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
    run = _measure_units(backend, units, outcomes, geometry, recipe, row_bytes, progress)
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
        if indices[0] == _PRESENT:
            present_logprobs.append(logprobs[0])
        return result

    geometry = ChoiceGeometry(backend, choices, texts)
    # Choices are scored as so many beams, whose logits are all kept.
    row_bytes = backend.row_bytes(longest, len(choices) * max(map(len, choices)))
    run = _measure_units(backend, units, outcomes, geometry, recipe, row_bytes, progress)
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


#: Index of the full prompt among the prompts to compute; units have indices from 0.
_PRESENT = -1


def _row(
    prompt: Prompt,
    units: Sequence[Unit],
    index: int,
    without: Callable[[Sequence[int], Unit, AbsenceContext], Row],
    context: AbsenceContext,
) -> Row:
    return Row(prompt.token_ids) if index == _PRESENT else without(prompt.token_ids, units[index], context)


@dataclass(frozen=True, slots=True)
class _Run:
    """What came out of the model and the measurements.

    Attributes:
        log_present: log P(. | x), ``[outcomes]``.
        hypotheses: Those of the full prompt, ``[1, beams, ...]``.
        measurements: For each unit, one per distance, in the order of the recipe.
        batch_size: Prompts a batch.
        seconds: Wall clock by stage.
    """

    log_present: FloatArray
    hypotheses: Hypotheses | None
    measurements: list[list[Measurement]]
    batch_size: int
    seconds: dict[str, float]
    model_tokens: int
    started: float


def _measure_units(
    backend: Backend,
    units: Sequence[Unit],
    outcomes: Callable[[Sequence[int]], Outcomes],
    geometry: Geometry,
    recipe: Recipe,
    row_bytes: int,
    progress: Progress | None,
) -> _Run:
    """Compute the outcome without each unit in batches; measure it in threads while the next batch runs."""
    started = time.perf_counter()
    tokens_before = backend.model_tokens
    distances = [method for method in recipe.methods if isinstance(method, Distance)]
    threads = recipe.num_threads or os.cpu_count() or 1
    budget = recipe.memory_budget if recipe.memory_budget is not None else backend.free_memory()
    plan = BatchPlan(recipe.batch_size, budget, row_bytes)
    log_present: FloatArray | None = None
    hypotheses: Hypotheses | None = None
    measurements: list[list[Measurement]] = []
    pending: deque[Future[tuple[list[Measurement], float]]] = deque()
    model_seconds = measure_seconds = 0.0

    def collect(most: int) -> None:
        """Wait until at most so many measurements are under way."""
        nonlocal measure_seconds
        while len(pending) > most:
            measured, seconds = pending.popleft().result()
            measurements.append(measured)
            measure_seconds += seconds
            if progress is not None:
                progress(1)

    pool = ThreadPoolExecutor(threads, thread_name_prefix="gilot-measure")
    try:
        mark = time.perf_counter()
        for result in in_batches(range(_PRESENT, len(units)), outcomes, plan):
            rows = list(_host(result.logprobs))
            model_seconds += time.perf_counter() - mark
            if log_present is None:
                log_present, *rows = rows
                hypotheses = result.hypotheses
            for log_absent in rows:
                pair = OutcomePair(
                    log_present, log_absent, geometry, recipe.solver, recipe.top_p, recipe.top_k
                )
                pending.append(pool.submit(_measure, pair, distances))
            # Distributions that wait for a thread take memory: two batches' worth at most.
            collect(2 * plan.size)
            mark = time.perf_counter()
        collect(0)
    finally:
        pool.shutdown(cancel_futures=True)
    assert log_present is not None  # the full prompt is always in the first batch
    seconds = {"model": model_seconds, "measure": measure_seconds}
    return _Run(
        log_present,
        hypotheses,
        measurements,
        plan.size,
        seconds,
        backend.model_tokens - tokens_before,
        started,
    )


def _host(logprobs: torch.Tensor) -> Iterator[FloatArray]:
    """Rows as float64 arrays that own their memory."""
    for row in logprobs.cpu():
        yield row.double().numpy()


def _measure(pair: OutcomePair, distances: Sequence[Distance]) -> tuple[list[Measurement], float]:
    started = time.perf_counter()
    measured = [distance.measure(pair) for distance in distances]
    return measured, time.perf_counter() - started


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
    run: _Run,
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
