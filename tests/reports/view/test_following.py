"""The files of a run are read as they grow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gilot_plugin.artifacts import names
from gilot_plugin.artifacts.writer import RecordWriter, write_manifest
from gilot_plugin.errors import ArtifactError
from gilot_plugin.reports.html.answers import report_view
from gilot_plugin.reports.view.following import Following
from tests.artifacts import factories
from tests.reports.html.pages import SCORES, loaded


def append(folder: Path, *records: dict[str, Any], date: str = factories.DATE, rank: int = 0) -> Path:
    path = folder / names.attributions_name("films", date, rank)
    with RecordWriter(path) as writer:
        for record in records:
            writer.write(record)
    return path


def documents(following: Following) -> list[int]:
    following.refresh()
    return [row["doc"] for row in following.rows("ot")]


def test_what_is_added_is_read(tmp_path: Path) -> None:
    append(tmp_path, factories.make_record(doc_id=3))
    following = Following(tmp_path)
    assert documents(following) == [3]
    before = following.version
    assert documents(following) == [3]
    assert following.version == before
    append(tmp_path, factories.make_record(doc_id=1), factories.make_skipped("films", 2))
    assert documents(following) == [1, 2, 3]
    assert following.version != before


def test_a_line_that_is_being_written_waits_for_its_end(tmp_path: Path) -> None:
    path = append(tmp_path, factories.make_record())
    line = path.read_bytes()
    path.write_bytes(line + line[:100])
    following = Following(tmp_path)
    assert documents(following) == [0]
    (rest,) = append(tmp_path / "other", factories.make_record(doc_id=1)).read_bytes().splitlines(True)
    path.write_bytes(line + rest)
    assert documents(following) == [0, 1]
    assert following.broken == 0


def test_reading_stops_when_its_time_is_over(tmp_path: Path) -> None:
    append(tmp_path, *(factories.make_record(doc_id=number) for number in range(3)))
    following = Following(tmp_path)
    assert following.refresh(0)
    assert following.rows("ot") == []
    assert not following.refresh()
    assert len(following.rows("ot")) == 3


def test_a_run_that_takes_another_date_is_followed(tmp_path: Path) -> None:
    path = append(tmp_path, factories.make_record())
    following = Following(tmp_path)
    assert documents(following) == [0]
    path.rename(tmp_path / names.attributions_name("films", factories.LATER))
    append(tmp_path, factories.make_record(doc_id=1), date=factories.LATER)
    assert documents(following) == [0, 1]
    assert following.date == factories.LATER


def test_files_of_several_processes_that_become_one(tmp_path: Path) -> None:
    append(tmp_path, factories.make_record())
    second = append(tmp_path, factories.make_record(doc_id=1), rank=1)
    following = Following(tmp_path)
    assert documents(following) == [0, 1]
    append(tmp_path, factories.make_record(doc_id=1))
    second.unlink()
    assert documents(following) == [0, 1]


def test_the_manifest_is_read_when_it_comes_and_changes(tmp_path: Path) -> None:
    append(tmp_path, record := factories.make_record())
    following = Following(tmp_path)
    following.refresh()
    assert following.run.manifest is None
    path = tmp_path / names.manifest_name(factories.DATE)
    write_manifest(path, factories.make_manifest([record], status="interrupted"))
    following.refresh()
    assert (following.run.manifest or {})["status"] == "interrupted"
    path.write_text("{")
    following.refresh()
    assert (following.run.manifest or {})["status"] == "interrupted"


def test_broken_lines_are_counted_and_left_out(tmp_path: Path) -> None:
    path = append(tmp_path, factories.make_record())
    with path.open("a") as lines:
        lines.write('{"task": 1}\nnonsense\n')
    append(tmp_path, factories.make_record(doc_id=1))
    following = Following(tmp_path)
    assert documents(following) == [0, 1]
    assert following.broken == 2


def test_a_sample_is_checked_and_shown_as_in_the_report(tmp_path: Path) -> None:
    run = loaded(tmp_path, factories.make_record(scores=SCORES))
    following = Following(tmp_path)
    following.refresh()
    assert following.sample("films/0/p0") == report_view(run.records[0], None)
    with pytest.raises(KeyError):
        following.sample("films/1/p1")


def test_a_record_that_was_changed_says_so(tmp_path: Path) -> None:
    path = append(tmp_path, factories.make_record(scores=SCORES))
    record = json.loads(path.read_text())
    record["scores"]["ot"][0] = 0.4
    path.write_text(json.dumps(record) + "\n")
    following = Following(tmp_path)
    assert documents(following) == [0]
    with pytest.raises(ArtifactError, match="is broken"):
        following.sample("films/0/p0")


def test_a_run_that_is_gone_says_so(tmp_path: Path) -> None:
    path = append(tmp_path, factories.make_record())
    following = Following(tmp_path)
    following.refresh()
    path.unlink()
    with pytest.raises(ArtifactError, match="holds no attributions"):
        following.refresh()
