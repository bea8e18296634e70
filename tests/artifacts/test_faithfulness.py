from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gilot_plugin.artifacts.faithfulness import read_faithfulness
from gilot_plugin.artifacts.schemas import schema_problems
from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.errors import ArtifactError
from tests.artifacts import factories


def content(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = factories.FAITHFULNESS.model_dump(mode="json")
    return found | changes


def test_figures_survive_the_disk(tmp_path: Path) -> None:
    path = tmp_path / f"faithfulness_{factories.DATE}.json"
    assert read_faithfulness(tmp_path, factories.DATE) is None
    path.write_text(json.dumps(content()))
    assert read_faithfulness(tmp_path, factories.DATE) == factories.FAITHFULNESS
    assert list(schema_problems(content(), "faithfulness")) == []


def test_curves_need_a_value_for_each_fraction(tmp_path: Path) -> None:
    path = tmp_path / f"faithfulness_{factories.DATE}.json"
    path.write_text(json.dumps(content(fractions=[0, 1])))
    with pytest.raises(ArtifactError, match="similarity, delete, ot: the curves need a value for each"):
        read_faithfulness(tmp_path, factories.DATE)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"samples": "many"}, "samples: must be a whole number, not 'many'"),
        ({"extra": 1}, "unknown field 'extra'"),
        ({"schema_version": "2.0"}, "schema_version: '2.0' is not known"),
        ({"fractions": [0, 1]}, "the curves need a value for each fraction"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_validation_finds_and_checks_them(
    tmp_path: Path, changes: dict[str, Any], reason: str | None, whole: bool
) -> None:
    factories.write_run(tmp_path, [factories.make_record()])
    path = tmp_path / f"faithfulness_{factories.DATE}.json"
    path.write_text(json.dumps(content(**changes)))
    report = validate_path(tmp_path if whole else path)
    assert report.files == (3 if whole else 1)
    assert report.ok is (reason is None)
    assert all(problem.file == path and str(reason) in problem.reason for problem in report.problems)


def test_text_that_is_not_json_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / f"faithfulness_{factories.DATE}.json"
    path.write_text("{")
    (problem,) = validate_path(path).problems
    assert problem.reason.startswith("truncated")
