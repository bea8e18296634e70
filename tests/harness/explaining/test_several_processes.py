"""Processes that evaluate together leave what one process leaves, and none waits for one in trouble."""

from __future__ import annotations

import socket
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pytest
from lm_eval.models.huggingface import HFLM

from gilot_plugin.artifacts.ablations import read_ablations
from gilot_plugin.artifacts.names import ablations_date
from gilot_plugin.artifacts.reader import read_run
from gilot_plugin.artifacts.validation import validate_path
from tests.harness.evaluations import (
    artifacts_in,
    assert_same_numbers,
    lines_in,
    manifest_in,
    without_reasons_to_differ,
)
from tests.harness.processes import evaluate_and_save, evaluate_together

pytestmark = pytest.mark.lm_eval


@pytest.fixture
def port() -> int:
    """A port that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    return number


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, forked: BaseContext) -> Path:
    """What one process leaves."""
    folder = tmp_path_factory.mktemp("alone")
    process = forked.Process(target=evaluate_and_save, args=(model_dir, folder, {}))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    return folder


@pytest.mark.parametrize("size", [2, 3])
def test_artifacts_are_those_of_one_process(
    tmp_path: Path, model_dir: Path, forked: BaseContext, alone: Path, port: int, size: int
) -> None:
    assert evaluate_together(forked, size, model_dir, tmp_path, {}, port) == [0] * size
    assert validate_path(tmp_path).problems == ()
    assert without_reasons_to_differ(tmp_path) == without_reasons_to_differ(alone)
    for found, wanted in zip(read_run(tmp_path).records, read_run(alone).records, strict=True):
        assert_same_numbers(found, wanted)
        # Both saw the parts of the prompts that the other one built.
        assert [unit["segment"] for unit in found["units"]] == [unit["segment"] for unit in wanted["units"]]


def test_processes_that_evaluate_everything_each_write_once(
    tmp_path: Path, model_dir: Path, forked: BaseContext, alone: Path, port: int
) -> None:
    """As under tensor parallelism: lm-eval has one rank then, and writes on the first process only."""
    assert evaluate_together(forked, 2, model_dir, tmp_path, {}, port, make_lm=HFLM) == [0, 0]
    assert validate_path(tmp_path).problems == ()
    assert without_reasons_to_differ(tmp_path) == without_reasons_to_differ(alone)


SETTINGS = {"methods": ["l2", "trouble"]}


def test_interrupted_process_keeps_its_records_and_stops_no_other(
    tmp_path: Path, model_dir: Path, forked: BaseContext, port: int
) -> None:
    codes = evaluate_together(forked, 2, model_dir, tmp_path, SETTINGS, port, "interrupt")
    assert codes == [0, 0]
    assert manifest_in(tmp_path)["status"] == "interrupted"
    assert len(read_run(tmp_path).records) == 5
    assert len(artifacts_in(tmp_path)) == 3
    assert validate_path(tmp_path).problems == ()
    assert len(list(tmp_path.rglob("samples_*.jsonl"))) == 2


def test_process_that_dies_hangs_no_other_and_its_records_are_there(
    tmp_path: Path, model_dir: Path, forked: BaseContext, port: int, alone: Path
) -> None:
    codes = evaluate_together(forked, 2, model_dir, tmp_path, SETTINGS, port, "die")
    assert codes[0] is not None
    assert codes[1] == 7
    assert len(list(tmp_path.rglob("samples_*.jsonl"))) == 2
    assert manifest_in(tmp_path)["status"] == "interrupted"
    records = read_run(tmp_path).records
    assert len(records) == 5
    assert validate_path(tmp_path).problems == ()
    before = lines_in(tmp_path)
    # One process takes up what both have left.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        other = probe.getsockname()[1]
    resumed = {**SETTINGS, "resume": tmp_path}
    assert evaluate_together(forked, 1, model_dir, tmp_path, resumed, other) == [0]
    after = lines_in(tmp_path)
    assert {key: after[key] for key in before} == before
    assert without_reasons_to_differ(tmp_path)[2:] == without_reasons_to_differ(alone)[2:]
    assert validate_path(tmp_path).problems == ()


ABLATED = {
    "select": {"n": 1},
    "ablate": {
        "arms": ["question", "lead_in", {"regex": "[aeiou]"}, {"regex": "never there", "name": "nothing"}]
    },
}


def ablations_in(folder: Path) -> dict[str, Any]:
    """All that was asked and answered, by task; lines of samples in order."""
    (path, *_) = folder.rglob("ablations_*.jsonl")
    date = ablations_date(path.name)
    assert date is not None
    found = {}
    for one in read_ablations(path.parent, date):
        assert one.is_complete
        samples = {
            (arm, *key): (line.prompt_hash, line.answers, line.metrics)
            for arm, own in one.samples.items()
            for key, line in own.items()
        }
        arms = {
            name: (line.status, line.reason, line.changed, [score.value for score in line.scores])
            for name, line in one.arms.items()
        }
        found[one.plan.task] = (samples, arms)
    return found


@pytest.mark.parametrize("size", [2, 3])
def test_ablations_are_those_of_one_process(
    tmp_path: Path, model_dir: Path, forked: BaseContext, port: int, size: int
) -> None:
    """Also where there are more processes than samples left in a chunk: 4 and 3 documents."""
    one, several = tmp_path / "one", tmp_path / "several"
    process = forked.Process(target=evaluate_and_save, args=(model_dir, one, ABLATED))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert evaluate_together(forked, size, model_dir, several, ABLATED, port) == [0] * size
    expected = ablations_in(one)
    assert len(expected) == 2
    assert any(status == "ok" for _, arms in expected.values() for status, *_ in arms.values())
    assert ablations_in(several) == expected
    assert len(list(several.rglob("ablations_*.jsonl"))) == 2
    assert validate_path(several).problems == ()
