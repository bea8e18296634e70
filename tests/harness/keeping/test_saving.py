"""Scores and samples lie on the disk before the first attribution, as a plain run writes them."""

from __future__ import annotations

import contextlib
import json
import random
import signal
from collections.abc import Callable
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import lm_eval.evaluator
import pytest
import torch
from lm_eval.loggers import EvaluationTracker

from gilot_plugin.artifacts.reader import read_run
from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.harness.entry.attach import attach
from gilot_plugin.hookspecs import hookimpl
from tests.harness.evaluations import (
    _CIRCUMSTANCES,
    ANSWERS,
    CHEAP,
    evaluate,
    manifest_in,
    save,
    tracked,
)
from tests.harness.processes import evaluate_and_save_plainly, evaluate_under_signals


def saved(folder: Path) -> dict[str, Any]:
    """lm-eval's files below a folder by their names without dates; dates and attributions are left out."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*.json*"):
        name = path.name.rpartition("_")[0]
        if path.name.startswith("samples_"):
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            for row in rows:
                row.pop("gilot", None)
            found[name] = [json.dumps(row) for row in rows]
        elif path.name.startswith(("results_", "file_")):
            results = json.loads(path.read_text())
            found[name] = json.dumps(
                {key: value for key, value in results.items() if key not in _CIRCUMSTANCES}
            )
    return found


class Onlooker:
    """Notes what lies in a folder when the first sample is about to be explained."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: dict[str, bytes] = {}
        self.saved: dict[str, Any] = {}

    @hookimpl
    def gilot_attribute_samples(self) -> None:
        if not self.found:
            self.found = {path.name: path.read_bytes() for path in self.folder.rglob("*.json*")}
            self.saved = saved(self.folder)


@pytest.mark.parametrize("name", ["results", "results/file.json"])
def test_files_of_a_plain_run_are_there_first(
    make_lm: Callable[..., Any], tmp_path: Path, plugged: Callable[[Any], Any], name: str
) -> None:
    save(*tracked(make_lm(), tmp_path / "plain" / name))
    onlooker = plugged(Onlooker(tmp_path / "own"))
    with attach(CHEAP):
        tracker, results = tracked(make_lm(), tmp_path / "own" / name)
        early = tracker.date_id
        assert save(tracker, results) == early
    plain = saved(tmp_path / "plain")
    assert onlooker.saved == plain
    assert saved(tmp_path / "own") == plain
    (path,) = (tmp_path / "own").rglob("samples_*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["gilot"]["doc_id"] for row in rows] == [0, 1, 2, 3]
    # No second set of files, and not one byte of the results has changed since, times included.
    final = {path.name: path.read_bytes() for path in (tmp_path / "own").rglob("*.json*")}
    assert {name for name in onlooker.found if not name.startswith("attributions_")} == {
        name for name in final if not name.startswith("attributions_")
    }
    (aggregated,) = (name for name in final if name.startswith(("results_", "file_")))
    assert final[aggregated] == onlooker.found[aggregated]
    assert list((tmp_path / "own").rglob(".*")) == []


def test_samples_that_were_not_asked_for_are_not_written(
    make_lm: Callable[..., Any], tmp_path: Path, plugged: Callable[[Any], Any]
) -> None:
    onlooker = plugged(Onlooker(tmp_path))
    with attach(CHEAP):
        tracker = EvaluationTracker(output_path=str(tmp_path))
        results = evaluate(
            make_lm(),
            [ANSWERS],
            evaluation_tracker=tracker,
            model_args="pretrained=tiny/llama",
            log_samples=False,
        )
        tracker.save_results_aggregated(results=results)
    assert set(onlooker.saved) == set(saved(tmp_path)) == {"results"}
    assert "samples" not in results
    assert len(read_run(tmp_path).records) == 4


def test_caller_that_changes_results_before_saving_them(make_lm: Callable[..., Any], tmp_path: Path) -> None:
    with attach(CHEAP):
        tracker, results = tracked(make_lm(), tmp_path)
        results["config"]["note"] = "added later"
        save(tracker, results)
    (path,) = tmp_path.rglob("results_*.json")
    assert json.loads(path.read_text())["config"]["note"] == "added later"


def test_tracker_that_is_used_twice(make_lm: Callable[..., Any], tmp_path: Path) -> None:
    with attach(CHEAP):
        tracker, results = tracked(make_lm(), tmp_path)
        first = save(tracker, results)
        results = evaluate(
            make_lm(), [ANSWERS], evaluation_tracker=tracker, model_args="pretrained=tiny/llama"
        )
        second = save(tracker, results)
    assert first != second
    for kind in ("results", "samples", "attributions_manifest"):
        assert {path.name.rpartition("_")[2][: len(first)] for path in tmp_path.rglob(f"{kind}_*")} == {
            first,
            second,
        }


def test_disk_that_is_full_before_the_samples_are_explained(
    make_lm: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a file is none; lm-eval tries once more at its own time."""
    write = Path.write_text

    def fail(path: Path, text: str, *args: Any, **kwargs: Any) -> int:
        write(path, text[:100])
        raise OSError("no space left on device")

    with attach(CHEAP):
        monkeypatch.setattr(Path, "write_text", fail)
        tracker, results = tracked(make_lm(), tmp_path)
        assert saved(tmp_path) == {}
        monkeypatch.setattr(Path, "write_text", write)
        save(tracker, results)
    assert set(saved(tmp_path)) == {"results", "samples_answers"}
    assert validate_path(tmp_path).problems == ()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ZeroDivisionError])
@pytest.mark.parametrize(
    "hook",
    [
        "gilot_select_samples",
        "gilot_attribute_samples",
        "gilot_write_record",
        "gilot_record_written",
        "gilot_run_finished",
    ],
)
def test_whatever_a_hook_raises(
    make_lm: Callable[..., Any],
    tmp_path: Path,
    plugged: Callable[[Any], Any],
    hook: str,
    error: type[BaseException],
) -> None:
    save(*tracked(make_lm(), tmp_path / "plain"))

    def fail(self: Any) -> Any:
        raise error(hook)

    plugged(type("Broken", (), {hook: hookimpl(fail)})())
    with attach(CHEAP), contextlib.suppress(KeyboardInterrupt, SystemExit):
        save(*tracked(make_lm(), tmp_path / "own"))
    assert saved(tmp_path / "own") == saved(tmp_path / "plain")


def test_gpu_that_is_broken(
    make_lm: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an illegal access, every call of CUDA raises."""

    def fail() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with attach(CHEAP) as attachment:
        monkeypatch.setattr(torch.cuda, "empty_cache", fail)
        tracker, results = tracked(make_lm(), tmp_path)
        save(tracker, results)
    assert not attachment.interrupted
    assert set(saved(tmp_path)) == {"results", "samples_answers"}


def test_ctrl_c_while_scores_are_saved_and_prompts_rebuilt(
    make_lm: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    save(*tracked(make_lm(), tmp_path / "plain"))
    for number, name in enumerate(("save_scores", "rebuild_parts")):
        with monkeypatch.context() as patch, attach(CHEAP) as attachment:
            patch.setattr(f"gilot_plugin.harness.entry.attach.{name}", lambda *_, **__: interrupt())
            tracker, results = tracked(make_lm(), tmp_path / str(number))
            save(tracker, results)
        assert attachment.interrupted
        assert saved(tmp_path / str(number)) == saved(tmp_path / "plain")
        assert manifest_in(tmp_path / str(number))["status"] == "interrupted"


def test_results_that_never_come_leave_no_artifacts(
    make_lm: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(lm_eval.evaluator, "get_git_commit_hash", fail)
    with attach(CHEAP), pytest.raises(ZeroDivisionError):
        tracked(make_lm(), tmp_path)
    assert list(tmp_path.rglob("attributions_*")) == []


def test_signals_while_samples_are_explained(tmp_path: Path, model_dir: Path, forked: BaseContext) -> None:
    """SIGKILL at twenty random moments, SIGTERM, Ctrl-C once, twice, and again and again."""
    moments = random.Random(11)
    signals: list[list[tuple[float, int]]] = [[(0.5 * moments.random(), signal.SIGKILL)] for _ in range(20)]
    signals += [[(0.1, signal.SIGTERM)], [(0.1, signal.SIGINT)]]
    signals += [[(0.1, signal.SIGINT), (pause, signal.SIGINT)] for pause in (0.001, 0.01, 0.05)]
    process = forked.Process(target=evaluate_and_save_plainly, args=(model_dir, tmp_path / "plain"))  # type: ignore[attr-defined]
    process.start()
    process.join(60)
    process = forked.Process(  # type: ignore[attr-defined]
        target=evaluate_under_signals, args=(model_dir, tmp_path / "own", tmp_path / "copies", signals)
    )
    process.start()
    process.join(120)
    assert process.exitcode == 0
    plain = saved(tmp_path / "plain")
    assert set(plain) == {"results", "samples_answers", "samples_endings"}
    copies = {
        int(path.name.partition("_")[0]): path.name.partition("_")[2]
        for path in (tmp_path / "copies").iterdir()
    }
    for number, code in copies.items():
        assert saved(tmp_path / "copies" / f"{number}_{code}") == plain
    assert len(copies) == len(signals)
    assert sum(copies[number] == str(-signal.SIGKILL) for number in range(20)) > 10
    assert copies[20] == str(-signal.SIGTERM)
    assert copies[21] == "0"  # Ctrl-C once stops the explanations, and lm-eval ends as usual
