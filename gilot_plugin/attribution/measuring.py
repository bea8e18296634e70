"""Outcomes in batches on the model's device, distances between them in threads beside it."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gilot_plugin.attribution.batching import BatchPlan, Execution, Size, in_batches
from gilot_plugin.attribution.distance.geometry import COST_BYTES
from gilot_plugin.attribution.distance.solved import SolvedProblem
from gilot_plugin.attribution.distance.support import Support
from gilot_plugin.attribution.distances import mean_measurement
from gilot_plugin.attribution.host import free_bytes, usable_cores
from gilot_plugin.attribution.methods import (
    AnswerDrop,
    Distance,
    Measurement,
    OddsDrop,
    OutcomeMethod,
    SignedDistance,
    TransportDistance,
)
from gilot_plugin.attribution.prediction.targets import Asked, Outcomes, Target
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.reducing import (
    Nucleus,
    Reduced,
    Reduction,
    Reference,
    reduce,
    reduced_bytes,
    to_host,
)
from gilot_plugin.attribution.transport import Solver, TransportProblem
from gilot_plugin.attribution.types import Absent
from gilot_plugin.backends.protocol import Backend, Need

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
        reference: The outcomes of the full prompt, once something was measured.
        model_tokens: Tokens that the model read for it.
        model_seconds: Spent in the model.
        measure_seconds: Spent on transport, summed over threads.
        batch_size: Prompts of the largest batch that it was part of.
        out_of_memory: How often the device ran out of memory meanwhile.
        unread: Tokens of the prompt that are read once for all units, if that is yet to be done.
        told: Units that ``progress`` was told of and that are measured again, since an error ended the call.
    """

    target: Target
    distances: tuple[OutcomeMethod, ...]
    recipe: Recipe
    progress: Progress | None = None
    reference: Reference | None = None
    model_tokens: int = 0
    model_seconds: float = 0.0
    measure_seconds: float = 0.0
    batch_size: int = 0
    out_of_memory: int = 0
    unread: int = 0
    told: int = 0

    @property
    def nucleus(self) -> Nucleus | None:
        """What takes part in transport; None if no transport problems are to be solved."""
        if any(distance.transports for distance in self.distances):
            return Nucleus(self.recipe.top_p, self.recipe.top_k)
        return None

    @property
    def needs_odds(self) -> bool:
        """Whether it is of interest how likely the answer is against everything else."""
        return any(distance.needs_odds for distance in self.distances)

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


class _Item(NamedTuple):
    """One outcome to be found: of a subject, without some units."""

    subject: Subject
    absent: Absent


class _Computed(NamedTuple):
    """Outcomes of a subject that were computed together.

    Attributes:
        subject: The subject.
        units: How many there are, without the full prompt's.
        reduced: Waits for what is left of them.
    """

    subject: Subject
    units: int
    reduced: Callable[[], Reduced]


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

    def __init__(self, backend: Backend, solver: Solver, execution: Execution) -> None:
        self._backend, self._solver = backend, solver
        self._plan = BatchPlan.beside(backend, execution)
        self._threads = execution.num_threads or usable_cores()
        on_cuda = backend.device.type == "cuda"
        self._stream = torch.cuda.Stream(backend.device) if on_cuda else None  # type: ignore[no-untyped-call]  # torch has no types here

    def measure(self, wanted: Sequence[tuple[Subject, Sequence[Absent]]]) -> list[list[list[Measurement]]]:
        """Compute outcomes without units in batches; solve transport problems while the next batch runs.

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
                subject.out_of_memory = self._plan.out_of_memory + beside.plan.out_of_memory
                subject.tell(len(group))

        beside = self._beside([subject for subject, _ in wanted])
        pool = ThreadPoolExecutor(beside.threads, thread_name_prefix="gilot-measure")
        try:
            for some in self._outcomes(wanted, beside.size):
                # A thread for each unit; a solver that takes many problems has its own parallelism.
                size = some.units if self._solver.batched else 1
                for start in range(0, some.units, size):
                    rows = range(start, min(start + size, some.units))
                    result = pool.submit(self._measure, some, rows, beside.plan)
                    pending.append(_Job(some.subject, result))
                # What waits for a thread takes memory: two batches' worth at most.
                collect(2 if self._solver.batched else 2 * self._plan.largest)
            collect(0)
        except BaseException:
            for subject, found in measured.items():
                subject.told += len(found)
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        return [measured[subject] for subject, _ in wanted]

    def _beside(self, subjects: Sequence[Subject]) -> _Beside:
        """Transport takes half of the budget at most, but solves one problem at a time at least."""
        transported = [subject for subject in subjects if subject.nucleus is not None]
        if not transported:
            return _Beside(1, BatchPlan(1, self._plan.budget), 0)
        outcomes = max(min(2 * one.recipe.top_k, one.target.outcome_count) for one in transported)
        problem = self._solver.peak_bytes(outcomes) + COST_BYTES * outcomes**2
        kept = max(one.target.geometry.kept_bytes(one.recipe.top_k) for one in transported)
        at_once = _GROUP if self._solver.batched else self._threads
        if self._backend.device.type != "cpu":
            # What the host has to hold is no burden of the device, but the host has an end, too.
            on_host = self._solver.host_bytes(outcomes)
            problem -= on_host
            at_once = min(at_once, free_bytes() // (on_host + _HOST_COST_BYTES * outcomes**2))
        at_once = max(1, min(at_once, (self._plan.budget // 2 - kept) // problem))
        size = at_once * problem + kept
        if self._solver.batched:
            return _Beside(1, BatchPlan(at_once, self._plan.budget), size)
        return _Beside(at_once, BatchPlan(1, self._plan.budget), size)

    def _outcomes(
        self, wanted: Sequence[tuple[Subject, Sequence[Absent]]], reserved: int
    ) -> Iterator[_Computed]:
        """What is left of the outcomes of the subjects, some of one at a time."""
        items = [
            _Item(subject, units)
            for subject, absent in wanted
            for units in ([(), *absent] if subject.reference is None else absent)
        ]
        # What the model has read of the other prompts stays in memory, too.
        known = [self._backend.memory(subject.target.load(())).fixed for subject, _ in wanted]
        self._plan.reserve(reserved + sum(known) - max(known))
        for _, alike in groupby(items, key=_kind):
            some = list(alike)
            sizes = [self._size(item) for item in some]
            for _, found in in_batches(some, sizes, self._compute, self._plan):
                yield from found

    def _compute(self, batch: Sequence[_Item]) -> list[_Computed]:
        """What is left of the outcomes of a batch, by subject."""
        started, tokens = time.perf_counter(), self._backend.model_tokens
        subjects = [
            (subject, list(items)) for subject, items in groupby(batch, key=lambda item: item.subject)
        ]
        asked = [
            Asked(subject.target, [item.absent for item in items], subject.needs_odds)
            for subject, items in subjects
        ]
        outcomes = asked[0].target.compute(asked)
        references = [
            subject.reference or Reference.of(of_subject, subject.nucleus)
            for (subject, _), of_subject in zip(subjects, outcomes, strict=True)
        ]
        reductions = [
            _reduced(subject, of_subject, reference)
            for (subject, _), of_subject, reference in zip(subjects, outcomes, references, strict=True)
        ]
        arriving = to_host(reductions)
        for (subject, _), reference in zip(subjects, references, strict=True):
            subject.reference = reference
        seconds, tokens = time.perf_counter() - started, self._backend.model_tokens - tokens
        # What a batch took is shared out by what was to be read.
        loads = [subject.unread + sum(map(_tokens, items)) for subject, items in subjects]
        for (subject, _), load in zip(subjects, loads, strict=True):
            subject.unread = 0
            subject.model_seconds += seconds * load / sum(loads)
            subject.model_tokens += round(tokens * load / sum(loads))
            subject.batch_size = max(subject.batch_size, len(batch))
            subject.out_of_memory = self._plan.out_of_memory
        return [
            _Computed(subject, len(reduction.answer_drops), reduced)
            for (subject, _), reduction, reduced in zip(subjects, reductions, arriving, strict=True)
        ]

    def _size(self, item: _Item) -> Size:
        subject, target = item.subject, item.subject.target
        load = target.load(item.absent)
        most = max(1, self._backend.pass_tokens // max(1, load.together))
        return Size(
            self._backend.memory(load),
            reduced_bytes(target.outcome_count, target.outcome_bytes, subject.nucleus, self._backend.device),
            most,
        )

    def _measure(
        self, some: _Computed, rows: range, plan: BatchPlan
    ) -> tuple[list[list[Measurement]], float]:
        """Measurements of some units, and the seconds they took."""
        started, subject = time.perf_counter(), some.subject
        reduced = some.reduced()
        with self._beside_the_model():
            transported = _transported(subject, reduced, rows, plan)
        unsigned = {
            distance: _measurements(distance, column, reduced, rows, transported)
            for column, distance in _columns(subject.unsigned)
        }
        columns = [_of_units(method, unsigned, reduced, rows) for method in subject.distances]
        measured = [list(unit) for unit in zip(*columns, strict=True)] if columns else [[] for _ in rows]
        return measured, time.perf_counter() - started

    def _beside_the_model(self) -> AbstractContextManager[object]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)


def _kind(item: _Item) -> object:
    """Items of one kind go through the model together."""
    kind = item.subject.target.kind
    return id(item.subject) if kind is None else kind


def _tokens(item: _Item) -> int:
    load = item.subject.target.load(item.absent)
    return load.own + load.room


def _reduced(subject: Subject, outcomes: Outcomes, reference: Reference) -> Reduction:
    """Compare with the full prompt's outcomes, which are the first ones if they were not known before."""
    if subject.reference is None:
        outcomes = outcomes.after(1)
    distances = [distance for distance in subject.unsigned if isinstance(distance, Distance)]
    return reduce(outcomes, reference, distances, subject.nucleus)


#: For each step, one measurement of each distance that transports.
_OfSteps = Sequence[Sequence[Measurement]]


#: What has no sign.
_Unsigned = Distance | TransportDistance


def _columns(distances: Sequence[_Unsigned]) -> Iterator[tuple[int, _Unsigned]]:
    """Each distance with its place among those of its kind."""
    places: Counter[bool] = Counter()
    for distance in distances:
        kind = isinstance(distance, TransportDistance)
        yield places[kind], distance
        places[kind] += 1


def _measurements(
    distance: _Unsigned, column: int, reduced: Reduced, rows: range, transported: Sequence[_OfSteps]
) -> list[Measurement]:
    """What a distance says of some units."""
    if isinstance(distance, TransportDistance):
        return [mean_measurement([step[column] for step in steps]) for steps in transported]
    return _of_positions(reduced.numbers[column, rows])


def _of_units(
    method: OutcomeMethod, unsigned: Mapping[_Unsigned, list[Measurement]], reduced: Reduced, rows: range
) -> list[Measurement]:
    """What a method says of some units, whose distances are known."""
    if isinstance(method, AnswerDrop):
        return _of_positions(reduced.answer_drops[rows], summed=True)
    if isinstance(method, OddsDrop):
        return _of_positions(reduced.odds_drops[rows])
    if isinstance(method, SignedDistance):
        return [
            _directed(measured, direction)
            for measured, direction in zip(unsigned[method.distance], reduced.directions[rows], strict=True)
        ]
    assert isinstance(method, (Distance, TransportDistance))  # nothing else is measured
    return unsigned[method]


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


def _transported(subject: Subject, reduced: Reduced, rows: range, plan: BatchPlan) -> list[_OfSteps]:
    """For some units, the measurements of all distances that transport, step by step."""
    distances = [distance for distance in subject.unsigned if isinstance(distance, TransportDistance)]
    if not distances:
        return []
    reference, target, solver = subject.reference, subject.target, subject.recipe.solver
    assert reference is not None  # known since the first batch
    supports = [support for row in rows for support in reduced.supports(reference, row)]

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
    found = [
        measured
        for _, group in in_batches(supports, [size] * len(supports), measure, plan)
        for measured in group
    ]
    steps = len(reference.logprobs)
    return [found[start : start + steps] for start in range(0, len(found), steps)]
