"""Ablations of a group's tasks, taken together as lm-eval takes their scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gilot_plugin.artifacts.ablations import ArmLine, ArmScore, TaskAblation


def groups_around(task: str, members: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Groups that a task is in, at any level, the nearest first.

    Args:
        task: Name of the task.
        members: Tasks and groups directly in each group, as lm-eval's results have them.
    """
    found: list[str] = []
    pending = [task]
    while pending:
        name = pending.pop(0)
        around = [group for group, own in members.items() if name in own and group not in (name, *found)]
        found += around
        pending += around
    return tuple(found)


def grouped(tasks: Sequence[TaskAblation]) -> Iterator[TaskAblation]:
    """Each group of which several tasks were ablated, as if it were one task.

    Scores are means over all samples of its tasks, which is what lm-eval's groups have unless told otherwise;
    only arms and metrics that all of the tasks have are left.
    """
    names = dict.fromkeys(group for task in tasks for group in task.plan.groups)
    for name in names:
        own = [task for task in tasks if name in task.plan.groups]
        if len(own) > 1:
            yield _together(name, own)


def _together(name: str, tasks: Sequence[TaskAblation]) -> TaskAblation:
    first = tasks[0].plan
    common = [arm for arm in first.arms if all(_is_answered(task, arm) for task in tasks)]
    plan = first.model_copy(
        update={
            "task": f"group {name}",
            "arms": tuple(common),
            "samples": sum(task.plan.samples for task in tasks),
            "groups": (),
        }
    )
    found = TaskAblation(plan)
    for arm in common:
        for task in tasks:
            for line in task.samples[arm].values():
                # Documents of two tasks may have the same number and content.
                update = {"doc_hash": f"{task.plan.task} {line.doc_hash}"}
                if line.cluster is not None:
                    update["cluster"] = f"{task.plan.task} {line.cluster}"
                found.take(line.model_copy(update=update))
        found.take(tasks[0].arms[arm].model_copy(update={"scores": tuple(_scores(tasks, arm))}))
    return found


def _is_answered(task: TaskAblation, arm: str) -> bool:
    line = task.arms.get(arm)
    return line is not None and line.status == "ok"


def _scores(tasks: Sequence[TaskAblation], arm: str) -> Iterator[ArmScore]:
    lines: list[ArmLine] = [task.arms[arm] for task in tasks]
    for score in lines[0].scores:
        own = [next((one for one in line.scores if one.metric == score.metric), None) for line in lines]
        values = [
            sample.metrics[score.metric]
            for task in tasks
            for sample in task.samples[arm].values()
            if score.metric in sample.metrics
        ]
        if values and all(one is not None and one.is_mean for one in own):
            yield score.model_copy(update={"value": sum(values) / len(values), "stderr": None})
