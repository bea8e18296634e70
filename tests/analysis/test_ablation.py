"""What tables of ablations claim, from answers made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from gilot_plugin.analysis.ablation import ablation_table
from gilot_plugin.analysis.ablation_words import judged_words, readings, verdict_line
from tests.analysis.ablations import make_ablation

_ALL, _NONE = [1.0] * 20, [0.0] * 20


def test_a_score_that_falls_is_told_with_its_exact_p_value() -> None:
    found = make_ablation({"full": _ALL, "without shots": [1.0] * 10 + [0.0] * 10})
    (change,) = ablation_table([found]).changes
    assert (change.full, change.score, change.difference) == (1.0, 0.5, -0.5)
    assert change.test == "McNemar"
    assert change.p_value == pytest.approx(2 * 0.5**10)
    interval = scipy.stats.t.interval(0.95, 19, -0.5, np.std([0] * 10 + [1] * 10, ddof=1) / 20**0.5)
    assert (change.low, change.high) == pytest.approx(interval)
    assert change.same == 0.5
    assert change.is_finding
    assert list(readings(ablation_table([found]))) == [
        "films: acc falls from 1 to 0.5 without the examples (adjusted p = 0.002).",
        "films: 50% of the answers are the same without the examples.",
    ]


def test_chance_is_no_finding() -> None:
    chance = np.random.default_rng(0)
    arms = {f"arm {number}": chance.integers(0, 2, 60).astype(float).tolist() for number in range(20)}
    found = make_ablation({"full": chance.integers(0, 2, 60).astype(float).tolist(), **arms})
    assert not any(change.is_finding for change in ablation_table([found]).changes)


def test_other_numbers_are_tested_by_flipped_signs() -> None:
    before = np.linspace(0.1, 0.9, 30)
    found = make_ablation(
        {"full": before.tolist(), "without question": (before - 0.1).tolist()}, metric="f1,none", choices=None
    )
    (change,) = ablation_table([found]).changes
    assert change.test == "sign flip"
    assert change.is_finding
    assert change.guessing is None


def test_answers_that_belong_together_count_as_one() -> None:
    clusters = [str(number // 10) for number in range(20)]
    found = make_ablation({"full": _ALL, "without shots": _NONE}, clusters=clusters)
    (change,) = ablation_table([found]).changes
    assert change.test == "sign flip of clusters"
    assert not change.is_finding
    assert judged_words(change) == "too few differ"


def test_only_what_is_left_without_a_question_is_held_against_guessing() -> None:
    found = make_ablation({"full": _ALL, "without shots": _ALL, "without question": [1.0] * 18 + [0.0] * 2})
    shots, question = ablation_table([found]).changes
    assert shots.guessing is None
    assert judged_words(shots) == "nothing changed"
    assert question.guessing is not None
    assert question.guessing.p_value == pytest.approx(scipy.stats.binom.sf(17, 20, 0.5))
    assert question.guessing.is_finding
    assert not question.is_finding


def test_what_failed_or_was_not_asked_to_the_end_is_told() -> None:
    found = make_ablation({"full": _ALL, "without shots": _NONE}, failed={"broken": "ValueError: no"})
    del found.arms["without shots"]
    table = ablation_table([found])
    assert [(left.arm, left.reason) for left in table.left_out] == [
        ("without shots", "not asked to the end: repeat the command, and it goes on"),
        ("broken", "ValueError: no"),
    ]
    assert verdict_line(table) == ""


def test_a_score_that_is_no_mean_is_tested_by_its_jackknife() -> None:
    found = make_ablation({"full": _ALL, "without shots": _ALL}, metric="perplexity,none")
    for arm, value in (("full", 3.0), ("without shots", 9.0)):
        score = found.arms[arm].scores[0]
        changed = score.model_copy(
            update={"value": value, "is_mean": False, "change_stderr": 1.0 if value > 3 else None}
        )
        found.arms[arm] = found.arms[arm].model_copy(update={"scores": (changed,)})
    (change,) = ablation_table([found]).changes
    assert (change.test, change.difference) == ("jackknife", 6.0)
    assert change.p_value == pytest.approx(2 * scipy.stats.t.sf(6.0, 19))
    assert change.is_finding
