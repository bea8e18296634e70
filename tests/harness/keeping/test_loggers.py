"""Attributions arrive where lm-eval logs its scores, and in what it pushes to the hub."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lm_eval.loggers
import pytest
from lm_eval.loggers import EvaluationTracker, WandbLogger

from gilot_plugin.harness.entry.attach import attach
from gilot_plugin.reports.tables import COLUMNS
from tests.harness.evaluations import ANSWERS, CHEAP, artifacts_in, evaluate, save

pytestmark = pytest.mark.lm_eval


class Rejecting:
    """A table or a log that cannot be made."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("no tables today")


@pytest.fixture
def wandb_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where wandb's offline mode writes."""
    for name, value in (("MODE", "offline"), ("DIR", str(tmp_path)), ("SILENT", "true")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    return tmp_path


def log(logger: Any, results: Any) -> None:
    """As lm-eval's command does it."""
    logger.post_init(results)
    logger.log_eval_result()


def test_wandb(make_lm: Callable[..., Any], wandb_files: Path) -> None:
    with attach(CHEAP):
        results = evaluate(make_lm(), [ANSWERS])
        logger = WandbLogger({"project": "evaluations"})
        log(logger, results)
        summary = dict(logger.run.summary)
        logger.run.finish()
    assert summary["answers/exact_match"] == results["results"]["answers"]["exact_match,none"]
    assert summary["gilot/answers/ok"] == 4
    assert summary["gilot/answers/share/question"] == pytest.approx(1.0)
    (path,) = wandb_files.rglob("attributions_*.table.json")
    table = json.loads(path.read_text())
    assert table["columns"] == list(COLUMNS)
    assert [row[:3] for row in table["data"]] == [["answers", doc_id, "ok"] for doc_id in range(4)]
    assert "What is the capital of France?" in table["data"][0][4]
    (page,) = wandb_files.rglob("heat_maps_*.html")
    assert page.read_text().count('class="heat"') == 4


@pytest.mark.lm_eval(since="0.4.12")
def test_trackio(make_lm: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trackio = pytest.importorskip("trackio")
    logged: list[dict[str, Any]] = []
    write = trackio.log
    monkeypatch.setattr(
        trackio, "log", lambda values, **named: (logged.append(values), write(values, **named))
    )
    for module in ("utils", "sqlite_storage"):
        monkeypatch.setattr(f"trackio.{module}.TRACKIO_DIR", tmp_path, raising=False)
    for module in ("utils", "media.media", "run"):
        monkeypatch.setattr(f"trackio.{module}.MEDIA_DIR", tmp_path / "media", raising=False)
    with attach(CHEAP):
        results = evaluate(make_lm(), [ANSWERS])
        logger = lm_eval.loggers.TrackioLogger({"project": "evaluations"})
        log(logger, results)
        logger.finish()
    numbers, table, heat_maps = logged[-3:]
    assert numbers["gilot/answers/ok"] == 4
    frame = table["gilot/attributions"].data if hasattr(table["gilot/attributions"], "data") else None
    assert frame is not None
    assert len(frame) == 4
    assert isinstance(heat_maps["gilot/heat_maps"], trackio.Html)
    (page,) = [path for path in tmp_path.rglob("*.html") if 'class="heat"' in path.read_text()]
    assert page.read_text().count("capital of France?</span>") >= 1
    with sqlite3.connect(next(tmp_path.rglob("evaluations.db"))) as base:
        stored = " ".join(str(row) for row in base.execute("select * from metrics"))
    assert "gilot/answers/ok" in stored
    assert "What is the capital of France?" in stored or list(tmp_path.rglob("*.parquet"))


def test_logger_that_fails_stops_nothing(
    make_lm: Callable[..., Any],
    wandb_files: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("wandb.Table", Rejecting)
    monkeypatch.setattr(WandbLogger, "_log_results_as_table", lambda self: None)
    with attach(CHEAP):
        results = evaluate(make_lm(), [ANSWERS])
        logger = WandbLogger({"project": "evaluations"})
        log(logger, results)
        logger.run.finish()
    assert "attributions are not logged with WandbLogger: RuntimeError('no tables today')" in caplog.text


class Hub:
    """Takes the place of the hub: remembers what lies in the folder that is pushed."""

    def __init__(self) -> None:
        self.pushed: list[set[str]] = []
        self.results: list[tuple[str, bytes]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda **_: None

    def upload_file(self, *, path_or_fileobj: str, path_in_repo: str, **_: Any) -> None:
        self.results.append((path_in_repo, Path(path_or_fileobj).read_bytes()))

    def upload_folder(self, *, folder_path: str, **_: Any) -> None:
        self.pushed.append({path.name for path in Path(folder_path).iterdir()})


def test_samples_that_are_pushed_come_with_attributions(make_lm: Callable[..., Any], tmp_path: Path) -> None:
    hub = Hub()
    tracker = EvaluationTracker(output_path=str(tmp_path))
    tracker.api, tracker.public_repo, tracker.gated_repo = hub, False, False
    tracker.push_results_to_hub = tracker.push_samples_to_hub = True
    tracker.results_repo_private = tracker.details_repo_private = "someone/details"
    with attach(CHEAP):
        results = evaluate(
            make_lm(), [ANSWERS], evaluation_tracker=tracker, model_args="pretrained=tiny/llama"
        )
        assert hub.pushed == hub.results == []
        date = save(tracker, results)
    (pushed,) = hub.pushed
    assert {f"attributions_answers_{date}.jsonl", f"attributions_manifest_{date}.json"} <= pushed
    assert artifacts_in(tmp_path) | {f"samples_answers_{date}.jsonl", f"results_{date}.json"} == pushed
    ((name, content),) = hub.results
    assert name == f"tiny/llama/results_{date}.json"
    assert content == (tmp_path / "tiny__llama" / f"results_{date}.json").read_bytes()
