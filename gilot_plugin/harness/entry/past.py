"""Explain samples of an evaluation that ran before, from what lm-eval logged of it."""

from __future__ import annotations

import ast
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gilot_plugin.artifacts.evaluations import PastEvaluation
from gilot_plugin.artifacts.names import manifest_name
from gilot_plugin.errors import ConfigError
from gilot_plugin.harness.ablating.bench import Bench, build_requests
from gilot_plugin.harness.entry.again import prepare_again, task_manager
from gilot_plugin.harness.entry.loading import ModelSource
from gilot_plugin.harness.entry.start import PastRun, start_run
from gilot_plugin.harness.entry.taking_part import leave, take_part
from gilot_plugin.harness.explaining.explain import explain_results
from gilot_plugin.harness.keeping.plugin import abandon_run, open_run
from gilot_plugin.harness.state.model_arguments import model_arguments
from gilot_plugin.harness.state.run import EvaluationRun
from gilot_plugin.harness.watching.apart import TaskApart
from gilot_plugin.harness.watching.model_calls import hooked
from gilot_plugin.harness.watching.parts import watched_parts

_LOGGER = logging.getLogger(__name__)

#: Arguments that mean to ``hf`` what they mean to lm-eval's other classes of local models.
_OF_ANY_CLASS = frozenset(
    {
        *("pretrained", "revision", "dtype", "tokenizer", "trust_remote_code", "add_bos_token", "max_length"),
        *("gguf_file", "subfolder", "enable_thinking", "think_end_token"),
    }
)


def as_hf(source: ModelSource, named: bool) -> ModelSource:
    """The model by lm-eval's class ``hf``, whose distributions can be read, unless a class was named.

    Args:
        source: Of the evaluation.
        named: Whether the user named the class.

    Raises:
        ConfigError: The evaluation does not name a checkpoint.
    """
    if named or source.model.startswith("hf"):
        return source
    kept = {name: value for name, value in source.arguments.items() if name in _OF_ANY_CLASS}
    if "pretrained" not in kept:
        raise ConfigError(
            f"the evaluation asked a model of class {source.model!r}, whose distributions cannot be read: "
            "give a checkpoint of it, --model hf --model_args pretrained=NAME_OR_PATH"
        )
    left_out = sorted(set(source.arguments) - set(kept))
    _LOGGER.warning(
        "the evaluation asked the model by lm-eval's class %r; it is explained by 'hf'%s",
        source.model,
        f", without {', '.join(left_out)}" if left_out else "",
    )
    return ModelSource("hf", kept, source.device, source.batch_size)


def explain_past(
    past: PastEvaluation,
    rows: Mapping[str, list[dict[str, Any]]],
    source: ModelSource,
    lm: Any,
    given: Mapping[str, Any],
    include_path: str | None = None,
) -> tuple[EvaluationRun, bool]:
    """Explain samples as beside the evaluation: the same path from chosen samples on.

    Args:
        past: The evaluation.
        rows: What was logged of each task.
        source: How the model was loaded.
        lm: lm-eval's model object.
        given: Settings given for the run.
        include_path: Folder of task files.

    Returns:
        The run, and whether every chosen sample has its record.

    Raises:
        ConfigError: Settings are wrong, or the evaluation has attributions already.
        ArtifactError: The folder cannot be written.
    """
    folder: Path = Path(given["output_path"]) if given.get("output_path") else past.folder
    if (folder / manifest_name(past.date)).exists() and given.get("resume") is None:
        raise ConfigError(
            f"{folder} has attributions of {past.date}: go on with them (--gilot_args resume={folder}), or "
            "choose another output_path"
        )
    benches = _benches(past, list(rows), lm, include_path)
    tasks = {name: benches[name].task if name in benches else _logged_task(past, name) for name in rows}
    apart = {name: TaskApart(task) for name, task in tasks.items()}
    run = start_run(lm, apart, given, folder, None, PastRun(past.model, past.date))
    run.loaded_as = model_arguments({"model": source.model, "model_args": dict(source.arguments)})
    run.has_template = past.content.get("chat_template") is not None
    take_part(run)
    open_run(run)
    try:
        for bench in benches.values():
            _watch_requests(run, bench)
    except BaseException:
        abandon_run(run)
        leave()
        raise
    results = {
        "samples": {name: _with_targets(tasks[name], own) for name, own in rows.items()},
        "group_subtasks": past.content.get("group_subtasks") or {},
    }
    try:
        return run, explain_results(run, results)
    finally:
        run.files.held.close()
        leave()


def _benches(
    past: PastEvaluation, names: Sequence[str], lm: Any, include_path: str | None
) -> dict[str, Bench]:
    """The installed tasks, which tell the parts of prompts; those that are not there are done without."""
    manager = task_manager(past, include_path)
    found = {}
    for name in names:
        try:
            found[name] = prepare_again(past, lm, name, manager)
        except ConfigError as error:
            _LOGGER.warning("task %s: the parts of its prompts are not known: %s", name, error)
    return found


def _watch_requests(run: EvaluationRun, bench: Bench) -> None:
    """Let the task build its requests once more; parts count where a prompt is the one that was asked."""
    instruction = bench.arguments.get("system_instruction")
    try:
        with hooked(run), watched_parts(run, {bench.name: bench.task}, instruction):
            build_requests(bench, bench.task)
    except Exception as error:  # of a task, whose logged prompts are good enough
        _LOGGER.warning("task %s: the parts of its prompts are not known: %r", bench.name, error)


def _logged_task(past: PastEvaluation, name: str) -> Any:
    """What the log says of a task that is not installed."""
    config = past.tasks[name]
    metadata = config.get("metadata")
    return SimpleNamespace(
        OUTPUT_TYPE=str(config.get("output_type")),
        VERSION=None,
        config=SimpleNamespace(
            metadata=metadata if isinstance(metadata, Mapping) else {}, filter_list=config.get("filter_list")
        ),
    )


def _with_targets(task: Any, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with targets as the task has them; lm-eval logs them as text."""
    return [{**row, "target": _target(task, row)} for row in rows]


def _target(task: Any, row: Mapping[str, Any]) -> Any:
    text = str(row["target"])
    try:
        found = task.doc_to_target(row["doc"])
        if str(found) == text:
            return found
    except Exception:  # a task may ask for what documents had before they were logged
        _LOGGER.debug("the target of a logged document is read from its text", exc_info=True)
    if task.OUTPUT_TYPE != "multiple_choice":
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, (int, list)) and str(value) == text else text
