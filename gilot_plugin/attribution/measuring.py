"""Outcomes in batches on the model's device, distances between them in threads beside it."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gilot_plugin.attribution.batching import BatchPlan, Size, in_batches
from gilot_plugin.attribution.distance.geometry import COST_BYTES
from gilot_plugin.attribution.distance.pair import Ground, OutcomePair, solve_together
from gilot_plugin.attribution.distances import mean_measurement
from gilot_plugin.attribution.logprobs import IMPOSSIBLE
from gilot_plugin.attribution.methods import Distance, Measurement
from gilot_plugin.attribution.prediction.targets import Asked, Outcomes, Target
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.types import Absent
from gilot_plugin.backends.protocol import Backend

FloatArray = NDArray[np.float64]

#: Called with the number of units that were measured since the last call.
Progress = Callable[[int], None]

#: Units whose transport problems a solver that takes many gets at once; their costs are in memory together.
_GROUP = 16

#: Copies of a prompt's outcomes alive at once: two of float32 where they are made, and for each of two
#: batches that wait or are measured three of float64, the logarithms and the probabilities with and without.
_OUTCOME_COPIES = 2 + 2 * 3 * 2


class HostOutcome(NamedTuple):
    """The outcome of one prompt, off the device.

    Attributes:
        logprobs: ``[steps, outcomes]``, float64.
        answer_logprob: Of the model's own answer, in nats; NaN if not asked for.
    """

    logprobs: FloatArray
    answer_logprob: float


@dataclass(eq=False)
class Subject:
    """A prompt whose units are measured.

    Attributes:
        target: Computes its outcomes.
        distances: What is measured.
        recipe: How.
        progress: Told of measured units.
        present: The outcome of the full prompt, once something was measured.
        model_tokens: Tokens that the model read for it.
        model_seconds: Spent in the model.
        measure_seconds: Spent on distances, summed over threads.
        batch_size: Prompts of the largest batch that it was part of.
        out_of_memory: How often the device ran out of memory meanwhile.
        unread: Tokens of the prompt that are read once for all units, if that is yet to be done.
    """

    target: Target
    distances: tuple[Distance, ...]
    recipe: Recipe
    progress: Progress | None = None
    present: HostOutcome | None = None
    model_tokens: int = 0
    model_seconds: float = 0.0
    measure_seconds: float = 0.0
    batch_size: int = 0
    out_of_memory: int = 0
    unread: int = 0
    ground: Ground = field(init=False)

    def __post_init__(self) -> None:
        recipe, target = self.recipe, self.target
        self.ground = Ground(target.geometry, recipe.solver, recipe.top_p, recipe.top_k, target.gold)

    @property
    def transports(self) -> bool:
        """Whether transport problems are to be solved."""
        return any(distance.transports for distance in self.distances)


class _Item(NamedTuple):
    """One outcome to be found: of a subject, without some units."""

    subject: Subject
    absent: Absent


class _Job(NamedTuple):
    """Measurements of a subject that are under way."""

    subject: Subject
    result: Future[tuple[list[list[Measurement]], float]]


class _Beside(NamedTuple):
    """How distances are computed beside the model.

    Attributes:
        threads: Units that are measured at the same time.
        group: Units that a thread is given at once.
        size: Memory that this takes, in bytes.
    """

    threads: int
    group: int
    size: int


class Measurer:
    """Measures what the absence of units does to one prompt, or to several at once.

    Args:
        backend: The model.
        recipe: How memory and threads are used.

    Raises:
        BudgetError: The memory budget is too small.
    """

    def __init__(self, backend: Backend, recipe: Recipe) -> None:
        self._backend = backend
        self._plan = BatchPlan.beside(backend, recipe.batch_size, recipe.memory_budget)
        self._solver = recipe.solver
        self._threads = recipe.num_threads or os.cpu_count() or 1

    def measure(self, wanted: Sequence[tuple[Subject, Sequence[Absent]]]) -> list[list[list[Measurement]]]:
        """Compute outcomes without units in batches; measure them in threads while the next batch runs.

        Args:
            wanted: Prompts, and for each measurement of a prompt the units that are taken away.

        Returns:
            For each prompt, and whatever is taken away, one measurement a distance.
        """
        measured: dict[Subject, list[list[Measurement]]] = {subject: [] for subject, _ in wanted}
        pending: deque[_Job] = deque()

        def collect(most: int) -> None:
            """Wait until at most so many jobs are under way."""
            while len(pending) > most:
                subject, result = pending.popleft()
                group, seconds = result.result()
                measured[subject].extend(group)
                subject.measure_seconds += seconds
                if subject.progress is not None:
                    subject.progress(len(group))

        beside = self._beside([subject for subject, _ in wanted])
        pool = ThreadPoolExecutor(beside.threads, thread_name_prefix="gilot-measure")
        try:
            for subject, outcomes in self._outcomes(wanted, beside.size):
                if subject.present is None:
                    subject.present, *outcomes = outcomes
                size = beside.group if subject.transports else 1
                for start in range(0, len(outcomes), size):
                    group = outcomes[start : start + size]
                    pending.append(_Job(subject, pool.submit(_measure, subject, group)))
                # Distributions that wait for a thread take memory: two batches' worth at most.
                collect(2 * self._plan.largest // size)
            collect(0)
        finally:
            pool.shutdown(cancel_futures=True)
        return [measured[subject] for subject, _ in wanted]

    def _beside(self, subjects: Sequence[Subject]) -> _Beside:
        """Transport takes half of the budget at most, but solves one problem at a time at least."""
        transported = [subject for subject in subjects if subject.transports]
        if not transported:
            return _Beside(self._threads, 1, 0)
        outcomes = max(min(2 * one.recipe.top_k, one.target.outcome_count) for one in transported)
        problem = self._solver.peak_bytes(outcomes) + COST_BYTES * outcomes**2
        kept = max(one.target.geometry.kept_bytes(one.recipe.top_k) for one in transported)
        at_once = _GROUP if self._solver.batched else self._threads
        at_once = max(1, min(at_once, (self._plan.budget // 2 - kept) // problem))
        size = at_once * problem + kept
        # A solver that takes many problems has its own parallelism, on a device.
        return _Beside(1, at_once, size) if self._solver.batched else _Beside(at_once, 1, size)

    def _outcomes(
        self, wanted: Sequence[tuple[Subject, Sequence[Absent]]], reserved: int
    ) -> Iterator[tuple[Subject, list[HostOutcome]]]:
        """Outcomes of the subjects, some of one at a time; that of the full prompt is the first ever."""
        items = [
            _Item(subject, units)
            for subject, absent in wanted
            for units in ([(), *absent] if subject.present is None else absent)
        ]
        # What the model has read of the other prompts stays in memory, too.
        known = [self._backend.memory(subject.target.load(())).fixed for subject, _ in wanted]
        self._plan.reserve(reserved + sum(known) - max(known))
        for _, alike in groupby(items, key=_kind):
            some = list(alike)
            sizes = [self._size(item) for item in some]
            for _, found in in_batches(some, sizes, self._compute, self._plan):
                yield from found

    def _compute(self, batch: Sequence[_Item]) -> list[tuple[Subject, list[HostOutcome]]]:
        """Outcomes of a batch by subject."""
        started, tokens = time.perf_counter(), self._backend.model_tokens
        subjects = [
            (subject, list(items)) for subject, items in groupby(batch, key=lambda item: item.subject)
        ]
        asked = [Asked(subject.target, [item.absent for item in items]) for subject, items in subjects]
        outcomes = asked[0].target.compute(asked)
        found = [
            (subject, list(_host(result))) for (subject, _), result in zip(subjects, outcomes, strict=True)
        ]
        seconds, tokens = time.perf_counter() - started, self._backend.model_tokens - tokens
        # What a batch took is shared out by what was to be read.
        loads = [subject.unread + sum(map(_tokens, items)) for subject, items in subjects]
        for (subject, _), load in zip(subjects, loads, strict=True):
            subject.unread = 0
            subject.model_seconds += seconds * load / sum(loads)
            subject.model_tokens += round(tokens * load / sum(loads))
            subject.batch_size = max(subject.batch_size, len(batch))
            subject.out_of_memory = self._plan.out_of_memory
        return found

    def _size(self, item: _Item) -> Size:
        target = item.subject.target
        load = target.load(item.absent)
        most = max(1, self._backend.pass_tokens // max(1, load.together))
        return Size(self._backend.memory(load), _OUTCOME_COPIES * target.outcome_bytes, most)


def _kind(item: _Item) -> object:
    """Items of one kind go through the model together."""
    kind = item.subject.target.kind
    return id(item.subject) if kind is None else kind


def _tokens(item: _Item) -> int:
    load = item.subject.target.load(item.absent)
    return load.own + load.room


def _measure(subject: Subject, absent: Sequence[HostOutcome]) -> tuple[list[list[Measurement]], float]:
    """Measurements of some units, and the seconds they took."""
    started = time.perf_counter()
    groups = [_pairs(subject, outcome) for outcome in absent]
    if subject.transports and subject.recipe.solver.batched:
        solve_together([pair for pairs in groups for pair in pairs])
    measured = [
        [mean_measurement([distance.measure(pair) for pair in pairs]) for distance in subject.distances]
        for pairs in groups
    ]
    return measured, time.perf_counter() - started


def _pairs(subject: Subject, absent: HostOutcome) -> list[OutcomePair]:
    """One pair of distributions a step."""
    present = subject.present
    assert present is not None
    drop = present.answer_logprob - absent.answer_logprob
    return [
        OutcomePair(before, after, subject.ground, drop)
        for before, after in zip(present.logprobs, absent.logprobs, strict=True)
    ]


def _host(outcomes: Outcomes) -> Iterator[HostOutcome]:
    """Outcomes row by row, as float64 arrays that own their memory."""
    answers = [float("nan")] * len(outcomes.logprobs)
    if outcomes.answer_logprobs is not None:
        answers = outcomes.answer_logprobs.clamp(min=IMPOSSIBLE).tolist()
    for row, answer in zip(outcomes.logprobs.cpu(), answers, strict=True):
        yield HostOutcome(row.double().numpy(), answer)
