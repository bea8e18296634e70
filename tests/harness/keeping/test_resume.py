"""A run that was killed, whenever that was, goes on where it stopped and ends as if nothing had happened."""

from __future__ import annotations

import json
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
import torch

from gilot_plugin.artifacts.reader import read_run
from gilot_plugin.artifacts.records import checksum
from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.artifacts.writer import record_line
from gilot_plugin.errors import ConfigError
from gilot_plugin.extension import Sample
from gilot_plugin.hookspecs import hookimpl
from tests.harness.evaluations import (
    ANSWERS,
    CHEAP,
    ENDINGS,
    artifacts_in,
    assert_same_numbers,
    explain,
    generation_task,
    lines_in,
    manifest_in,
    without_reasons_to_differ,
)
from tests.harness.processes import evaluate_and_save, kill_at_call

pytestmark = pytest.mark.lm_eval

TASKS = (ANSWERS, ENDINGS)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, model_dir: Path, forked: BaseContext
) -> tuple[Path, float]:
    """Folder of a run that nobody killed, and the seconds it took."""
    run_to_end(forked, model_dir, tmp_path_factory.mktemp("first"))  # does the imports
    folder = tmp_path_factory.mktemp("undisturbed")
    started = time.monotonic()
    run_to_end(forked, model_dir, folder)
    return folder, time.monotonic() - started


def run_to_end(forked: BaseContext, model_dir: Path, folder: Path, resume: bool = False) -> None:
    settings = {"resume": folder} if resume else {}
    process = forked.Process(target=evaluate_and_save, args=(model_dir, folder, settings))
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
        process = forked.Process(target=evaluate_and_save, args=(model_dir, folder, {}))
        process.start()
        process.join(undisturbed[1] * moments.random())
        killed = process.is_alive()
        if killed and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        found.append((killed, assert_resumes(forked, model_dir, folder, undisturbed[0])))
    assert sum(killed for killed, _ in found) > 10


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 11])
def test_killed_before_each_change_on_the_disk(
    tmp_path: Path, model_dir: Path, forked: BaseContext, undisturbed: tuple[Path, float], step: int
) -> None:
    """Between any two of them, artifacts can be read and the run can be resumed."""
    counted = forked.Value("i", 0)
    process = forked.Process(target=kill_at_call, args=(model_dir, tmp_path / "counted", None, counted))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    kept = set()
    for call in range(0, counted.value, step):
        folder = tmp_path / str(call)
        process = forked.Process(target=kill_at_call, args=(model_dir, folder, call, counted))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        if folder.exists() and artifacts_in(folder):
            read_run(folder)
        kept.add(assert_resumes(forked, model_dir, folder, undisturbed[0]))
        shutil.rmtree(folder)
    assert kept == set(range(9)) or step > 1


def interrupted(
    make_lm: Callable[..., Any], folder: Path, plugged: Callable[[Any], Any], **settings: Any
) -> None:
    """A run that stops after three of its eight samples."""

    class Impatient:
        """Presses Ctrl-C once."""

        records = 0

        @hookimpl
        def gilot_record_written(self) -> None:
            self.records += 1
            if self.records == 3:
                raise KeyboardInterrupt

    plugged(Impatient())
    explain(make_lm(), TASKS, {**CHEAP, **settings}, folder)


def resumed(make_lm: Callable[..., Any], folder: Path, **settings: Any) -> Any:
    return explain(make_lm(), TASKS, {**CHEAP, "resume": folder, **settings}, folder)


def test_only_what_is_missing_is_computed(
    make_lm: Callable[..., Any], tmp_path: Path, plugged: Callable[[Any], Any]
) -> None:
    interrupted(make_lm, tmp_path, plugged)
    before = lines_in(tmp_path)
    assert len(before) == 3
    explained = []

    class Observer:
        @hookimpl
        def gilot_attribute_samples(self, samples: Iterator[Sample]) -> Iterator[tuple[Sample, None]]:
            for sample in samples:
                explained.append((sample.identity.task, sample.identity.doc_id))
                yield sample, None

    plugged(Observer())
    results, run = resumed(make_lm, tmp_path)
    assert len(explained) == 5
    assert not set(explained) & set(before)
    assert all("gilot" in row for rows in results["samples"].values() for row in rows)
    assert [record["doc_id"] for record in run.records] == [0, 1, 2, 3, 0, 1, 2, 3]
    assert {key: lines_in(tmp_path)[key] for key in before} == before
    assert manifest_in(tmp_path)["status"] == "complete"


def test_failed_records_and_broken_lines_are_computed_again(
    make_lm: Callable[..., Any], tmp_path: Path, plugged: Callable[[Any], Any]
) -> None:
    explain(make_lm(), TASKS, CHEAP, tmp_path)
    (path,) = tmp_path.glob("attributions_answers_*.jsonl")
    first, second, third, fourth = path.read_bytes().splitlines(keepends=True)
    changed = json.loads(second)
    changed["scores"]["l2"][0] += 1.0  # its checksum does not hold any more
    failed = {**json.loads(third), "status": "failed", "reason": "out of memory"}
    failed["record_sha256"] = checksum(failed)
    path.write_bytes(b"".join([first, record_line(changed), record_line(failed), fourth[:-20]]))
    _, run = resumed(make_lm, tmp_path)
    assert path.read_bytes().splitlines(keepends=True)[0] == first
    assert [record["status"] for record in run.records] == ["ok"] * 8
    assert validate_path(tmp_path).problems == ()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"num_beams": 3}, "num_beams was 2 and is 3"),
        ({"methods": ["kl"]}, "methods was ['l2'] and is ['kl']"),
        ({"select": {"strategy": "first", "n": 2}}, "select was"),
    ],
)
def test_other_settings_are_refused_with_the_difference(
    make_lm: Callable[..., Any],
    tmp_path: Path,
    plugged: Callable[[Any], Any],
    settings: Mapping[str, Any],
    told: str,
) -> None:
    interrupted(make_lm, tmp_path, plugged)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match="had other settings") as caught:
        resumed(make_lm, tmp_path, **settings)
    assert told in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_how_the_work_is_spread_may_change(
    make_lm: Callable[..., Any], tmp_path: Path, plugged: Callable[[Any], Any]
) -> None:
    interrupted(make_lm, tmp_path, plugged)
    _, run = resumed(make_lm, tmp_path, batch_size=1, num_threads=2)
    assert run.status == "complete"


def test_other_models_and_tasks_are_refused(
    make_lm: Callable[..., Any],
    build_model: Callable[..., Any],
    tmp_path: Path,
    plugged: Callable[[Any], Any],
) -> None:
    interrupted(make_lm, tmp_path, plugged)
    half = build_model().to(torch.bfloat16)
    with pytest.raises(ConfigError, match=r"dtype was 'torch.float32' and is 'torch.bfloat16'"):
        explain(make_lm(half), TASKS, {**CHEAP, "resume": tmp_path}, tmp_path)
    with pytest.raises(ConfigError, match="had other tasks: answers, endings and not answers"):
        explain(make_lm(), [ANSWERS], {**CHEAP, "resume": tmp_path}, tmp_path)
    with pytest.raises(ConfigError, match="leave resume out to start anew"):
        explain(make_lm(), TASKS, {**CHEAP, "resume": tmp_path / "elsewhere"}, tmp_path)
    with pytest.raises(ConfigError, match="resume it with the output_path that it had"):
        explain(make_lm(), TASKS, {**CHEAP, "resume": tmp_path}, tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="give its folder as output_path, too"):
        explain(make_lm(), TASKS, {**CHEAP, "resume": tmp_path})


def test_documents_that_are_not_evaluated_any_more(
    make_lm: Callable[..., Any],
    tmp_path: Path,
    plugged: Callable[[Any], Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    interrupted(make_lm, tmp_path, plugged)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    results, run = explain(make_lm(), TASKS, {**CHEAP, "resume": tmp_path}, tmp_path, limit=2)
    assert "repeat it with the same --limit and --samples" in caplog.text
    assert run.status == "interrupted"
    assert len(results["samples"]["answers"]) == 2
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_folder_without_a_run_is_told(
    make_lm: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that is killed before it writes anything can be repeated with the same command."""
    _, run = resumed(make_lm, tmp_path)
    assert "nothing was written there yet" in caplog.text
    assert run.status == "complete"


def test_choice_of_the_first_run_stays(
    make_lm: Callable[..., Any], tmp_path: Path, plugged: Callable[[Any], Any]
) -> None:
    """A strategy that looks at the scores might choose others after a model that is not deterministic."""
    interrupted(make_lm, tmp_path, plugged)

    class Chooser:
        @hookimpl
        def gilot_select_samples(self, samples: Any) -> Any:
            raise AssertionError("asked again")

    plugged(Chooser())
    _, run = resumed(make_lm, tmp_path)
    assert [len(chosen.samples) for chosen in run.chosen.values()] == [4, 4]


def test_tasks_whose_names_look_alike_keep_their_records(make_lm: Callable[..., Any], tmp_path: Path) -> None:
    tasks = [generation_task(name, ["Say 3."]) for name in ("a/b", "a_b")]
    explain(make_lm(), tasks, CHEAP, tmp_path)
    before = lines_in(tmp_path)
    assert set(before) == {("a/b", 0), ("a_b", 0)}
    _, run = explain(make_lm(), tasks, {**CHEAP, "resume": tmp_path}, tmp_path)
    assert run.kept_count == 2
    assert lines_in(tmp_path) == before
    assert len(artifacts_in(tmp_path)) == 3


def test_evaluation_that_fails_leaves_nothing(make_lm: Callable[..., Any], tmp_path: Path) -> None:
    lm = make_lm()
    lm.generate_until = None
    with pytest.raises(TypeError):
        explain(lm, TASKS, CHEAP, tmp_path)
    assert artifacts_in(tmp_path) == set()
