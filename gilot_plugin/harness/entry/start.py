"""Everything that can be known and refused before an evaluation starts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gilot_plugin.artifacts.names import run_date
from gilot_plugin.artifacts.writer import check_writable
from gilot_plugin.errors import ConfigError, UnsupportedModelError
from gilot_plugin.harness.asking.filters import ensembles_of
from gilot_plugin.harness.entry.loading import scorer_of
from gilot_plugin.harness.keeping.locking import locked
from gilot_plugin.harness.keeping.manifest import describe_model
from gilot_plugin.harness.keeping.resumption import find_resumed, refuse_another_run
from gilot_plugin.harness.state.progress import RunProgress
from gilot_plugin.harness.state.run import EvaluationRun, Resumed, RunFiles, TaskInfo
from gilot_plugin.harness.state.team import team_of
from gilot_plugin.harness.watching.apart import TaskApart
from gilot_plugin.resolve import make_recipe
from gilot_plugin.settings.sources import task_config

_LOGGER = logging.getLogger(__name__)


class PastRun(NamedTuple):
    """An evaluation that ran before.

    Attributes:
        model: Name of its model.
        date: In the names of its files.
    """

    model: str
    date: str


def start_run(
    lm: Any,
    tasks_apart: Mapping[str, TaskApart],
    given: Mapping[str, Any],
    folder: Path | None,
    tracker: Any,
    past: PastRun | None = None,
) -> EvaluationRun:
    """Prepare a run.

    Args:
        lm: The model object that lm-eval evaluates, possibly wrapped in its cache.
        tasks_apart: The tasks by name.
        given: Settings given for the run.
        folder: Where artifacts go, None for nowhere.
        tracker: lm-eval's tracker, if any.
        past: The evaluation, where it ran before.

    Returns:
        The run, with the settings of every task.

    Raises:
        ConfigError: Settings of a task are wrong, do not fit the model, or are not those of the run that is
            to be resumed.
        ArtifactError: The folder cannot be written.
    """
    inner = getattr(lm, "lm", lm)  # lm-eval's CachingLM
    team = team_of(inner)
    if not team.writes:
        folder = None
    if folder is not None:
        check_writable(folder)
    tasks = {name: _task_info(name, apart, given) for name, apart in tasks_apart.items()}
    run = EvaluationRun(
        inner,
        tasks,
        past.model if past is not None else _model_name(inner, tracker),
        RunFiles(folder, past.date if past is not None else run_date()),
        team=team,
        budget=given.get("budget"),
        progress=RunProgress(hidden=not (team.leads and team.writes)),
    )
    try:
        run.backend = scorer_of(inner)
    except UnsupportedModelError as error:
        run.unsupported = str(error)
        _LOGGER.error("%s. Scoring goes on without attributions.", error)
    else:
        for info in tasks.values():
            make_recipe(info.config, run.backend, inner.tokenizer)  # refuses what does not fit the model
    try:
        if given.get("resume") is not None and team.leads and team.writes:
            _take_up(run, Path(given["resume"]))
        elif folder is not None and team.leads:
            run.files.held.enter_context(locked(folder, run.files.date))
    except BaseException:
        run.files.held.close()
        raise
    return run


def _take_up(run: EvaluationRun, resume: Path) -> None:
    """Go on with a run that no other process is at work on."""
    found = find_resumed(resume, run.files.folder)
    if found is not None:
        run.files.date = found["date"]
    if run.files.folder is not None:
        run.files.held.enter_context(locked(run.files.folder, run.files.date))
    if found is None:
        return
    # Read again: another process may have gone on with it until a moment ago.
    manifest = find_resumed(resume, run.files.folder)
    if manifest is None or manifest["date"] != run.files.date:
        raise ConfigError(f"resume={str(resume)!r}: another process has just changed the run: try again")
    refuse_another_run(manifest, run, describe_model(run))
    run.resumed = Resumed(manifest)


def leaves(task_dict: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Tasks by name: a flat mapping under ``tasks`` since lm-eval 0.4.12, nested groups before."""
    if isinstance(task_dict.get("tasks"), Mapping):
        yield from task_dict["tasks"].items()
        return
    for name, value in task_dict.items():
        if isinstance(value, Mapping):
            yield from leaves(value)
        else:
            yield str(name), value


def _task_info(name: str, apart: TaskApart, given: Mapping[str, Any]) -> TaskInfo:
    task = apart.task
    metadata = getattr(task.config, "metadata", None) or {}
    version = metadata.get("version", getattr(task, "VERSION", None))
    config = task_config(name, metadata.get("gilot"), given, task.OUTPUT_TYPE)
    choices_of, question_of = apart.method("doc_to_choice"), apart.method("doc_to_text")
    return TaskInfo(name, task.OUTPUT_TYPE, version, config, choices_of, question_of, ensembles_of(task))


def _model_name(lm: Any, tracker: Any) -> str:
    if tracker is not None and tracker.general_config_tracker.model_name:
        return str(tracker.general_config_tracker.model_name)
    pretrained = getattr(lm, "pretrained", None)
    if isinstance(pretrained, str):
        return pretrained
    return str(getattr(pretrained, "name_or_path", "") or type(pretrained or lm).__name__)
