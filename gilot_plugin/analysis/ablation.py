"""What a task's scores without parts of its prompts say: changes and tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gilot_plugin.analysis.ablation_groups import grouped
from gilot_plugin.artifacts.ablations import JACKKNIFE_GROUPS, ArmLine, ArmScore, SampleLine, TaskAblation
from gilot_plugin.artifacts.verdicts import is_correct
from gilot_plugin.settings.ablation import FULL
from gilot_plugin.statistics.clusters import clustered_test
from gilot_plugin.statistics.families import ALPHA, judge
from gilot_plugin.statistics.guessing import guessing_test
from gilot_plugin.statistics.intervals import mean_interval
from gilot_plugin.statistics.jackknife import jackknife_test
from gilot_plugin.statistics.paired import (
    MIN_PAIRS,
    mcnemar,
    mcnemar_attainable,
    paired_test,
    smallest_p,
)

#: The arms of which chance is the measure: what is left must not tell the answer.
_BLIND = frozenset({"without question", "without stem"})


class Guessing(NamedTuple):
    """An arm's right answers against guessing.

    Attributes:
        expected: Score of guessing.
        p_value: Of the one-sided test whether the score is above it.
        q_value: The same, adjusted for all tests of the table.
    """

    expected: float
    p_value: float
    q_value: float

    @property
    def is_finding(self) -> bool:
        """Whether the score is above guessing by more than chance."""
        return self.q_value <= ALPHA


class ScoreChange(NamedTuple):
    """One score of one arm, beside that of the prompts as they are.

    Attributes:
        task: Name of the task.
        arm: Name of the arm.
        metric: ``"metric,filter"``.
        samples: Number of samples.
        full: Score of the prompts as they are.
        score: Score of the arm.
        difference: The arm's score less the full one.
        low: Lower end of the 95 % interval of the difference; None with too few samples.
        high: Its upper end.
        test: ``"McNemar"`` for 0 and 1, ``"sign flip"`` for other numbers, ``"jackknife"`` for scores that
            are no mean over samples; None where nothing can be tested.
        p_value: Of that test; 1 without one.
        q_value: The same, adjusted for all tests of the table.
        testable: Whether the samples were enough to be a finding.
        same: Share of the samples whose answer is the same.
        changed: Share of the samples whose prompt the arm changes.
        higher_is_better: None where lm-eval does not say.
        guessing: For multiple choice without its question, or its stem, the score against guessing.
    """

    task: str
    arm: str
    metric: str
    samples: int
    full: float
    score: float
    difference: float
    low: float | None
    high: float | None
    test: str | None
    p_value: float
    q_value: float
    testable: bool
    same: float
    changed: float
    higher_is_better: bool | None
    guessing: Guessing | None

    @property
    def is_finding(self) -> bool:
        """Whether the score is another one, by more than chance."""
        return self.testable and self.q_value <= ALPHA

    @property
    def metric_words(self) -> str:
        """The metric, without a filter that does nothing."""
        return self.metric.removesuffix(",none")


class LeftOut(NamedTuple):
    """An arm without a score.

    Attributes:
        task: Name of the task.
        arm: Name of the arm.
        reason: Why, in words.
    """

    task: str
    arm: str
    reason: str


class AblationTable(NamedTuple):
    """All arms of all tasks of a run.

    Attributes:
        changes: By task, metric and arm.
        left_out: Arms that do not apply, failed, or were not asked to the end.
    """

    changes: tuple[ScoreChange, ...]
    left_out: tuple[LeftOut, ...]


def ablation_table(tasks: Sequence[TaskAblation]) -> AblationTable:
    """Compare each arm with the prompts as they are, all of them one family of tests; groups come first."""
    found = [one for task in (*grouped(tasks), *tasks) for one in _changes(task)]
    p_values, attainable, places = [], [], []
    for place, (change, smallest, guess_smallest) in enumerate(found):
        if change.test is not None:
            p_values.append(change.p_value)
            attainable.append(smallest)
            places.append((place, False))
        if change.guessing is not None:
            p_values.append(change.guessing.p_value)
            attainable.append(guess_smallest)
            places.append((place, True))
    changes = [change for change, _, _ in found]
    for (place, guess), judgement in zip(places, judge(p_values, attainable), strict=True):
        change = changes[place]
        if not guess:
            changes[place] = change._replace(q_value=judgement.q_value, testable=judgement.level is not None)
        elif change.guessing is not None:
            changes[place] = change._replace(guessing=change.guessing._replace(q_value=judgement.q_value))
    return AblationTable(tuple(changes), tuple(left for task in tasks for left in _left_out(task)))


def _left_out(task: TaskAblation) -> Iterator[LeftOut]:
    for name in task.plan.arms:
        line = task.arms.get(name)
        if line is None:
            yield LeftOut(task.plan.task, name, "not asked to the end: repeat the command, and it goes on")
        elif line.status != "ok":
            yield LeftOut(task.plan.task, name, line.reason or line.status)


def _changes(task: TaskAblation) -> Iterator[tuple[ScoreChange, float, float]]:
    """Changes without adjusted p-values, each with the smallest p-values that its tests can have."""
    full = task.arms.get(FULL)
    if full is None or full.status != "ok":
        return
    metrics = [score.metric for score in full.scores]
    for metric in metrics:
        for name in task.plan.arms:
            line = task.arms.get(name)
            if name != FULL and line is not None and line.status == "ok":
                change = _change(task, full, line, metric)
                if change is not None:
                    yield change


def _change(
    task: TaskAblation, full: ArmLine, line: ArmLine, metric: str
) -> tuple[ScoreChange, float, float] | None:
    scores = {score.metric: score for score in line.scores}
    before = next(score for score in full.scores if score.metric == metric)
    after = scores.get(metric)
    pairs = _pairs(task, line.arm)
    if after is None or not pairs:
        return None
    filter_name = metric.partition(",")[2]
    same = [one.answers.get(filter_name) == other.answers.get(filter_name) for one, other in pairs]
    low = high = test = None
    p_value, attainable = 1.0, 1.0
    if before.is_mean and after.is_mean:
        low, high, test, p_value, attainable = _tested(pairs, metric)
    elif after.change_stderr is not None:
        low, high, test, p_value, attainable = _by_jackknife(after.value - before.value, after, len(pairs))
    guessing, guess_attainable = _guessing(line, pairs, metric)
    return (
        ScoreChange(
            task=task.plan.task,
            arm=line.arm,
            metric=metric,
            samples=len(pairs),
            full=before.value,
            score=after.value,
            difference=after.value - before.value,
            low=low,
            high=high,
            test=test,
            p_value=p_value,
            q_value=1.0,
            testable=False,
            same=sum(same) / len(same),
            changed=sum(other.changed for _, other in pairs) / len(pairs),
            higher_is_better=before.higher_is_better,
            guessing=guessing,
        ),
        attainable,
        guess_attainable,
    )


def _pairs(task: TaskAblation, arm: str) -> list[tuple[SampleLine, SampleLine]]:
    others = task.samples.get(arm, {})
    return [(line, others[key]) for key, line in task.samples.get(FULL, {}).items() if key in others]


def _tested(
    pairs: Sequence[tuple[SampleLine, SampleLine]], metric: str
) -> tuple[float | None, float | None, str | None, float, float]:
    """Interval of the difference, and its test."""
    both = [
        (one.metrics[metric], other.metrics[metric], one.cluster)
        for one, other in pairs
        if metric in one.metrics and metric in other.metrics
    ]
    values = np.array([[before, after] for before, after, _ in both], dtype=float)
    if not len(values):
        return None, None, None, 1.0, 1.0
    differences = values[:, 1] - values[:, 0]
    clusters = [cluster for _, _, cluster in both]
    if all(cluster is not None for cluster in clusters):
        found = clustered_test(differences, [str(cluster) for cluster in clusters])
        return found.low, found.high, "sign flip of clusters", found.p_value, found.attainable
    # Where every difference is the same there is nothing to tell how far the next one might be.
    low, high = mean_interval(differences) if np.ptp(differences) > 0 else (None, None)
    if np.isin(values, (0.0, 1.0)).all():
        worse, better = int(np.sum(differences < 0)), int(np.sum(differences > 0))
        return low, high, "McNemar", mcnemar(worse, better), mcnemar_attainable(worse + better)
    if len(differences) < MIN_PAIRS:
        return low, high, None, 1.0, 1.0
    test = paired_test(differences)
    return low, high, "sign flip", test.p_value, test.attainable


def _by_jackknife(
    difference: float, after: ArmScore, samples: int
) -> tuple[float | None, float | None, str | None, float, float]:
    """Interval and test of a score that is no mean over samples, from the standard error of its change."""
    if not after.change_stderr:
        return None, None, None, 1.0, 1.0
    groups = len(after.change_left_out) or min(JACKKNIFE_GROUPS, samples)
    found = jackknife_test(difference, after.change_stderr, groups)
    return found.low, found.high, "jackknife", found.p_value, smallest_p(samples)


def _guessing(
    line: ArmLine, pairs: Sequence[tuple[SampleLine, SampleLine]], metric: str
) -> tuple[Guessing | None, float]:
    """Right answers to questions that were not asked, against guessing."""
    if line.arm not in _BLIND or any(not other.choices for _, other in pairs):
        return None, 1.0
    verdicts = [is_correct(metric, other.metrics.get(metric)) for _, other in pairs]
    if any(verdict is None for verdict in verdicts):
        return None, 1.0
    found = guessing_test(sum(map(bool, verdicts)), [other.choices or 1 for _, other in pairs])
    return Guessing(found.expected, found.p_value, 1.0), found.attainable
