"""Two processes never write the files of one run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pytest

from gilot_plugin.artifacts.finding import locate_run
from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.errors import ConfigError
from gilot_plugin.harness.entry.attach import attach
from gilot_plugin.harness.keeping.locking import locked
from gilot_plugin.hookspecs import hookimpl
from tests.harness.evaluations import ANSWERS, CHEAP, explain, save, tracked
from tests.harness.processes import evaluate_and_wait

DATE = "2026-05-17T09-30-00.123456"


class Onlooker:
    """Tries to resume the run while its samples are explained."""

    def __init__(self, attempt: Callable[[], Any]) -> None:
        self.told: list[str] = []
        self._attempt = attempt

    @hookimpl
    def gilot_record_written(self) -> None:
        if not self.told:
            with pytest.raises(ConfigError) as refused:
                self._attempt()
            self.told.append(str(refused.value))


def attempt(folder: Path) -> None:
    place, date = locate_run(folder)
    with locked(place, date):
        pass


def test_one_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path, DATE):
        with pytest.raises(ConfigError, match="another process is at work"), locked(tmp_path, DATE):
            pass
        with locked(tmp_path, DATE.replace("2026", "2027")):
            pass
    with locked(tmp_path, DATE):
        pass
    assert list(tmp_path.iterdir()) == []


def test_run_is_held_under_its_old_and_its_new_date(
    make_lm: Callable[..., Any], tmp_path: Path, plugged: Callable[[Any], Any]
) -> None:
    onlooker = plugged(Onlooker(lambda: attempt(tmp_path)))
    with attach(CHEAP):
        save(*tracked(make_lm(), tmp_path))
        attempt(tmp_path)
    assert len(onlooker.told) == 1
    assert [path.name for path in tmp_path.rglob(".*")] == []


def test_run_without_files_of_lm_eval_is_held_and_let_go(
    make_lm: Callable[..., Any], tmp_path: Path, plugged: Callable[[Any], Any]
) -> None:
    onlooker = plugged(Onlooker(lambda: attempt(tmp_path)))
    explain(make_lm(), [ANSWERS], CHEAP, tmp_path)
    assert len(onlooker.told) == 1
    attempt(tmp_path)
    with pytest.raises(ConfigError, match="other settings"):
        explain(make_lm(), [ANSWERS], {**CHEAP, "num_beams": 3, "resume": tmp_path}, tmp_path)
    attempt(tmp_path)
    assert list(tmp_path.rglob(".*")) == []


def test_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with locked(tmp_path, DATE):
        assert "no locks available" in caplog.text


def test_second_process_is_refused_while_the_first_lives(
    make_lm: Callable[..., Any], tmp_path: Path, model_dir: Path, forked: BaseContext
) -> None:
    """And when the first is killed, its lock is gone with it."""
    folder = tmp_path / "run"
    stands = forked.Event()
    first = forked.Process(target=evaluate_and_wait, args=(model_dir, folder, stands))  # type: ignore[attr-defined]
    first.start()
    assert stands.wait(60)
    before = {path: path.read_bytes() for path in folder.rglob("*.json*")}
    resumed = {**CHEAP, "methods": ["l2"], "resume": folder}
    with pytest.raises(ConfigError, match="another process is at work"), attach(resumed):
        tracked(make_lm(), folder)
    assert first.is_alive()
    assert {path: path.read_bytes() for path in folder.rglob("*.json*")} == before
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    assert list(folder.rglob(".attributions_*.lock")) != []
    with attach(resumed):
        tracker, results = tracked(make_lm(), folder)
        save(tracker, results)
    assert validate_path(folder).problems == ()
