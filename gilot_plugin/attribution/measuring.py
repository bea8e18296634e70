"""Outcomes in batches on the model's device, distances between them in threads beside it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gilot_plugin.attribution.distance.geometry import COST_BYTES
from gilot_plugin.attribution.distance.solved import SolvedProblem
from gilot_plugin.attribution.distance.support import Support, supports
from gilot_plugin.attribution.distances import mean_measurement
from gilot_plugin.attribution.execution import Execution
from gilot_plugin.attribution.host import free_bytes
from gilot_plugin.attribution.methods import (
    AnswerDrop,
    Distance,
    Measurement,
    OddsDrop,
    OutcomeMethod,
    SignedDistance,
    TransportDistance,
)
from gilot_plugin.attribution.prediction.targets import AnswerChange, Target
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.transport import Solver, TransportProblem
from gilot_plugin.attribution.types import Absent
from gilot_plugin.backends.scorer import Outcomes, Query, Reference, Scored, Scorer
from gilot_plugin.backends.scoring.batching import BatchPlan, Size, in_batches
from gilot_plugin.backends.scoring.sessions import Need
from gilot_plugin.backends.wanted import Nucleus, Want

FloatArray = NDArray[np.float64]

#: Called with the number of units that were measured since the last call.
Progress = Callable[[int], None]

#: Transport problems that a solver which takes many gets at once; their costs are in memory together.
_GROUP = 256

#: Memory on the host of the costs of a problem that is solved there, in bytes for each pair of outcomes.
_HOST_COST_BYTES = 8


@dataclass(eq=False)
class Subject:
    """A prompt whose units are measured.

    Attributes:
        target: Computes its outcomes.
        distances: What is measured.
        recipe: How.
        progress: Told of measured units.
        known: What the model says to the full prompt, once something was measured.
        reference: What outcomes are compared with, from then on.
        model_tokens: Tokens that the model read for it.
        model_seconds: Spent in the model.
        measure_seconds: Spent on transport, summed over threads.
        batch_size: Prompts of the largest batch that it was part of.
        out_of_memory: How often the device ran out of memory meanwhile.
        told: Units that ``progress`` was told of and that are measured again, since an error ended the call.
    """

    target: Target
    distances: tuple[OutcomeMethod, ...]
    recipe: Recipe
    progress: Progress | None = None
    known: Reference | None = None
    reference: Reference | None = None
    model_tokens: int = 0
    model_seconds: float = 0.0
    measure_seconds: float = 0.0
    batch_size: int = 0
    out_of_memory: int = 0
    told: int = 0

    @cached_property
    def want(self) -> Want:
        """What is wanted of the outcomes."""
        transports = any(distance.transports for distance in self.distances)
        return Want(
            Nucleus(self.recipe.top_p, self.recipe.top_k) if transports else None,
            tuple(distance for distance in self.unsigned if isinstance(distance, Distance)),
            any(distance.needs_odds for distance in self.distances),
        )

    def query(self, absent: Sequence[Absent]) -> Query:
        """What is asked of the model."""
        return self.target.query(absent, self.want, self.known)

    def learn(self, known: Reference) -> None:
        """What the model says to the full prompt."""
        if known is not self.known:
            self.known, self.reference = known, self.target.reference(known, self.want)

    def compared(self, outcomes: Callable[[], Outcomes]) -> _Compared:
        """Outcomes of rows as the target has them, when they have arrived."""
        found = outcomes()
        assert self.known is not None  # read before, or along with them
        assert self.reference is not None
        of_target = self.target.outcomes(found, self.reference, self.want)
        change: AnswerChange | None = None
        if any(distance.needs_answer for distance in self.distances):
            positions = next((part.shape[1] for part in of_target.reductions.values()), None)
            if positions is None:
                positions = 1 if of_target.added is None else of_target.added.sizes.shape[1]
            change = self.target.answer_change(found, self.known, positions)
        return _Compared(of_target, change)

    def spend(self, scored: Scored) -> None:
        """Some of its rows were read."""
        self.learn(scored.reference)
        self.model_seconds += scored.seconds
        self.model_tokens += scored.model_tokens
        self.batch_size = max(self.batch_size, scored.batch_size)

    @property
    def unsigned(self) -> tuple[Distance | TransportDistance, ...]:
        """Distances to be computed, each once, whether asked for by itself or with a sign."""
        every = (one.distance if isinstance(one, SignedDistance) else one for one in self.distances)
        return tuple(dict.fromkeys(one for one in every if isinstance(one, (Distance, TransportDistance))))

    def tell(self, units: int) -> None:
        """Units were measured; those that were told of before are not told of again."""
        known = min(self.told, units)
        self.told -= known
        if self.progress is not None and units > known:
            self.progress(units - known)


class _Compared(NamedTuple):
    """What is known of some rows.

    Attributes:
        outcomes: Compared with the full prompt's.
        answer: How much less likely the answer is; None if that is of no interest.
    """

    outcomes: Outcomes
    answer: AnswerChange | None


class _Job(NamedTuple):
    """Measurements of a subject that are under way."""

    subject: Subject
    result: Future[tuple[list[list[Measurement]], float]]


class _Beside(NamedTuple):
    """How transport is computed beside the model.

    Attributes:
        threads: Units that are measured at the same time.
        plan: How many problems a thread gives to the solver at once.
        size: Memory that this takes, in bytes.
    """

    threads: int
    plan: BatchPlan
    size: int


class Measurer:
    """Measures what the absence of units does to one prompt, or to several at once.

    Distributions are compared where they are, on the model's device; transport problems are solved beside the
    model, in threads and on a stream of the device of its own.

    Args:
        backend: The model.
        solver: Solves the transport problems.
        execution: How memory and threads are used.

    Raises:
        BudgetError: The memory budget is too small.
    """

    def __init__(self, backend: Scorer, solver: Solver, execution: Execution) -> None:
        self._backend, self._solver, self._execution = backend, solver, execution
        self._device = backend.embeddings.device
        budget = execution.memory_budget
        self._budget = backend.free_memory() if budget is None else budget
        self._threads = execution.threads
        on_cuda = self._device.type == "cuda"
        self._stream = torch.cuda.Stream(self._device) if on_cuda else None  # type: ignore[no-untyped-call]  # torch has no types here

    def measure(self, wanted: Sequence[tuple[Subject, Sequence[Absent]]]) -> list[list[list[Measurement]]]:
        """Compute outcomes without units in batches; solve transport problems while the next batch runs.

        Args:
            wanted: Prompts, and for each measurement of a prompt the units that are taken away.

        Returns:
            For each prompt, and whatever is taken away, one measurement a distance.
        """
        subjects = [subject for subject, _ in wanted]
        measured: dict[Subject, list[list[Measurement]]] = {subject: [] for subject in subjects}
        pending: deque[_Job] = deque()
        beside, ran_out = self._beside(subjects), 0

        def collect(most: int) -> None:
            """Wait until at most so many jobs are under way."""
            while len(pending) > most:
                subject, result = pending.popleft()
                group, seconds = result.result()
                measured[subject].extend(group)
                subject.measure_seconds += seconds
                subject.tell(len(group))

        queries = [subject.query(absent) for subject, absent in wanted]
        pool = ThreadPoolExecutor(beside.threads, thread_name_prefix="gilot-measure")
        try:
            for scored in self._backend.score(queries, self._execution.room(beside.size)):
                subject, count = subjects[scored.query], len(scored.rows)
                subject.spend(scored)
                ran_out = scored.out_of_memory
                found = _once(partial(subject.compared, scored.outcomes))
                # A thread for each unit; a solver that takes many problems has its own parallelism.
                size = count if self._solver.batched else 1
                for start in range(0, count, size):
                    rows = range(start, min(start + size, count))
                    result = pool.submit(self._measure, subject, found, rows, beside.plan)
                    pending.append(_Job(subject, result))
                # What waits for a thread takes memory: two batches' worth at most.
                collect(2 if self._solver.batched else 2 * scored.batch_size)
            collect(0)
        except BaseException:
            for subject, group in measured.items():
                subject.told += len(group)
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        for subject in subjects:
            subject.out_of_memory += ran_out + beside.plan.out_of_memory
        return [measured[subject] for subject in subjects]

    def _beside(self, subjects: Sequence[Subject]) -> _Beside:
        """Transport takes half of the budget at most, but solves one problem at a time at least."""
        transported = [subject for subject in subjects if subject.want.nucleus is not None]
        if not transported:
            return _Beside(1, BatchPlan(1, self._budget), 0)
        outcomes = max(min(2 * one.recipe.top_k, one.target.outcome_count) for one in transported)
        problem = self._solver.peak_bytes(outcomes) + COST_BYTES * outcomes**2
        kept = max(one.target.geometry.kept_bytes(one.recipe.top_k) for one in transported)
        at_once = _GROUP if self._solver.batched else self._threads
        if self._device.type != "cpu":
            # What the host has to hold is no burden of the device, but the host has an end, too.
            on_host = self._solver.host_bytes(outcomes)
            problem -= on_host
            at_once = min(at_once, free_bytes() // (on_host + _HOST_COST_BYTES * outcomes**2))
        at_once = max(1, min(at_once, (self._budget // 2 - kept) // problem))
        size = at_once * problem + kept
        if self._solver.batched:
            return _Beside(1, BatchPlan(at_once, self._budget), size)
        return _Beside(at_once, BatchPlan(1, self._budget), size)

    def _measure(
        self, subject: Subject, compared: Callable[[], _Compared], rows: range, plan: BatchPlan
    ) -> tuple[list[list[Measurement]], float]:
        """Measurements of some units, and the seconds they took."""
        started, found = time.perf_counter(), compared()
        with self._beside_the_model():
            transported = _transported(subject, found.outcomes, rows, plan)
        unsigned: dict[OutcomeMethod, list[Measurement]] = {
            distance: _of_positions(found.outcomes.reductions[distance.name][rows])
            for distance in subject.unsigned
            if isinstance(distance, Distance)
        }
        unsigned |= transported
        columns = [_of_units(method, unsigned, found.answer, rows) for method in subject.distances]
        measured = [list(unit) for unit in zip(*columns, strict=True)] if columns else [[] for _ in rows]
        return measured, time.perf_counter() - started

    def _beside_the_model(self) -> AbstractContextManager[object]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)


def _of_units(
    method: OutcomeMethod,
    unsigned: Mapping[OutcomeMethod, list[Measurement]],
    change: AnswerChange | None,
    rows: range,
) -> list[Measurement]:
    """What a method says of some units, whose distances are known."""
    if not method.needs_answer:
        return unsigned[method]
    assert change is not None
    if isinstance(method, AnswerDrop):
        return _of_positions(change.logprobs[rows], summed=True)
    # Asked for with the outcomes.
    assert change.logodds is not None
    assert change.directions is not None
    if isinstance(method, OddsDrop):
        return _of_positions(change.logodds[rows])
    assert isinstance(method, SignedDistance)
    return list(map(_directed, unsigned[method.distance], change.directions[rows]))


def _of_positions(numbers: FloatArray, *, summed: bool = False) -> list[Measurement]:
    """Measurements from their numbers at each position, ``[rows, positions]``."""
    scores = numbers.sum(axis=1) if summed else numbers.sum(axis=1) / max(1, numbers.shape[1])
    return [
        Measurement(score, positions=tuple(row))
        for score, row in zip(scores.tolist(), numbers.tolist(), strict=True)
    ]


def _directed(measured: Measurement, direction: FloatArray) -> Measurement:
    positions = direction * np.array(measured.positions)
    return measured._replace(score=float(positions.mean()), positions=tuple(positions.tolist()))


def _transported(
    subject: Subject, outcomes: Outcomes, rows: range, plan: BatchPlan
) -> dict[OutcomeMethod, list[Measurement]]:
    """For some units, the measurements of all distances that transport."""
    distances = [distance for distance in subject.unsigned if isinstance(distance, TransportDistance)]
    if not distances:
        return {}
    target, solver = subject.target, subject.recipe.solver
    assert subject.reference is not None  # known since the first batch
    problems_of = [list(supports(subject.reference, outcomes, row)) for row in rows]
    every = [support for of_row in problems_of for support in of_row]

    def measure(some: Sequence[Support]) -> list[list[Measurement]]:
        costs = target.geometry.costs(
            [support.outcomes for support in some], [support.shared for support in some]
        )
        problems = [
            TransportProblem(support.source, support.target, of_support)
            for support, of_support in zip(some, costs, strict=True)
        ]
        return [
            [
                distance.measure(SolvedProblem(support, result, target.geometry.largest_cost))
                for distance in distances
            ]
            for support, result in zip(some, solver(problems), strict=True)
        ]

    size = Size(Need(0, 0), 0, 1)
    batches = in_batches(every, [size] * len(every), measure, plan)
    found = iter([measured for _, group in batches for measured in group])
    of_rows = [[next(found) for _ in of_row] for of_row in problems_of]
    return {
        distance: [mean_measurement([position[column] for position in of_row]) for of_row in of_rows]
        for column, distance in enumerate(distances)
    }


def _once(find: Callable[[], _Compared]) -> Callable[[], _Compared]:
    """The same, which is asked once by whichever thread comes first."""
    lock, found = Lock(), list[_Compared]()

    def ask() -> _Compared:
        with lock:
            if not found:
                found.append(find())
        return found[0]

    return ask
