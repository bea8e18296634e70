from __future__ import annotations

import re
from datetime import datetime

import pytest

from gilot_plugin.artifacts import names

DATE = "2026-05-17T09-30-00.123456"


def test_dates_are_spelled_as_lm_eval_does() -> None:
    assert names.run_date(datetime(2026, 5, 17, 9, 30, 0, 123456)) == DATE
    assert ":" not in names.run_date()


@pytest.mark.parametrize(
    "task", ["films", "mmlu_high_school_physics", "a-b.c", "manifest", "x_y_", "_", "任务"]
)
def test_names_are_parsed_back(task: str) -> None:
    name = names.attributions_name(task, DATE)
    assert name == f"attributions_{task}_{DATE}.jsonl"
    assert names.parse_name(name) == ("attributions", task, DATE, 0)


def test_the_files_of_other_processes_are_told_apart() -> None:
    name = names.attributions_name("films", DATE, rank=12)
    assert name == f"attributions_films_{DATE}.rank12.jsonl"
    assert names.parse_name(name) == ("attributions", "films", DATE, 12)


def test_the_manifest_is_told_from_a_task_of_that_name() -> None:
    assert names.manifest_name(DATE) == f"attributions_manifest_{DATE}.json"
    assert names.parse_name(names.manifest_name(DATE)) == ("manifest", None, DATE, 0)
    assert names.parse_name(names.attributions_name("manifest", DATE)) == (
        "attributions",
        "manifest",
        DATE,
        0,
    )


def test_what_no_file_name_can_hold_becomes_an_underscore() -> None:
    for task, safe in (("org/task:a\\b\0", "org_task_a_b_"), ("../../etc/passwd", ".._.._etc_passwd")):
        name = names.attributions_name(task, DATE)
        assert re.fullmatch(rf"attributions_{re.escape(safe)}-[0-9a-f]{{8}}_{DATE}\.jsonl", name)
        # As when a run is renamed, which knows the file alone.
        part = names.parse_name(name)
        assert part is not None
        assert part.task is not None
        assert names.attributions_name(part.task, DATE) == name


def test_no_two_tasks_share_a_file() -> None:
    tasks = ["a/b", "a_b", "a:b", "a\\b", "a?b"]
    assert len({names.attributions_name(task, DATE) for task in tasks}) == len(tasks)


def test_samples_have_the_name_that_lm_eval_gives_them() -> None:
    """Which leaves tasks with a slash out: it cannot write their samples."""
    assert names.samples_name("arc-easy: de", DATE) == f"samples_arc-easy: de_{DATE}.jsonl"
    assert names.samples_name("a/b", DATE) is None


@pytest.mark.parametrize(
    "name",
    [
        "samples_films_x.jsonl",
        "attributions_films.jsonl",
        "attributions_.jsonl",
        "attributions_manifest_.json",
        "a",
    ],
)
def test_other_names_are_no_artifacts(name: str) -> None:
    assert names.parse_name(name) is None


@pytest.mark.parametrize(
    "date", ["", "2026_05_17", "2026-05-17T09:30:00", "a/b", "2026-05-17 09-30", "2026.rank2"]
)
def test_dates_that_could_not_be_parsed_again_are_refused(date: str) -> None:
    with pytest.raises(ValueError, match="run_date"):
        names.attributions_name("films", date)
    with pytest.raises(ValueError, match="run_date"):
        names.manifest_name(date)


def test_a_task_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="name"):
        names.attributions_name("", DATE)
