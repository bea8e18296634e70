"""Outcomes in batches on the model's device, distances between them in threads beside it."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gilot_plugin.attribution.batching import BatchPlan, in_batches
from gilot_plugin.attribution.logprobs import IMPOSSIBLE
from gilot_plugin.attribution.methods import Distance, Measurement, mean_measurement
from gilot_plugin.attribution.pair import Ground, OutcomePair, solve_together
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.targets import Outcomes, Target
from gilot_plugin.attribution.types import Unit
from gilot_plugin.backends.protocol import Backend

FloatArray = NDArray[np.float64]

#: Called with the number of units that were measured since the last call.
Progress = Callable[[int], None]

#: Units whose transport problems a solver that takes many gets at once; their costs are in memory together.
_GROUP = 16


class HostOutcome(NamedTuple):
    """The outcome of one prompt, off the device.

    Attributes:
        logprobs: ``[steps, outcomes]``, float64.
        answer_logprob: Of the model's own answer, in nats; NaN if not asked for.
    """

    logprobs: FloatArray
    answer_logprob: float


class Measurer:
    """Measures what the absence of units does; may be asked several times about one prompt.

    Args:
        backend: The model.
        target: Computes outcomes.
        distances: What is measured.
        recipe: How.
        progress: Told of measured units.

    Raises:
        BudgetError: The memory budget is too small for one prompt.

    Attributes:
        present: The outcome of the full prompt, once something was measured.
        plan: Says how many prompts went through the model together.
        model_seconds: Spent in the model.
        measure_seconds: Spent on distances, summed over threads.
    """

    def __init__(
        self,
        backend: Backend,
        target: Target,
        distances: Sequence[Distance],
        recipe: Recipe,
        progress: Progress | None,
    ) -> None:
        budget = recipe.memory_budget if recipe.memory_budget is not None else backend.free_memory()
        self.plan = BatchPlan(recipe.batch_size, budget, target.row_bytes)
        self.present: HostOutcome | None = None
        self.model_seconds = self.measure_seconds = 0.0
        self._target, self._distances, self._progress = target, tuple(distances), progress
        self._ground = Ground(target.geometry, recipe.solver, recipe.top_p, recipe.top_k, target.gold)
        self._together = recipe.solver.batched and any(distance.transports for distance in distances)
        # A solver that takes many problems has its own parallelism, on a device.
        self._threads = 1 if self._together else recipe.num_threads or os.cpu_count() or 1

    def measure(self, units: Sequence[Unit]) -> list[list[Measurement]]:
        """Compute the outcome without each unit in batches; measure it in threads while the next batch runs.

        Args:
            units: What is taken away, one at a time.

        Returns:
            For each unit, one measurement a distance.
        """
        absent: list[Unit | None] = [*units] if self.present is not None else [None, *units]
        measured: list[list[Measurement]] = []
        pending: deque[Future[tuple[list[list[Measurement]], float]]] = deque()

        def collect(most: int) -> None:
            """Wait until at most so many groups are under way."""
            while len(pending) > most:
                group, seconds = pending.popleft().result()
                measured.extend(group)
                self.measure_seconds += seconds
                if self._progress is not None:
                    self._progress(len(group))

        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="gilot-measure")
        try:
            mark = time.perf_counter()
            for result in in_batches(absent, self._target.outcomes, self.plan):
                outcomes = list(_host(result))
                self.model_seconds += time.perf_counter() - mark
                if self.present is None:
                    self.present, *outcomes = outcomes
                size = _GROUP if self._together else 1
                for start in range(0, len(outcomes), size):
                    pending.append(pool.submit(self._measure, self.present, outcomes[start : start + size]))
                # Distributions that wait for a thread take memory: two batches' worth at most.
                collect(2 * self.plan.size // size)
                mark = time.perf_counter()
            collect(0)
        finally:
            pool.shutdown(cancel_futures=True)
        return measured

    def _measure(
        self, present: HostOutcome, absent: Sequence[HostOutcome]
    ) -> tuple[list[list[Measurement]], float]:
        """Measurements of a group of units, and the seconds they took."""
        started = time.perf_counter()
        groups = [self._pairs(present, outcome) for outcome in absent]
        if self._together:
            solve_together([pair for pairs in groups for pair in pairs])
        measured = [
            [mean_measurement([distance.measure(pair) for pair in pairs]) for distance in self._distances]
            for pairs in groups
        ]
        return measured, time.perf_counter() - started

    def _pairs(self, present: HostOutcome, absent: HostOutcome) -> list[OutcomePair]:
        """One pair of distributions a step."""
        drop = present.answer_logprob - absent.answer_logprob
        return [
            OutcomePair(before, after, self._ground, drop)
            for before, after in zip(present.logprobs, absent.logprobs, strict=True)
        ]


def _host(outcomes: Outcomes) -> Iterator[HostOutcome]:
    """Outcomes row by row, as float64 arrays that own their memory."""
    answers = [float("nan")] * len(outcomes.logprobs)
    if outcomes.answer_logprobs is not None:
        answers = outcomes.answer_logprobs.clamp(min=IMPOSSIBLE).tolist()
    for row, answer in zip(outcomes.logprobs.cpu(), answers, strict=True):
        yield HostOutcome(row.double().numpy(), answer)
