"""What parts of the prompts do to two models' scores, one against the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import scipy.stats

from gilot_plugin.artifacts.ablations import TaskAblation
from gilot_plugin.comparison.ablations import AblationShift, ablation_shifts
from gilot_plugin.settings.ablation import FULL
from tests.analysis.ablations import make_ablation, write_ablation
from tests.comparison.simulated import DATE, make_run

_ARM = "without question"


def shifts(tmp_path: Path, base: TaskAblation, tuned: TaskAblation) -> tuple[AblationShift, ...]:
    runs = []
    for name, ablation in (("base", base), ("tuned", tuned)):
        (tmp_path / name).mkdir()
        write_ablation(tmp_path / name, ablation)
        runs.append(make_run((), folder=tmp_path / name))
    return ablation_shifts(runs[0], runs[1], seed=0)


def ablated(without: Sequence[float], clusters: Sequence[str] = ()) -> TaskAblation:
    full = [1.0] * len(without)
    return make_ablation({FULL: full, _ARM: without}, date=DATE, clusters=clusters)


def test_samples_that_belong_together_count_once(tmp_path: Path) -> None:
    """Eight clusters of five samples that do the same are no more than eight samples."""
    clusters = [f"text {number // 5}" for number in range(40)]
    base, tuned = ([1.0] * 40, [0.0] * 35 + [1.0] * 5)
    (alone,) = shifts(tmp_path, ablated(base), ablated(tuned))
    (tmp_path / "clustered").mkdir()
    (together,) = shifts(tmp_path / "clustered", ablated(base, clusters), ablated(tuned, clusters))
    assert together.test.mean == alone.test.mean == pytest.approx(-35 / 40)
    # Seven of eight signs matter, and all are alike.
    assert together.test.p_value == pytest.approx(2 / 2**7)
    assert alone.test.p_value < together.test.p_value / 100
    # The standard error of eight cluster means, by hand.
    reach = scipy.stats.t.ppf(0.975, 7) * math.sqrt(8 / 7 * (7 * (5 / 8) ** 2 + (35 / 8) ** 2)) / 40
    assert together.test.low is not None
    assert together.test.low == pytest.approx(-35 / 40 - reach)


def no_mean(value: float, left_out: Sequence[float]) -> TaskAblation:
    found = ablated([1.0] * 20)
    for name, of_arm, changes in ((FULL, 1.0, ()), (_ARM, value, tuple(left_out))):
        (score,) = found.arms[name].scores
        update = {"value": of_arm, "is_mean": False, "change_left_out": changes}
        found.arms[name] = found.arms[name].model_copy(update={"scores": (score.model_copy(update=update),)})
    return found


def test_scores_that_are_no_means_are_paired_by_document(tmp_path: Path) -> None:
    wobble = [(-1) ** group * 0.05 for group in range(20)]
    base = no_mean(0.9, [-0.1 + one for one in wobble])
    tuned = no_mean(0.4, [-0.6 + 1.1 * one for one in wobble])
    (shift,) = shifts(tmp_path, base, tuned)
    assert (shift.base, shift.tuned) == (pytest.approx(-0.1), pytest.approx(-0.6))
    # Both runs wobble with the same documents, so that a tenth of the wobble is left in the difference.
    stderr = math.sqrt(19 / 20 * 20) * 0.005
    assert shift.test.low == pytest.approx(-0.5 - scipy.stats.t.ppf(0.975, 19) * stderr)
    assert shift.is_finding


@pytest.mark.parametrize("other", [{"groups": 19}, {"samples": 19}])
def test_other_documents_are_not_paired(tmp_path: Path, other: Mapping[str, int]) -> None:
    base, tuned = no_mean(0.9, [0.1] * 20), no_mean(0.4, [0.2] * other.get("groups", 20))
    if "samples" in other:
        tuned.samples[FULL].popitem()
    assert shifts(tmp_path, base, tuned) == ()


def test_two_runs_alike_differ_in_nothing(tmp_path: Path) -> None:
    one = no_mean(0.5, [-0.5 + group / 100 for group in range(20)])
    (shift,) = shifts(tmp_path, one, one)
    assert (shift.test.mean, shift.test.p_value, shift.is_finding) == (0.0, 1.0, False)
