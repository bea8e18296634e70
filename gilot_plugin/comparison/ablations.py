"""What parts of the prompts do to the scores of one model, against what they do to those of another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gilot_plugin.artifacts.ablations import ArmLine, ArmScore, SampleLine, TaskAblation
from gilot_plugin.artifacts.loading import LoadedRun
from gilot_plugin.settings.ablation import FULL
from gilot_plugin.statistics.clusters import clustered_test
from gilot_plugin.statistics.families import ALPHA, judge
from gilot_plugin.statistics.jackknife import jackknife_stderr, jackknife_test
from gilot_plugin.statistics.paired import PairedTest, paired_tests, smallest_p


class AblationShift(NamedTuple):
    """One arm and score in two runs, over the samples that both asked.

    Attributes:
        task: Name of the task.
        arm: Name of the arm.
        metric: ``"metric,filter"``.
        base: Change of the base model's score, the arm's less the full prompt's.
        tuned: The same of the other model.
        test: Of whether these changes differ: sample by sample, by clusters where samples belong together,
            and by a jackknife of scores that are no means.
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
    before, after = ({one.plan.task: one for one in run.ablations} for run in (base, tuned))
    found = [(task, one) for task in before if task in after for one in _means(before[task], after[task])]
    tests = paired_tests([one.tuned - one.base for _, one in found], seed=seed)
    shifts = [
        AblationShift(
            task,
            one.arm,
            one.metric,
            float(one.base.mean()),
            float(one.tuned.mean()),
            _clustered(one, test),
            1.0,
        )
        for (task, one), test in zip(found, tests, strict=True)
    ]
    shifts += [one for task in before if task in after for one in _others(before[task], after[task])]
    judged = judge([shift.test.p_value for shift in shifts], [shift.test.attainable for shift in shifts])
    return tuple(
        shift._replace(q_value=judgement.q_value) for shift, judgement in zip(shifts, judged, strict=True)
    )


class _Changes(NamedTuple):
    """Each sample's change in both runs, and what it belongs to; None without clusters."""

    arm: str
    metric: str
    base: np.ndarray
    tuned: np.ndarray
    clusters: Sequence[str] | None


def _arms(base: TaskAblation, tuned: TaskAblation) -> Iterator[tuple[str, tuple[ArmLine, ArmLine]]]:
    """Arms that both finished, with their lines."""
    if FULL in base.arms and FULL in tuned.arms:
        for name, line in base.arms.items():
            other = tuned.arms.get(name)
            if name != FULL and other is not None and line.status == other.status == "ok":
                yield name, (line, other)


def _metrics(base: TaskAblation, tuned: TaskAblation, *, means: bool) -> list[str]:
    kinds = [{score.metric: score.is_mean for score in one.arms[FULL].scores} for one in (base, tuned)]
    return sorted(name for name in kinds[0] if [kind.get(name) for kind in kinds] == [means, means])


def _means(base: TaskAblation, tuned: TaskAblation) -> Iterator[_Changes]:
    for arm, _ in _arms(base, tuned):
        for metric in _metrics(base, tuned, means=True):
            pairs = _paired(base, tuned, arm, metric)
            if pairs:
                values = np.array([(before, after) for before, after, _ in pairs], dtype=float)
                clusters = [cluster for *_, cluster in pairs]
                known = [cluster for cluster in clusters if cluster is not None]
                yield _Changes(
                    arm, metric, values[:, 0], values[:, 1], known if len(known) == len(clusters) else None
                )


def _clustered(found: _Changes, test: PairedTest) -> PairedTest:
    """The test over clusters, where both runs say what belongs together."""
    if found.clusters is None:
        return test
    over = clustered_test(found.tuned - found.base, found.clusters)
    return test._replace(low=over.low, high=over.high, p_value=over.p_value, attainable=over.attainable)


def _others(base: TaskAblation, tuned: TaskAblation) -> Iterator[AblationShift]:
    """Scores that are no means, by a jackknife that leaves the same documents out of both runs."""
    asked = [one.samples.get(FULL, {}).keys() for one in (base, tuned)]
    if asked[0] != asked[1]:
        return
    for arm, lines in _arms(base, tuned):
        for metric in _metrics(base, tuned, means=False):
            scores = [_score(line, metric) for line in lines]
            full = [_score(one.arms[FULL], metric) for one in (base, tuned)]
            before, after = scores
            if before is None or after is None or full[0] is None or full[1] is None:
                continue
            left_out = list(zip(before.change_left_out, after.change_left_out, strict=False))
            if not left_out or len(before.change_left_out) != len(after.change_left_out):
                continue
            changes = before.value - full[0].value, after.value - full[1].value
            stderr = jackknife_stderr([other - one for one, other in left_out])
            found = jackknife_test(changes[1] - changes[0], stderr, len(left_out))
            count = len(asked[0])
            test = PairedTest(
                pairs=count,
                mean=changes[1] - changes[0],
                low=found.low,
                high=found.high,
                effect_size=None,
                p_value=found.p_value,
                attainable=smallest_p(count),
                floor=0.0,
            )
            yield AblationShift(base.plan.task, arm, metric, *changes, test, 1.0)


def _score(line: ArmLine, metric: str) -> ArmScore | None:
    return next((score for score in line.scores if score.metric == metric), None)


def _paired(
    base: TaskAblation, tuned: TaskAblation, arm: str, metric: str
) -> Sequence[tuple[float, float, str | None]]:
    found = []
    for key, line in base.samples.get(FULL, {}).items():
        changes = [_change(one, arm, metric, key) for one in (base, tuned)]
        if changes[0] is not None and changes[1] is not None:
            found.append((changes[0], changes[1], line.cluster))
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
