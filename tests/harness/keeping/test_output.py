"""Artifacts stand beside lm-eval's own files, with the same date in their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lm_eval
import lm_eval.evaluator
import pytest

from gilot_plugin.artifacts.reader import read_run
from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.harness.entry.attach import attach
from tests.harness.evaluations import (
    ANSWERS,
    CHEAP,
    artifacts_in,
    manifest_in,
    save,
    suite_manager,
    tracked,
)


@pytest.mark.parametrize("name", ["results", "results/file.json"])
def test_artifacts_have_the_folder_and_date_of_the_samples(
    make_lm: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    with attach(CHEAP):
        tracker, results = tracked(make_lm(), tmp_path / name)
        date = save(tracker, results)
    folder = tmp_path / "results" if name.endswith(".json") else tmp_path / "results" / "tiny__llama"
    assert (folder / f"samples_answers_{date}.jsonl").exists()
    assert artifacts_in(tmp_path) == {
        f"attributions_answers_{date}.jsonl",
        f"attributions_manifest_{date}.json",
    }
    run = read_run(folder)
    assert len(run.records) == 4
    assert run.records[0]["model"] == "tiny/llama"
    assert manifest_in(folder)["date"] == date
    assert validate_path(tmp_path).problems == ()


def test_each_evaluation_gets_the_date_of_its_own_tracker(
    make_lm: Callable[..., Any], tmp_path: Path
) -> None:
    with attach(CHEAP):
        evaluations = [tracked(make_lm(), tmp_path / name) for name in ("first", "second")]
        dates = [save(tracker, results) for tracker, results in evaluations]
    for name, date in zip(("first", "second"), dates, strict=True):
        assert artifacts_in(tmp_path / name) == {
            f"attributions_answers_{date}.jsonl",
            f"attributions_manifest_{date}.json",
        }
    assert validate_path(tmp_path).problems == ()


def test_later_evaluation_without_a_tracker_writes_nothing(
    make_lm: Callable[..., Any], tmp_path: Path
) -> None:
    with attach(CHEAP) as attachment:
        save(*tracked(make_lm(), tmp_path))
        written = artifacts_in(tmp_path)
        loaded = suite_manager().load([ANSWERS])
        lm_eval.evaluator.evaluate(lm=make_lm(), task_dict=loaded, bootstrap_iters=0)
    assert attachment.runs[1].files.folder is None
    assert artifacts_in(tmp_path) == written


def test_folder_of_the_settings_wins(make_lm: Callable[..., Any], tmp_path: Path) -> None:
    with attach({**CHEAP, "output_path": tmp_path / "own"}):
        date = save(*tracked(make_lm(), tmp_path / "results"))
    assert artifacts_in(tmp_path / "results") == set()
    assert artifacts_in(tmp_path / "own") == {
        f"attributions_answers_{date}.jsonl",
        f"attributions_manifest_{date}.json",
    }


def test_artifacts_that_cannot_be_renamed_do_not_lose_the_samples(
    make_lm: Callable[..., Any], tmp_path: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    replace = Path.replace

    def refuse(path: Path, target: Path) -> Path:
        if path.suffix == ".jsonl":
            raise OSError("the disk is gone")
        return replace(path, target)

    with attach(CHEAP):
        monkeypatch.setattr("gilot_plugin.harness.entry.attach.save_scores", lambda *_, **__: None)
        tracker, results = tracked(make_lm(), tmp_path)
        monkeypatch.setattr(Path, "replace", refuse)
        date = save(tracker, results)
    assert (tmp_path / "tiny__llama" / f"samples_answers_{date}.jsonl").exists()
    assert "the disk is gone" in caplog.text
    assert len(artifacts_in(tmp_path)) == 2


def test_artifacts_that_cannot_be_renamed_at_first_are_explained(
    make_lm: Callable[..., Any], tmp_path: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("the disk is slow")

    with attach(CHEAP) as attachment:
        monkeypatch.setattr("gilot_plugin.harness.keeping.output.rename_run", refuse)
        date = save(*tracked(make_lm(), tmp_path))
    assert not attachment.interrupted
    assert "the disk is slow" in caplog.text
    assert (tmp_path / "tiny__llama" / f"samples_answers_{date}.jsonl").exists()
    assert len(read_run(tmp_path).records) == 4
