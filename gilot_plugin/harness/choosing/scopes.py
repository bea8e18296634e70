"""Which samples of the run are explained: task by task, or over groups of tasks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from gilot_plugin.errors import ConfigError
from gilot_plugin.extension.samples import ChosenSample, Sample
from gilot_plugin.harness.keeping.resumption import chosen_before
from gilot_plugin.harness.state.run import ChosenOfTask, EvaluationRun
from gilot_plugin.plugins.manager import manager

_LOGGER = logging.getLogger(__name__)


def choose_samples(
    run: EvaluationRun, samples: Mapping[str, Sequence[Sample]], groups: Mapping[str, Sequence[str]]
) -> dict[str, ChosenOfTask]:
    """Choose the samples of a run.

    Args:
        run: The run; one that is resumed chooses what it chose before.
        samples: Of each task, in document order.
        groups: Tasks and groups directly in each group, as lm-eval's results have them.

    Returns:
        For each task, what was chosen; why not, if that failed.
    """
    found: dict[str, ChosenOfTask] = {}
    pools: dict[tuple[str, str], list[str]] = {}
    for task, own in samples.items():
        if before := chosen_before(run, task, own):
            found[task] = before
        else:
            # Tasks with other settings are chosen from by themselves.
            settings = run.tasks[task].config.select.model_dump_json()
            pools.setdefault((_pool(run, task, groups), settings), []).append(task)
    for (pool, _), tasks in pools.items():
        found |= _choose(run, pool, {task: samples[task] for task in tasks})
    return {task: found[task] for task in samples}


def _pool(run: EvaluationRun, task: str, groups: Mapping[str, Sequence[str]]) -> str:
    """Name of what a task's samples are chosen among: the task, the outermost group around it, or the run."""
    over = run.tasks[task].config.select.over
    if over == "run":
        return "the run"
    name = task
    while over == "group":
        around = next((group for group, members in groups.items() if name in members and group != name), None)
        if around is None:
            break
        name = around
    return name


def _choose(
    run: EvaluationRun, pool: str, samples: Mapping[str, Sequence[Sample]]
) -> dict[str, ChosenOfTask]:
    together = [sample for own in samples.values() for sample in own]
    try:
        choices = manager().hook.gilot_select_samples(run=run.view, task=pool, samples=together)
    except Exception as error:  # of a strategy of another package, too
        reason = str(error) if isinstance(error, ConfigError) else repr(error)
        for task in samples:
            _LOGGER.error("task %s: no sample is explained: %s", task, reason)
        return {task: ChosenOfTask(len(own), error=reason) for task, own in samples.items()}
    chosen: dict[str, list[ChosenSample]] = {task: [] for task in samples}
    for choice in choices:
        chosen[choice.sample.identity.task].append(choice)
    return {task: ChosenOfTask(len(own), tuple(chosen[task])) for task, own in samples.items()}
