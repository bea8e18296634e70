"""Other attribution methods in an evaluation, beside GiLOT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.errors import ConfigError
from tests.harness.evaluations import ANSWERS, ENDINGS, essence, evaluate, explain

METHODS = ["ot", "lime", "integrated_gradients", "attention_rollout", "random"]


def test_scores_beside_those_of_gilot(make_lm: Callable[..., Any], tmp_path: Path) -> None:
    tasks = [ANSWERS, ENDINGS]
    settings = {"methods": METHODS, "units": "word", "select": {"strategy": "first", "n": 2}}
    lm = make_lm()
    plain = evaluate(lm, tasks)
    explained, run = explain(lm, tasks, settings, tmp_path)
    assert essence(explained) == essence(plain)
    assert run.status == "complete"
    assert [record["status"] for record in run.records] == ["ok"] * 4
    for record in run.records:
        expected = [*METHODS, "margin"] if record["task"] == "endings" else METHODS
        assert list(record["scores"]) == expected
        assert all(len(scores) == len(record["units"]) for scores in record["scores"].values())
        assert set(METHODS[1:]) <= set(record["diagnostics"]["seconds"])
    report = validate_path(tmp_path)
    assert (report.records, report.problems) == (4, ())
    again, second = explain(lm, tasks, settings)
    for record, other in zip(run.records, second.records, strict=True):
        for name in METHODS:
            assert other["scores"][name] == pytest.approx(record["scores"][name], rel=1e-5, abs=1e-5)
    assert essence(again) == essence(plain)


def test_without_gilot(make_lm: Callable[..., Any]) -> None:
    _, run = explain(make_lm(), [ANSWERS], {"methods": ["feature_ablation", "random"], "units": "word"})
    assert [record["status"] for record in run.records] == ["ok"] * 4
    rankings = {tuple(record["scores"]["random"]) for record in run.records}
    assert len(rankings) == 4


def test_a_method_that_the_model_cannot_have_stops_the_run_at_its_start(
    make_lm: Callable[..., Any], make_tiny_model: Callable[..., Any]
) -> None:
    lm = make_lm(make_tiny_model("mamba"), max_length=64)
    asked: list[int] = []
    lm.generate_until = lambda requests, **_: asked.append(len(requests))  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="'attention_rollout' cannot explain this model"):
        explain(lm, [ANSWERS], {"methods": ["ot", "attention_rollout"]})
    assert not asked
