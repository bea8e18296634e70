"""After scoring: choose samples, share them out over the processes, explain them, keep the records."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch

from gilot_plugin.artifacts.records import RecordKey, record_key
from gilot_plugin.errors import GilotError
from gilot_plugin.harness.choosing.samples import Sample, samples_of_task
from gilot_plugin.harness.choosing.scopes import choose_samples
from gilot_plugin.harness.explaining.sharing import estimated_cost, share_out
from gilot_plugin.harness.explaining.spending import Clock, affordable
from gilot_plugin.harness.keeping.manifest import manifest_of
from gilot_plugin.harness.keeping.plugin import abandon_run, describe_run, drop_own_files
from gilot_plugin.harness.keeping.resumption import kept_record, resume_run
from gilot_plugin.harness.random_states import undisturbed
from gilot_plugin.harness.run import EvaluationRun, Feed, FeedKey, Rendering
from gilot_plugin.plugins import manager

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


@dataclass(frozen=True, slots=True)
class _Knowledge:
    """What a process learnt about prompts and answers while it scored its share of the documents."""

    feeds: Mapping[FeedKey, Feed]
    generated: Mapping[str, array[int]]
    renderings: Mapping[str, Rendering]
    parts: Mapping[tuple[str, str], Any]


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
            run.folder = None  # what it finished stays as it is
    plan = team.from_leader(plan)
    if plan is None:
        return False
    run.date = plan.date
    for known in team.from_all(_known(run, plan.samples)):
        run.feeds.update(known.feeds)
        run.generated.update(known.generated)
        run.renderings.update(known.renderings)
        run.parts.update(known.parts)
    clock = Clock(run.budget)
    costs = [estimated_cost(sample, run.tasks[sample.identity.task].config) for sample in plan.samples]
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
    run.selections = choose_samples(run, samples, results.get("group_subtasks") or {})
    missing = []
    for sample in run.chosen:
        record = kept_record(run, sample)
        if record is None:
            missing.append(replace(sample, rows=()))
        else:
            run.records.append(record)
    run.kept_count = len(run.records)
    describe_run(run)
    return _Plan(run.date, affordable(missing, run.budget, run.kept_count))


def _known(run: EvaluationRun, samples: Iterable[Sample]) -> _Knowledge:
    """What this process knows about the prompts of samples, and what it generated after them."""
    if run.team.size == 1:
        return _Knowledge({}, {}, {}, {})
    contexts = {str(arguments[0]) for sample in samples for arguments in sample.arguments}
    return _Knowledge(
        {key: feed for key, feed in run.feeds.items() if key[0] in contexts},
        {context: ids for context, ids in run.generated.items() if context in contexts},
        {
            text: rendering
            for text, rendering in run.renderings.items()
            if text in contexts or any(context.startswith(text) for context in contexts)
        },
        {key: parts for key, parts in run.parts.items() if key[1] in contexts},
    )


def _explain(run: EvaluationRun, samples: Sequence[Sample], clock: Clock) -> None:
    """Explain samples until the clock is over; those that have begun by then are finished.

    Whatever ends this early, the records that are there already are kept, also those that came out of order.
    """
    hook = manager().hook
    kept: set[RecordKey] = set()
    with run.progress.shown(len(samples)):
        try:
            for place, sample in enumerate(samples, start=1):
                if clock.is_over:
                    run.ahead.update(run.under_way)
                    break
                run.upcoming = samples[place:]
                _keep(run, hook.gilot_attribute_sample(run=run, sample=sample))
                kept.add(sample.identity.key)
        finally:
            # What was computed for a sample that another plugin explained is not its record.
            for key in (sample.identity.key for sample in samples):
                if (record := run.ahead.pop(key, None)) is not None and key not in kept:
                    _keep(run, record)


def _keep(run: EvaluationRun, record: Mapping[str, Any]) -> None:
    manager().hook.gilot_write_record(run=run, record=record)
    run.progress.sample_finished()


def _gather(run: EvaluationRun, records: Iterable[Mapping[str, Any]]) -> None:
    """Keep the records of all processes in the order of the chosen samples."""
    found = {record_key(record): record for record in records}
    run.records = [found[sample.identity.key] for sample in run.chosen if sample.identity.key in found]


def _note_left_out(run: EvaluationRun) -> None:
    """What was chosen and has no record is what the budget left no room for."""
    explained = {record_key(record) for record in run.records}
    for task, selection in run.selections.items():
        identities = [choice.sample.identity for choice in selection.choices]
        left_out = tuple(one.doc_id for one in identities if one.key not in explained)
        run.selections[task] = replace(selection, left_out=left_out)


def _finish(run: EvaluationRun, logged: Mapping[str, list[dict[str, Any]]]) -> None:
    """Give the samples their records and the run its manifest."""
    kept_by_leader = False
    try:
        if run.team.leads:
            records = {record_key(record): record for record in run.records}
            for sample in run.chosen:
                if record := records.get(sample.identity.key):
                    for row in sample.rows:
                        row["gilot"] = record
            manager().hook.gilot_run_finished(run=run, manifest=manifest_of(run, run.status))
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
        len(run.chosen),
        exc_info=not isinstance(error, (KeyboardInterrupt, GilotError)),
    )
