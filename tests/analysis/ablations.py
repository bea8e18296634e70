"""Ablations made by hand: each sample's answer in each arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gilot_plugin.artifacts.ablations import ArmLine, ArmScore, Plan, SampleLine, TaskAblation
from gilot_plugin.artifacts.names import ablations_name
from gilot_plugin.artifacts.writer import RecordWriter

DATE = "2026-05-17T09-30-00.123456"


def make_ablation(
    right: Mapping[str, Sequence[float]],
    *,
    task: str = "films",
    metric: str = "acc,none",
    date: str = DATE,
    clusters: Sequence[str] = (),
    choices: int | None = 2,
    failed: Mapping[str, str] | None = None,
) -> TaskAblation:
    """One number a sample and arm; an answer is the same where the number is.

    Args:
        right: By arm, ``"full"`` first.
        task: Name of the task.
        metric: What the numbers are.
        date: Of the run.
        clusters: What each sample belongs to.
        choices: Of each sample.
        failed: Reasons of arms without numbers.
    """
    count = len(right["full"])
    plan = Plan(
        task=task,
        date=date,
        model="m",
        output_type="multiple_choice" if choices else "generate_until",
        identity="0",
        n=None,
        seed=0,
        cluster="text" if clusters else None,
        samples=count,
        arms=(*right, *(failed or {})),
        versions={},
    )
    found = TaskAblation(plan)
    for arm, numbers in right.items():
        for doc, number in enumerate(numbers):
            found.take(
                SampleLine(
                    arm=arm,
                    doc_id=doc,
                    doc_hash=f"d{doc}",
                    prompt_hash=f"p{doc}",
                    changed=arm != "full",
                    answers={metric.partition(",")[2]: str(number)},
                    metrics={metric: number},
                    choices=choices,
                    cluster=clusters[doc] if clusters else None,
                )
            )
        score = ArmScore(
            metric=metric, value=sum(numbers) / count, stderr=None, is_mean=True, higher_is_better=True
        )
        found.take(ArmLine(arm=arm, how="full" if arm == "full" else "without", status="ok", scores=(score,)))
    for arm, reason in (failed or {}).items():
        found.take(ArmLine(arm=arm, how="without", status="failed", reason=reason))
    return found


def write_ablation(folder: Path, found: TaskAblation) -> Path:
    """Write the lines as a run does."""
    path = folder / ablations_name(found.plan.task, found.plan.date)
    samples = [line for lines in found.samples.values() for line in lines.values()]
    with RecordWriter(path) as writer:
        writer.write_all(
            line.model_dump(mode="json") for line in (found.plan, *samples, *found.arms.values())
        )
    return path
