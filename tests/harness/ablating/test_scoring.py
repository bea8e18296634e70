"""Scores of arms, by lm-eval's own aggregation."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import lm_eval.api.metrics
import numpy as np
import pytest

from gilot_plugin.artifacts.ablations import JACKKNIFE_GROUPS, SampleLine
from gilot_plugin.harness.ablating.scoring import arm_scores

pytestmark = pytest.mark.lm_eval


def _lines(values: list[Any], arm: str = "arm") -> list[SampleLine]:
    return [
        SampleLine(
            **{"arm": arm, "doc_id": number, "doc_hash": "", "prompt_hash": "", "changed": True},
            answers={},
            metrics={"m,none": value},
        )
        for number, value in enumerate(values)
    ]


def _task(aggregate: Any) -> Any:
    return SimpleNamespace(aggregation=lambda: {"m": aggregate}, higher_is_better=lambda: {"m": False})


def test_a_mean_has_lm_evals_own_stderr() -> None:
    values = [0.0, 1.0, 1.0, 0.5]
    (score,) = arm_scores(_task(lm_eval.api.metrics.mean), _lines(values))
    assert score.value == 0.625
    assert score.stderr == lm_eval.api.metrics.mean_stderr(values)
    assert (score.is_mean, score.higher_is_better, score.change_stderr) == (True, False, None)


def test_what_is_no_mean_has_the_stderr_of_its_change_by_a_jackknife() -> None:
    generator = np.random.default_rng(0)
    before = generator.normal(-3, 1, 20)
    after = before - generator.normal(0.5, 0.3, 20)
    (score,) = arm_scores(
        _task(lm_eval.api.metrics.perplexity), _lines(after.tolist()), _lines(before.tolist())
    )
    assert score.value == pytest.approx(math.exp(-after.mean()))
    assert not score.is_mean
    # By the delta method: exp(-mean) moves by itself times the mean.
    slopes = math.exp(-after.mean()) * after - math.exp(-before.mean()) * before
    assert score.change_stderr == pytest.approx(slopes.std(ddof=1) / 20**0.5, rel=0.15)


def test_of_a_sum_of_equal_groups_the_jackknife_is_exact() -> None:
    generator = np.random.default_rng(1)
    before, after = generator.normal(0, 1, (2, JACKKNIFE_GROUPS))
    average = _task(lambda items: sum(items) / len(items))
    (score,) = arm_scores(average, _lines(after.tolist()), _lines(before.tolist()))
    expected = (after - before).std(ddof=1) / JACKKNIFE_GROUPS**0.5
    assert score.change_stderr == pytest.approx(expected)


def test_pairs_and_numbers_that_json_has_not_come_back() -> None:
    found = arm_scores(_task(lambda items: max(first for first, _ in items)), _lines([[1, "a"], [4, "b"]]))
    assert found[0].value == 4
    assert arm_scores(_task(lm_eval.api.metrics.mean), _lines(["NaN", 1.0])) == ()
