from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from gilot_plugin.artifacts import names
from gilot_plugin.artifacts.reader import read_run
from gilot_plugin.errors import ArtifactError
from tests.artifacts import factories
from tests.artifacts.factories import DATE, LATER

RECORDS = names.attributions_name("films", DATE)


def test_records_come_by_task_and_document(tmp_path: Path) -> None:
    first = factories.make_record("pairs", 1, choices=factories.CHOICES)
    records = [first, factories.make_record(doc_id=11), factories.make_skipped(doc_id=2)]
    factories.write_run(tmp_path, records)
    run = read_run(tmp_path)
    assert run.folder == tmp_path
    assert run.records == (records[2], records[1], records[0])
    assert run.manifest == factories.make_manifest(records)


def test_the_run_may_lie_below_the_folder(tmp_path: Path) -> None:
    factories.write_run(tmp_path / "org__model", [factories.make_record()])
    run = read_run(tmp_path)
    assert (run.folder, len(run.records)) == (tmp_path / "org__model", 1)


def test_the_newest_run_is_read_unless_another_is_named(tmp_path: Path) -> None:
    factories.write_run(tmp_path, [factories.make_record(doc_id=1)], date=LATER)
    factories.write_run(tmp_path, [factories.make_record(doc_id=0)])
    factories.write_run(
        tmp_path / "other-model", [factories.make_record(doc_id=2)], date="2025-01-01T00-00-00"
    )
    assert [record["doc_id"] for record in read_run(tmp_path).records] == [1]
    assert [record["doc_id"] for record in read_run(tmp_path, date=DATE).records] == [0]
    assert [record["doc_id"] for record in read_run(tmp_path / RECORDS).records] == [0]
    assert [record["doc_id"] for record in read_run(tmp_path / names.manifest_name(DATE)).records] == [0]
    assert read_run(tmp_path, date="2025-01-01T00-00-00").folder == tmp_path / "other-model"


def test_a_killed_run_has_no_manifest(tmp_path: Path) -> None:
    factories.write_run(tmp_path, [factories.make_record()]).unlink()
    run = read_run(tmp_path)
    assert (run.manifest, len(run.records)) == (None, 1)


def test_a_manifest_may_go_on_with_an_older_file(tmp_path: Path) -> None:
    record = factories.make_record()
    factories.write_run(tmp_path, [record]).unlink()
    manifest = factories.make_manifest([record], date=LATER)
    manifest["tasks"]["films"]["file"] = RECORDS
    factories.write_run(tmp_path, [], date=LATER, manifest=manifest)
    assert read_run(tmp_path).records == (record,)


def test_a_truncated_last_line_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    factories.write_run(tmp_path, [factories.make_record(doc_id=0), factories.make_record(doc_id=1)])
    path = tmp_path / RECORDS
    path.write_bytes(path.read_bytes()[:-20])
    with caplog.at_level(logging.WARNING):
        assert [record["doc_id"] for record in read_run(tmp_path).records] == [0]
    assert f"{RECORDS}:2: truncated" in caplog.text


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{oops}\n", "not JSON"),
        ('{"schema_version": "9.0"}\n', "'9.0' is not known"),
        ('{"schema_version": "1.0"}\n', "task, doc_id, status, metrics, model missing"),
        ("[]\n", "not an object"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    factories.write_run(tmp_path, [factories.make_record()])
    path = tmp_path / RECORDS
    path.write_text(line + path.read_text())
    with pytest.raises(ArtifactError, match=rf"{RECORDS}:1: .*{reason}.*gilot validate"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "truncated"),
        ('{"schema_version": "9.0"}', "'9.0' is not known"),
        ('{"schema_version": "1.0"}', "date, status, .*tasks missing"),
        (json.dumps({**factories.make_manifest([]), "tasks": {"a": {"file": 3}}}), "tasks.a"),
    ],
)
def test_a_broken_manifest_is_named(tmp_path: Path, content: str, reason: str) -> None:
    factories.write_run(tmp_path, [factories.make_record()]).write_text(content)
    with pytest.raises(ArtifactError, match=rf"attributions_manifest_.*: .*{reason}"):
        read_run(tmp_path)


def test_a_file_that_the_manifest_mentions_must_be_there(tmp_path: Path) -> None:
    factories.write_run(tmp_path, [factories.make_record()])
    (tmp_path / RECORDS).unlink()
    with pytest.raises(ArtifactError, match=rf"{RECORDS}: cannot be read"):
        read_run(tmp_path)


def test_without_a_run_the_message_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no such folder.*output_path"):
        read_run(tmp_path / "absent")
    with pytest.raises(ArtifactError, match=r"holds no attributions .*output_path"):
        read_run(tmp_path)
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(ArtifactError, match="is not an artifact"):
        read_run(tmp_path / "results.json")
    factories.write_run(tmp_path, [factories.make_record()])
    with pytest.raises(ArtifactError, match=f"no run of '2020'; there are {DATE}"):
        read_run(tmp_path, date="2020")


def test_copies_of_a_run_are_told_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        factories.write_run(tmp_path / name, [factories.make_record()])
    with pytest.raises(ArtifactError, match=r"more than one folder.*/a, .*/b"):
        read_run(tmp_path)
