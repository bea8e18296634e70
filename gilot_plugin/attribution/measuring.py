"""Outcomes in batches on the model's device, and distances between them in threads beside it."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from gilot_plugin.attribution.batching import BatchPlan, in_batches
from gilot_plugin.attribution.geometry import Geometry
from gilot_plugin.attribution.hypotheses import Hypotheses
from gilot_plugin.attribution.methods import Distance, FloatArray, Measurement, OutcomePair
from gilot_plugin.attribution.outcomes import Outcomes
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.types import Unit
from gilot_plugin.backends.protocol import Backend

#: Called with the number of units that were measured since the last call.
Progress = Callable[[int], None]

#: Index of the full prompt among the prompts to compute; units have indices from 0.
PRESENT = -1


@dataclass(frozen=True, slots=True)
class MeasuredUnits:
    """What came out of the model and the measurements.

    Attributes:
        log_present: log P(. | x), ``[outcomes]``.
        hypotheses: Those of the full prompt, ``[1, beams, ...]``.
        measurements: For each unit, one per distance, in the order of the recipe.
        batch_size: Prompts a batch.
        seconds: Wall clock by stage.
        model_tokens: Token positions that went through the model.
        started: ``time.perf_counter()`` at the beginning.
    """

    log_present: FloatArray
    hypotheses: Hypotheses | None
    measurements: list[list[Measurement]]
    batch_size: int
    seconds: dict[str, float]
    model_tokens: int
    started: float


def measure_units(
    backend: Backend,
    units: Sequence[Unit],
    outcomes: Callable[[Sequence[int]], Outcomes],
    geometry: Geometry,
    recipe: Recipe,
    row_bytes: int,
    progress: Progress | None,
) -> MeasuredUnits:
    """Compute the outcome without each unit in batches; measure it in threads while the next batch runs.

    Args:
        backend: The model.
        units: What is taken away.
        outcomes: Computes the outcomes of a batch, given indices of units or :data:`PRESENT`.
        geometry: Ground costs between outcomes.
        recipe: How.
        row_bytes: Memory of one prompt in a batch.
        progress: Told of measured units.

    Returns:
        What came out.

    Raises:
        BudgetError: The memory budget is too small for one prompt.
    """
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
        for result in in_batches(range(PRESENT, len(units)), outcomes, plan):
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
    return MeasuredUnits(
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
