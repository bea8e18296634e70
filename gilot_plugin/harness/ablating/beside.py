"""Ablations of an evaluation with attributions: the setting ``ablate``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gilot_plugin.analysis.ablation_groups import groups_around
from gilot_plugin.artifacts.ablations import TaskAblation
from gilot_plugin.errors import GilotError
from gilot_plugin.harness.ablating.ablate import ablate, plan_job
from gilot_plugin.harness.ablating.bars import shown_bar
from gilot_plugin.harness.ablating.bench import Bench
from gilot_plugin.harness.ablating.editing import snapshot
from gilot_plugin.harness.ablating.jobs import Baseline, Job
from gilot_plugin.harness.state.run import EvaluationRun
from gilot_plugin.settings.ablation import Ablation

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class RequestedAblation:
    """A task whose ablation is asked for.

    Attributes:
        bench: The task, as it was before lm-eval evaluated it.
        ablation: What is asked.
    """

    bench: Bench
    ablation: Ablation


def asked_ablations(
    run: EvaluationRun,
    tasks: Mapping[str, Any],
    arguments: Mapping[str, Any],
    evaluate: Callable[..., Any],
    load_task: Callable[[str], Any],
) -> tuple[RequestedAblation, ...]:
    """Keep the tasks that are to be ablated as they are before the evaluation.

    Args:
        run: The run, which has the settings.
        tasks: lm-eval's task objects by name.
        arguments: Of lm-eval's ``evaluate``.
        evaluate: That function itself.
        load_task: Loads a task of lm-eval's by its name.
    """
    wanted = {name: info.config.ablate for name, info in run.tasks.items() if info.config.ablate is not None}
    if not wanted:
        return ()
    before = {name: snapshot(task) for name, task in tasks.items()}
    return tuple(
        RequestedAblation(
            Bench(
                name,
                before[name],
                run.lm,
                {key: value for key, value in arguments.items() if key not in ("lm", "task_dict")},
                evaluate,
                lambda other: before[other] if other in before else load_task(other),
                run.team,
            ),
            ablation,
        )
        for name, ablation in wanted.items()
    )


def model_identity(lm: Any) -> str:
    """What the answers of a model depend on, beside its name."""
    dtype = getattr(getattr(lm, "_model", None), "dtype", None)
    return f"{type(lm).__name__} {dtype} {getattr(lm, 'max_length', None)}"


def ablate_beside(
    run: EvaluationRun, asked: Sequence[RequestedAblation], results: Mapping[str, Any] | None
) -> Iterator[TaskAblation]:
    """Ablate the tasks of a run that lm-eval has just scored.

    A task whose ablation does not work out is told, and the others go on. Processes that evaluate together
    ask together.

    Args:
        run: The run.
        asked: See :func:`asked_ablations`.
        results: What lm-eval's ``evaluate`` returned, with samples; None in processes that got none.
    """
    for one in asked:
        name = one.bench.name
        rows, members, date = run.team.from_leader(
            (results["samples"][name], results.get("group_subtasks") or {}, run.files.date)
            if results is not None
            else ((), {}, "")
        )
        job = Job(
            one.bench,
            one.ablation,
            run.model_name,
            model_identity(run.lm),
            date,
            run.files.folder,
            Baseline(rows, same_process=True),
            groups_around(name, members),
        )
        try:
            samples, arms = plan_job(job)
            total = len(samples.documents) * (len(arms) + 1)
            with shown_bar(
                f"ablating {name}", total, hidden=not (run.team.writes and run.team.leads)
            ) as advance:
                yield ablate(job, samples, arms, advance)
        except GilotError as error:
            _LOGGER.error("task %s: no ablation: %s", name, error)
        except Exception:  # of a task, which may do anything; the other ones go on
            _LOGGER.exception("task %s: no ablation", name)
