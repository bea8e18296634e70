"""After scoring: choose samples, share them out over the processes, explain them, keep the records."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby, takewhile
from typing import Any

import torch

from gilot_plugin.artifacts.records import RecordKey, record_key
from gilot_plugin.errors import GilotError
from gilot_plugin.extension.samples import Sample
from gilot_plugin.harness.asking.windows import windowed
from gilot_plugin.harness.choosing.samples import samples_of_task
from gilot_plugin.harness.choosing.scopes import choose_samples
from gilot_plugin.harness.explaining.handing import explained
from gilot_plugin.harness.explaining.sharing import estimated_cost, share_out
from gilot_plugin.harness.explaining.spending import Clock, affordable
from gilot_plugin.harness.keeping.manifest import manifest_of
from gilot_plugin.harness.keeping.plugin import abandon_run, describe_run, drop_own_files
from gilot_plugin.harness.keeping.resumption import kept_record, resume_run
from gilot_plugin.harness.random_states import undisturbed
from gilot_plugin.harness.state.run import EvaluationRun
from gilot_plugin.harness.state.seen import Seen
from gilot_plugin.plugins.manager import manager

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the first process tells the others.

    Attributes:
        date: In the names of the run's files.
        samples: Chosen samples that have no record yet, in order.
    """

    date: str
    samples: Sequence[Sample]


def explain_results(
    run: EvaluationRun, results: dict[str, Any] | None, prepare: Callable[[], None] = lambda: None
) -> bool:
    """Explain the chosen samples of all tasks and add each record to its samples under the key ``gilot``.

    Every process of an evaluation calls this. Neither Ctrl-C nor an error in here stops lm-eval: the scores
    are there already, and so is every record that was finished. Random states are left as they were.

    Args:
        run: The run, whose requests were recorded.
        results: What lm-eval's ``evaluate`` returned; its samples get the extra key. None in all processes
            but the first.
        prepare: What comes first; where it does not go well, this process explains nothing.

    Returns:
        Whether every chosen sample has its record, as far as this process knows.
    """
    try:
        with undisturbed():
            complete = _explain_together(run, results or {}, prepare)
        run.status = "complete" if complete else "interrupted"
    except (KeyboardInterrupt, Exception) as error:  # of the exchange: another process is gone
        _tell(run, error)
    try:
        _finish(run, (results or {}).get("samples") or {})
    except Exception:
        run.status = "interrupted"
        _LOGGER.exception("the run could not be finished; lm-eval goes on to write its results")
    with suppress(Exception):  # after some errors of a GPU, every call of it raises the same one again
        torch.cuda.empty_cache()
    return run.status == "complete"


def give_up(run: EvaluationRun) -> None:
    """Explain nothing, as the results never came; other processes that wait for the plan are told."""
    with suppress(Exception):  # of the exchange: the error that brought this about is the one to see
        run.team.from_leader(None)
        run.team.from_leader(False)
    abandon_run(run)


def _explain_together(run: EvaluationRun, results: Mapping[str, Any], prepare: Callable[[], None]) -> bool:
    """Explain the chosen samples in all processes.

    Whatever fails in one of them, it takes part in each exchange, so that no other waits for it.
    """
    team = run.team
    plan = None
    ready = False
    try:
        prepare()
        ready = True
        if team.leads:
            plan = _plan(run, results)
    except (KeyboardInterrupt, Exception) as error:
        _tell(run, error)
        if team.leads and run.resumed is not None:
            run.files.folder = None  # what it finished stays as it is
    plan = team.from_leader(plan)
    if plan is None:
        return False
    run.files.date = plan.date
    for seen in team.from_all(_seen_of(run, plan.samples)):
        run.seen.add(seen)
    clock = Clock(run.budget)
    tasks = [run.tasks[sample.identity.task] for sample in plan.samples]
    costs = [
        estimated_cost(sample, task.config, windowed(task, task.config))
        for sample, task in zip(plan.samples, tasks, strict=True)
    ]
    share = share_out(costs, team.size)[team.rank]
    complete = ready
    try:
        if ready:
            _explain(run, [plan.samples[place] for place in share], clock)
    except (KeyboardInterrupt, Exception) as error:
        complete = False
        _tell(run, error)
    answers = team.to_leader((run.records, complete))
    if team.leads:
        _gather(run, (record for records, _ in answers for record in records))
        complete = all(done for _, done in answers)
        if complete and run.budget is not None:
            _note_left_out(run)
    return complete


def _plan(run: EvaluationRun, results: Mapping[str, Any]) -> _Plan:
    """Choose the samples, and keep what a resumed run has explained."""
    resume_run(run)
    samples = {
        task: samples_of_task(task, run.tasks[task].output_type, rows)
        for task, rows in (results.get("samples") or {}).items()
    }
    run.chosen = choose_samples(run, samples, results.get("group_subtasks") or {})
    missing = []
    for sample in run.samples:
        record = kept_record(run, sample)
        if record is None:
            missing.append(replace(sample, rows=()))
        else:
            run.records.append(record)
    if run.resumed is not None:
        run.resumed.kept = len(run.records)
    describe_run(run)
    return _Plan(run.files.date, affordable(missing, run.budget, run.kept_count))


def _seen_of(run: EvaluationRun, samples: Iterable[Sample]) -> Seen:
    """What this process saw of samples, for the others."""
    if run.team.size == 1:
        return Seen()
    return run.seen.about({str(arguments[0]) for sample in samples for arguments in sample.arguments})


def _explain(run: EvaluationRun, samples: Sequence[Sample], clock: Clock) -> None:
    """Explain samples until the clock is over; those that have begun by then are finished.

    Records are kept in the order of the samples. Whatever ends this early, those that are there already are
    kept, also where they came out of order.
    """
    waiting: dict[RecordKey, Mapping[str, Any]] = {}
    due = deque(sample.identity.key for sample in samples)
    with run.progress.shown(len(samples)):
        try:
            for _, own in groupby(samples, key=lambda sample: sample.identity.task):
                for sample, record in explained(run, takewhile(lambda _: not clock.is_over, own)):
                    waiting[sample.identity.key] = record
                    while due and due[0] in waiting:
                        _keep(run, waiting.pop(due.popleft()))
        finally:
            for key in due:
                if key in waiting:
                    _keep(run, waiting.pop(key))


def _keep(run: EvaluationRun, record: Mapping[str, Any]) -> None:
    manager().hook.gilot_write_record(run=run.view, record=record)
    run.progress.sample_finished()


def _gather(run: EvaluationRun, records: Iterable[Mapping[str, Any]]) -> None:
    """Keep the records of all processes in the order of the chosen samples."""
    found = {record_key(record): record for record in records}
    run.records = [found[sample.identity.key] for sample in run.samples if sample.identity.key in found]


def _note_left_out(run: EvaluationRun) -> None:
    """What was chosen and has no record is what the budget left no room for."""
    explained = {record_key(record) for record in run.records}
    for task, chosen in run.chosen.items():
        identities = [one.sample.identity for one in chosen.samples]
        left_out = tuple(one.doc_id for one in identities if one.key not in explained)
        run.chosen[task] = replace(chosen, left_out=left_out)


def _finish(run: EvaluationRun, logged: Mapping[str, list[dict[str, Any]]]) -> None:
    """Give the samples their records and the run its manifest."""
    kept_by_leader = False
    try:
        if run.team.leads:
            records = {record_key(record): record for record in run.records}
            for sample in run.samples:
                if record := records.get(sample.identity.key):
                    for row in sample.rows:
                        row["gilot"] = record
            manager().hook.gilot_run_finished(run=run.view, manifest=manifest_of(run, run.status))
            kept_by_leader = True
    finally:
        kept_by_leader = run.team.from_leader(kept_by_leader)
    if kept_by_leader and not run.team.leads:
        drop_own_files(run)


def _tell(run: EvaluationRun, error: BaseException) -> None:
    run.status = "interrupted"
    cause = "interrupted" if isinstance(error, KeyboardInterrupt) else f"stopped by {error!r}"
    process = f" in process {run.team.rank} of {run.team.size}" if run.team.size > 1 else ""
    _LOGGER.error(
        "%s%s: %d of %d chosen samples are explained; lm-eval goes on to write its results",
        cause,
        process,
        len(run.records),
        len(run.samples),
        exc_info=not isinstance(error, (KeyboardInterrupt, GilotError)),
    )
