"""Half-precision runs say how much their scores move by themselves."""

from __future__ import annotations

import copy
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from gilot_plugin.artifacts.loading import load_run
from gilot_plugin.artifacts.reader import read_run
from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.reports.html.samples import sample_view
from gilot_plugin.reports.terminal import show_run
from tests.harness.evaluations import QUESTIONS, explain, generation_task


def floors(run: Any) -> list[Any]:
    return [record["diagnostics"]["noise_floor"] for record in run.records]


def in_half_precision(lm: Any) -> Any:
    # A copy: the tiny models are shared by all tests.
    lm._model = copy.deepcopy(lm.model).to(torch.bfloat16)
    return lm


def test_in_half_precision(make_lm: Callable[..., Any], tmp_path: Path) -> None:
    lm = in_half_precision(make_lm())
    _, run = explain(lm, [generation_task("answers", QUESTIONS)], output_path=tmp_path)
    assert validate_path(tmp_path).problems == ()
    found = floors(run)
    assert found[0]["scores"].keys() == run.records[0]["scores"].keys()
    # The first three samples, and what they say holds for those after them.
    measured = [floor["measured"] for floor in found]
    assert 0 < measured[0] < measured[1] < measured[2] == measured[3] <= 18
    assert found[3] == found[2]
    timed = ["noise_floor" in record["diagnostics"]["seconds"] for record in run.records]
    assert timed == [True, True, True, False]
    # What is below is marked.
    record = load_run(tmp_path).records[3]
    below = record.below_floor("ot")
    assert list(below) == [
        unit for unit, score in enumerate(record.scores["ot"]) if score <= found[3]["scores"]["ot"]
    ]
    console = Console(file=StringIO(), width=150)
    show_run(read_run(tmp_path), console)
    assert "cannot be told from 0" in console.file.getvalue()
    view = sample_view(record, None)
    assert view["noise"].get("ot", []) == list(below)
    assert any(name == "noise" and "scores by ot" in words for name, words in view["facts"])


def test_in_single_precision_only_if_asked(make_lm: Callable[..., Any]) -> None:
    lm, task = make_lm(), generation_task("answers", QUESTIONS[:2])
    _, run = explain(lm, [task])
    assert floors(run) == [None, None]
    _, asked = explain(lm, [task], {"noise_floor": True})
    assert max(floors(asked)[1]["scores"].values()) < 1e-5
    for one, other in zip(run.records, asked.records, strict=True):
        for method, scores in one["scores"].items():
            assert other["scores"][method] == pytest.approx(scores, abs=1e-5)
        assert one["config_hash"] == other["config_hash"]


def test_never_if_not_wanted(make_lm: Callable[..., Any]) -> None:
    lm = in_half_precision(make_lm())
    _, run = explain(lm, [generation_task("answers", QUESTIONS[:1])], {"noise_floor": False})
    assert floors(run) == [None]


def test_scores_outlive_a_failure(make_lm: Callable[..., Any], monkeypatch: Any, caplog: Any) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("not today")

    monkeypatch.setattr("gilot_plugin.harness.explaining.plugin.remeasure", fail)
    _, run = explain(make_lm(), [generation_task("answers", QUESTIONS[:1])], {"noise_floor": True})
    assert [record["status"] for record in run.records] == ["ok"]
    assert floors(run) == [None]
    assert "not today" in caplog.text
