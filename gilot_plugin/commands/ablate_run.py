"""How ``gilot ablate`` runs."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from gilot_plugin.analysis.ablation_groups import groups_around
from gilot_plugin.artifacts.ablations import TaskAblation, read_ablations
from gilot_plugin.artifacts.evaluations import PastEvaluation, find_evaluation, named_tasks
from gilot_plugin.artifacts.writer import check_writable
from gilot_plugin.commands.shared import DONE, FAILED, named_lm, say
from gilot_plugin.errors import ArtifactError, ConfigError, GilotError
from gilot_plugin.reports.ablation import show_ablations
from gilot_plugin.settings.ablation import AUTO_ARMS, Ablation, ablation_functions, arms_named, lending_tasks
from gilot_plugin.settings.checking import explained
from gilot_plugin.settings.sources import parse_args, split_arguments

_LOGGER = logging.getLogger(__name__)


def run_ablation(options: argparse.Namespace) -> int:
    """Check the options, ask, print.

    Returns:
        0 done; 1 interrupted, or something could not be asked.

    Raises:
        ConfigError: An option is wrong; said before a model loads.
        GilotError: Something failed.
    """
    ablation = _ablation(options)
    past = find_evaluation(options.run_dir, model=options.run_model, date=options.date)
    tasks = named_tasks(past, options.tasks)
    folder: Path = options.output_path or past.folder
    try:
        check_writable(folder)
    except ArtifactError as error:
        raise ConfigError(f"--output_path {folder}: {error}") from None
    there = {one.plan.task: one for one in read_ablations(folder, past.date)}
    console = Console()
    if all(task in there and _is_answered(there[task], ablation) for task in tasks):
        say(f"{folder}: all of this is answered already")
        show_ablations([there[task] for task in tasks], console)
        return DONE
    found, failures = _asked(options, past, tasks, ablation, folder)
    show_ablations(found, console)
    for failure in failures:
        Console(stderr=True).print(
            f"failed: {failure}", style="red", markup=False, highlight=False, soft_wrap=True
        )
    failed = failures or any(line.status == "failed" for one in found for line in one.arms.values())
    return FAILED if failed else DONE


def _ablation(options: argparse.Namespace) -> Ablation:
    """The options as the setting ``ablate`` has them.

    Raises:
        ConfigError: They are wrong.
    """
    from gilot_plugin.strategies.functions import load_function

    words = [part for argument in options.arms for part in split_arguments(argument)]
    arms: Any = parse_args([f"arms=[{','.join(words)}]"])["arms"] if words else AUTO_ARMS
    given = {"arms": AUTO_ARMS if arms == [AUTO_ARMS] else arms, "n": options.n, "seed": options.seed}
    try:
        found = Ablation.model_validate({**given, "cluster": options.cluster})
    except ValidationError as error:
        raise ConfigError(f"--{explained(error, Ablation)}") from None
    for place in ablation_functions(found):
        load_function(place)
    return found


def _is_answered(there: TaskAblation, ablation: Ablation) -> bool:
    plan = there.plan
    if not there.is_complete or (plan.n, plan.seed, plan.cluster) != (
        ablation.n,
        ablation.seed,
        ablation.cluster,
    ):
        return False
    if any(line.status == "failed" for line in there.arms.values()):
        return False
    shots = sum(arm.startswith("without shot_") for arm in plan.arms)
    return ablation.arms == AUTO_ARMS or {arm.name for arm in arms_named(ablation.arms, shots)} <= set(
        plan.arms
    )


def _asked(
    options: argparse.Namespace, past: PastEvaluation, tasks: Sequence[str], ablation: Ablation, folder: Path
) -> tuple[list[TaskAblation], list[str]]:
    """Ask the model; what was asked, and which tasks could not be."""
    from gilot_plugin.harness.ablating.ablate import ablate, plan_job
    from gilot_plugin.harness.ablating.bars import shown_bar
    from gilot_plugin.harness.ablating.beside import model_identity
    from gilot_plugin.harness.ablating.jobs import Baseline, Job
    from gilot_plugin.harness.entry.again import check_tasks, prepare_again, task_manager
    from gilot_plugin.harness.entry.loading import load_lm, model_source
    from gilot_plugin.harness.keeping.locking import locked

    source = model_source(past.arguments, **named_lm(options))
    manager = task_manager(past, options.include_path)
    check_tasks(manager, [*tasks, *lending_tasks(ablation)], options.include_path)
    found: list[TaskAblation] = []
    failures: list[str] = []
    with locked(folder, past.date):
        lm = load_lm(source)
        for name in tasks:
            try:
                bench = prepare_again(past, lm, name, manager)
                rows = past.rows(name)
                baseline = Baseline(rows, same_process=False) if rows else None
                groups = groups_around(name, past.content.get("group_subtasks") or {})
                job = Job(
                    bench, ablation, past.model, model_identity(lm), past.date, folder, baseline, groups
                )
                samples, arms = plan_job(job)
                with shown_bar(f"ablating {name}", len(samples.documents) * (len(arms) + 1)) as advance:
                    found.append(ablate(job, samples, arms, advance))
            except KeyboardInterrupt:
                failures.append(f"interrupted at {name}; the same command goes on from there")
                break
            except GilotError as error:
                failures.append(f"{name}: {error}")
            except Exception as error:  # of a task, which may do anything; the other ones go on
                _LOGGER.debug("task %s", name, exc_info=True)
                failures.append(f"{name}: {type(error).__name__}: {error}")
    return found, failures
