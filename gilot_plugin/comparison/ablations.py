"""What parts of the prompts do to the scores of one model, against what they do to those of another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gilot_plugin.artifacts.ablations import SampleLine, TaskAblation, read_ablations
from gilot_plugin.artifacts.loading import LoadedRun
from gilot_plugin.settings.ablation import FULL
from gilot_plugin.statistics.families import ALPHA, judge
from gilot_plugin.statistics.paired import PairedTest, paired_tests


class AblationShift(NamedTuple):
    """One arm and score in two runs, over the samples that both asked.

    Attributes:
        task: Name of the task.
        arm: Name of the arm.
        metric: ``"metric,filter"``.
        base: Mean change of the base model's scores, the arm's less the full prompt's.
        tuned: The same of the other model.
        test: Of whether these changes differ, sample by sample.
        q_value: Its p-value, adjusted for all arms of all tasks.
    """

    task: str
    arm: str
    metric: str
    base: float
    tuned: float
    test: PairedTest
    q_value: float

    @property
    def is_finding(self) -> bool:
        """Whether the part matters more, or less, to the other model, by more than chance."""
        return self.q_value <= ALPHA


def ablation_shifts(base: LoadedRun, tuned: LoadedRun, seed: int) -> tuple[AblationShift, ...]:
    """Compare the ablations of two runs; none where not both have them.

    They are a family of their own beside those of an audit, held to the same rate.

    Args:
        base: Of the base model.
        tuned: Of the other model.
        seed: Of the signs that are drawn.
    """
    before, after = (
        {one.plan.task: one for one in read_ablations(run.folder, run.date)} for run in (base, tuned)
    )
    found = [(task, *one) for task in before if task in after for one in _changes(before[task], after[task])]
    tests = paired_tests([tuned - base for *_, base, tuned in found], seed=seed)
    judged = judge([test.p_value for test in tests], [test.attainable for test in tests])
    return tuple(
        AblationShift(task, arm, metric, float(base.mean()), float(tuned.mean()), test, judgement.q_value)
        for (task, arm, metric, base, tuned), test, judgement in zip(found, tests, judged, strict=True)
    )


def _changes(base: TaskAblation, tuned: TaskAblation) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Arm, metric, and each sample's change in both runs."""
    finished = [
        [name for name, line in one.arms.items() if line.status == "ok" and name != FULL]
        for one in (base, tuned)
    ]
    means = [
        {score.metric for score in one.arms[FULL].scores if score.is_mean} if FULL in one.arms else set()
        for one in (base, tuned)
    ]
    for arm in (name for name in finished[0] if name in finished[1]):
        for metric in sorted(means[0] & means[1]):
            pairs = _paired(base, tuned, arm, metric)
            if pairs:
                values = np.array(pairs, dtype=float)
                yield arm, metric, values[:, 0], values[:, 1]


def _paired(base: TaskAblation, tuned: TaskAblation, arm: str, metric: str) -> Sequence[tuple[float, float]]:
    found = []
    for key in base.samples.get(FULL, {}):
        changes = [_change(one, arm, metric, key) for one in (base, tuned)]
        if changes[0] is not None and changes[1] is not None:
            found.append((changes[0], changes[1]))
    return found


def _change(one: TaskAblation, arm: str, metric: str, key: tuple[int, str]) -> float | None:
    lines: list[SampleLine | None] = [one.samples.get(name, {}).get(key) for name in (FULL, arm)]
    values = [None if line is None else line.metrics.get(metric) for line in lines]
    if not all(isinstance(value, (int, float)) for value in values):
        return None
    return float(values[1]) - float(values[0])  # type: ignore[arg-type]  # both are numbers


def ablation_words(shift: AblationShift) -> str:
    """One finding in words."""
    more = "more" if abs(shift.tuned) > abs(shift.base) else "less"
    q_value = "q < 0.001" if shift.q_value < 0.001 else f"q = {shift.q_value:.2g}"
    return (
        f"{shift.task}: {shift.metric.removesuffix(',none')} changes {more} {shift.arm}: by "
        f"{shift.base:+.3f} in the base model, by {shift.tuned:+.3f} in the other ({shift.test.pairs} "
        f"samples, {q_value})."
    )
