"""The schema of ablations, and what is wrong with files of them."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from gilot_plugin.artifacts.ablations import (
    ablation_problems,
    read_ablation,
)
from gilot_plugin.artifacts.names import ablations_name
from gilot_plugin.errors import ArtifactError

_PLAN = {
    "kind": "plan",
    "schema_version": "1.0",
    "task": "t",
    "date": "2026-01-01T00-00-00.0",
    "model": "m",
    "output_type": "multiple_choice",
    "identity": "0",
    "n": None,
    "seed": 0,
    "cluster": None,
    "samples": 1,
    "arms": ["full"],
    "versions": {},
}
_SAMPLE = {
    "kind": "sample",
    "arm": "full",
    "doc_id": 0,
    "doc_hash": "d",
    "prompt_hash": "p",
    "changed": False,
    "answers": {"none": "1"},
    "metrics": {"acc,none": 1.0},
}


def _write(folder: Path, *lines: object) -> Path:
    path = folder / ablations_name("t", "2026-01-01T00-00-00.0")
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_the_schema_tells_lines_apart() -> None:
    committed = resources.files("gilot_plugin") / "artifacts" / "schema" / "ablation-1.0.json"
    schema = json.loads(committed.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert validator.is_valid(_PLAN)
    assert validator.is_valid(_SAMPLE)
    assert not validator.is_valid({**_SAMPLE, "doc_id": "0"})


def test_a_last_line_that_breaks_off_is_passed_over(tmp_path: Path) -> None:
    path = _write(tmp_path, _PLAN, _SAMPLE)
    path.write_bytes(path.read_bytes() + b'{"kind": "sam')
    found = read_ablation(path)
    assert found is not None
    assert len(found.samples["full"]) == 1
    assert not found.is_complete


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ((_SAMPLE, _PLAN), "before any plan"),
        ((_PLAN, {**_SAMPLE, "arm": "other"}), "no arm 'other'"),
        ((_PLAN, {**_SAMPLE, "doc_id": "x"}), "doc_id"),
        ((_PLAN, {"kind": "nonsense"}), "nonsense"),
        ((_PLAN, 7), "valid"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, lines: tuple[object, ...], told: str) -> None:
    path = _write(tmp_path, *lines)
    count, problems = ablation_problems(path)
    assert count == len(lines)
    assert any(told in problem.reason for problem in problems)


def test_a_broken_line_is_no_ablation(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r":2: .*gilot validate"):
        read_ablation(_write(tmp_path, _PLAN, {"kind": "nonsense"}, _SAMPLE))
