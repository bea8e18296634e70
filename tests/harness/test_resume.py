"""A run that was killed, whenever that was, goes on where it stopped and ends as if nothing had happened."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pytest

from gilot_plugin.artifacts.reader import read_run
from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.errors import ConfigError
from gilot_plugin.harness.attach import attach
from gilot_plugin.hookspecs import hookimpl
from tests.harness.evaluations import (
    ANSWERS,
    CHEAP,
    ENDINGS,
    artifacts_in,
    explain,
    manifest_in,
    numbers,
    save,
    tracked,
)
from tests.harness.killed import evaluate_and_save, kill_at_call

TASKS = (ANSWERS, ENDINGS)


def lines_in(folder: Path) -> dict[tuple[str, int], bytes]:
    """Whole lines on the disk, by task and document."""
    found = {}
    for path in folder.rglob("attributions_*.jsonl"):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                record = json.loads(line)
                found[record["task"], record["doc_id"]] = line
    return found


def without_reasons_to_differ(folder: Path) -> tuple[Any, ...]:
    """What an undisturbed run leaves: everything but dates and seconds."""
    manifest = manifest_in(folder)
    tasks = {name: {**entry, "file": None} for name, entry in manifest["tasks"].items()}
    order = [
        [(record["task"], record["doc_id"]) for record in map(json.loads, path.read_text().splitlines())]
        for path in sorted(folder.rglob("attributions_*.jsonl"), key=lambda path: path.name.split("_")[1])
    ]
    return manifest["status"], tasks, order, len(artifacts_in(folder))


def assert_same_numbers(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Samples that are explained together share passes, which may move the last digits."""
    assert found["scores"].keys() == wanted["scores"].keys()
    for name, values in wanted["scores"].items():
        assert found["scores"][name] == pytest.approx(values, abs=1e-5)
    for key in ("task", "doc_id", "doc_hash", "prompt_tokens", "units", "metrics", "config_hash", "status"):
        assert found[key] == wanted[key]


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, model_dir: Path, forked: BaseContext
) -> tuple[Path, float]:
    """Folder of a run that nobody killed, and the seconds it took."""
    run_to_end(forked, model_dir, tmp_path_factory.mktemp("first"))  # imports what the next one finds imported
    folder = tmp_path_factory.mktemp("undisturbed")
    started = time.monotonic()
    run_to_end(forked, model_dir, folder)
    return folder, time.monotonic() - started


@pytest.fixture(scope="module")
def forked() -> Iterator[BaseContext]:
    """Starts processes that have imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.harness.killed"])
    yield context


def run_to_end(forked: BaseContext, model_dir: Path, folder: Path, resume: bool = False) -> None:
    process = forked.Process(target=evaluate_and_save, args=(model_dir, folder, resume))
    process.start()
    process.join(60)
    assert process.exitcode == 0


def assert_resumes(forked: BaseContext, model_dir: Path, folder: Path, undisturbed: Path) -> int:
    """Resume what is in the folder; returns how many records were there before."""
    before = lines_in(folder)
    run_to_end(forked, model_dir, folder, resume=folder.exists())
    after = lines_in(folder)
    assert {key: after[key] for key in before} == before
    assert validate_path(folder).problems == ()
    assert without_reasons_to_differ(folder) == without_reasons_to_differ(undisturbed)
    for found, wanted in zip(read_run(folder).records, read_run(undisturbed).records, strict=True):
        assert_same_numbers(found, wanted)
    return len(before)


def test_killed_at_twenty_random_moments(
    tmp_path: Path, model_dir: Path, forked: BaseContext, undisturbed: tuple[Path, float]
) -> None:
    """SIGKILL, which no process can prepare for."""
    moments = random.Random(5)
    found = []
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        process = forked.Process(target=evaluate_and_save, args=(model_dir, folder, False))
        process.start()
        process.join(undisturbed[1] * moments.random())
        killed = process.is_alive()
        if killed and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        found.append((killed, assert_resumes(forked, model_dir, folder, undisturbed[0])))
    assert sum(killed for killed, _ in found) > 10


def test_killed_before_each_change_on_the_disk(
    tmp_path: Path, model_dir: Path, forked: BaseContext, undisturbed: tuple[Path, float]
) -> None:
    """Between any two of them, artifacts can be read and the run can be resumed."""
    counted = forked.Value("i", 0)
    process = forked.Process(target=kill_at_call, args=(model_dir, tmp_path / "counted", None, counted))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    kept = set()
    for call in range(counted.value):
        folder = tmp_path / str(call)
        process = forked.Process(target=kill_at_call, args=(model_dir, folder, call, counted))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        if folder.exists() and artifacts_in(folder):
            read_run(folder)
        kept.add(assert_resumes(forked, model_dir, folder, undisturbed[0]))
        shutil.rmtree(folder)
    assert kept == set(range(9))
