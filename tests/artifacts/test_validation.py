from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gilot_plugin.artifacts import names
from gilot_plugin.artifacts.validation import ValidationReport, validate_path
from gilot_plugin.artifacts.writer import RecordWriter, write_manifest
from tests.artifacts import factories
from tests.artifacts.factories import DATE, LATER

RECORDS = names.attributions_name("films", DATE)
MANIFEST = names.manifest_name(DATE)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with a run of two tasks, three records and one skipped sample."""
    records = [
        factories.make_record(doc_id=0),
        factories.make_record(doc_id=1),
        factories.make_skipped(doc_id=2),
    ]
    records.append(factories.make_record("pairs", 5, choices=factories.CHOICES))
    factories.write_run(tmp_path / "model", records)
    return tmp_path / "model"


def told(report: ValidationReport) -> list[tuple[str, int | None, str]]:
    return [(problem.file.name, problem.line, problem.reason) for problem in report.problems]


def rewrite_manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    change(manifest)
    write_manifest(folder / MANIFEST, manifest)


def test_a_whole_run_is_valid(run: Path) -> None:
    assert validate_path(run) == ValidationReport(files=3, records=4, problems=())
    assert validate_path(run).ok
    assert validate_path(run.parent) == validate_path(run)


@pytest.mark.parametrize(("name", "files", "records"), [(RECORDS, 2, 3), (MANIFEST, 3, 4)])
def test_one_artifact_is_checked_with_what_belongs_to_it(
    run: Path, name: str, files: int, records: int
) -> None:
    assert validate_path(run / name) == ValidationReport(files, records, ())


def test_a_file_of_records_can_be_checked_without_a_manifest(run: Path) -> None:
    (run / MANIFEST).unlink()
    assert validate_path(run / RECORDS) == ValidationReport(1, 3, ())
    (run / RECORDS).rename(run / "mine.jsonl")
    assert validate_path(run / "mine.jsonl") == ValidationReport(1, 3, ())


def test_what_is_not_there_is_a_problem(tmp_path: Path) -> None:
    report = validate_path(tmp_path / "absent")
    assert (report.ok, report.files) == (False, 0)
    assert "no such file or folder" in str(report.problems[0])
    (problem,) = validate_path(tmp_path).problems
    assert problem.reason.startswith("holds no artifacts")
    (tmp_path / "notes.txt").write_text("")
    (problem,) = validate_path(tmp_path / "notes.txt").problems
    assert problem.reason.startswith("not an artifact")


def test_a_file_with_a_strange_name_is_not_passed_over(run: Path) -> None:
    (run / "attributions_films.jsonl").write_text("")
    assert told(validate_path(run)) == [
        ("attributions_films.jsonl", None, "its name is not one of an artifact, so it was not checked")
    ]


BROKEN_LINES = [
    (b"{oops}\n", "not JSON: Expecting property name enclosed in double quotes at column 2"),
    (b"\n", "empty: each line holds one record"),
    (b'{"task": "films", "do\n', "truncated: the record breaks off after 21 bytes"),
    (b"[" * 100_000 + b"\n", "not a record: its JSON is nested too deeply"),
    (
        b'{"doc_id": ' + b"9" * 5000 + b"}\n",
        "not a record: Exceeds the limit (4300 digits) for integer string",
    ),
    (b"\xff\n", "not UTF-8: byte 1 of the line"),
    (b"3\n", "must be an object, not 3"),
    (b"{} {}\n", "not JSON: Extra data at column 4"),
]


@pytest.mark.parametrize(("line", "reason"), BROKEN_LINES, ids=[reason for _, reason in BROKEN_LINES])
def test_a_line_that_is_no_record_is_named(run: Path, line: bytes, reason: str) -> None:
    path = run / RECORDS
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(first + b"\n" + line + rest)
    report = validate_path(run)
    assert report.records == 5
    ((name, number, found),) = told(report)
    assert (name, number) == (RECORDS, 2)
    assert found.startswith(reason)


@pytest.mark.parametrize("bytes_left", [1, 40, 400])
def test_a_truncated_last_line_is_named_and_missed(run: Path, bytes_left: int) -> None:
    path = run / RECORDS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:bytes_left])
    reasons = told(validate_path(run))
    assert reasons[0] == (RECORDS, 3, f"truncated: the record breaks off after {bytes_left} bytes")
    assert (MANIFEST, None, "tasks.films.records.skipped: 1, but the file has 0") in reasons
    assert validate_path(path).problems == validate_path(run).problems


def test_a_line_cut_off_within_a_character_is_truncated(run: Path) -> None:
    record = factories.make_record(text="<s>Größe é")
    path = run / "mine.jsonl"
    with RecordWriter(path) as writer:
        writer.write(record)
    content = path.read_bytes()
    path.write_bytes(content[: content.index("é".encode()) + 1])
    assert validate_path(path).problems[0].reason.startswith("truncated")


def test_a_missing_record_is_missed(run: Path) -> None:
    path = run / RECORDS
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    chosen = "tasks.films.selection.chosen: the run is complete, but there is no record of 0"
    assert told(validate_path(run)) == [
        (MANIFEST, None, "tasks.films.records.ok: 2, but the file has 1"),
        (MANIFEST, None, chosen),
    ]


def test_an_edited_record_is_named(run: Path) -> None:
    path = run / RECORDS
    path.write_text(
        path.read_text(encoding="utf-8").replace('"mass": 0.31', '"mass": 0.32', 1), encoding="utf-8"
    )
    assert told(validate_path(run)) == [(RECORDS, 1, "edited: the checksum does not match")]


def test_a_duplicate_is_named(run: Path) -> None:
    with RecordWriter(run / RECORDS) as writer:
        writer.write(factories.make_record(doc_id=1))
    assert told(validate_path(run)) == [
        (RECORDS, 4, "duplicate: line 2 has the same document 1 and prompt_hash"),
        (MANIFEST, None, "tasks.films.records.ok: 2, but the file has 3"),
    ]


def test_one_broken_record_gives_few_problems(run: Path) -> None:
    record = factories.edited(
        factories.make_record(), lambda r: [token.pop("id") for token in r["prompt_tokens"]]
    )
    path = factories.write_lines(run / "mine.jsonl", [record])
    reasons = [problem.reason for problem in validate_path(path).problems]
    assert len(reasons) == 9
    assert reasons[-1] == "and 3 more problems"


def test_a_file_that_no_manifest_mentions_is_named(run: Path) -> None:
    stray = names.attributions_name("films", LATER)
    (run / stray).write_bytes((run / RECORDS).read_bytes())
    reason = "no manifest mentions this file: its run was killed, or the manifest is lost"
    assert told(validate_path(run)) == [(stray, None, reason)]
    other = names.attributions_name("other", DATE)
    (run / stray).rename(run / other)
    assert told(validate_path(run / other)) == [(other, None, reason)]


def test_runs_in_one_folder_do_not_disturb_each_other(run: Path) -> None:
    factories.write_run(run, [factories.make_record()], date=LATER)
    factories.write_run(run / "another-model", [factories.make_record()])
    assert validate_path(run) == ValidationReport(7, 6, ())


def test_a_run_that_chose_nothing_is_valid(tmp_path: Path) -> None:
    manifest = factories.make_manifest([factories.make_record()])
    manifest["tasks"]["films"] |= {"file": None, "records": {"ok": 0, "skipped": 0, "failed": 0}}
    manifest["tasks"]["films"]["selection"] |= {"chosen": [], "error": "no sample has the metric 'f1'"}
    factories.write_run(tmp_path, [], manifest=manifest)
    assert validate_path(tmp_path) == ValidationReport(1, 0, ())


def test_tasks_whose_names_look_alike_have_files_of_their_own(tmp_path: Path) -> None:
    factories.write_run(tmp_path, [factories.make_record("a/b"), factories.make_record("a_b")])
    assert validate_path(tmp_path) == ValidationReport(3, 2, ())


def test_an_interrupted_run_is_valid_as_far_as_it_went(run: Path) -> None:
    def interrupt(manifest: dict[str, Any]) -> None:
        manifest["status"] = "interrupted"
        manifest["tasks"]["films"]["selection"]["chosen"].append({"doc_id": 7, "reason": "among the first"})

    rewrite_manifest(run, interrupt)
    assert validate_path(run).ok
    # The last record may be on disk before the manifest knows.
    with RecordWriter(run / RECORDS) as writer:
        writer.write(factories.make_record(doc_id=7))
    assert validate_path(run).ok
    with RecordWriter(run / RECORDS) as writer:
        writer.write(factories.make_record(doc_id=0, text="<s>Another one"))
    assert not validate_path(run).ok


BROKEN_MANIFESTS: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda m: m.pop("versions"), "versions missing"),
    (lambda m: m["versions"].pop("POT"), "versions: POT missing"),
    (lambda m: m.update(status="done"), "status: 'done' is not 'complete' or 'interrupted'"),
    (
        lambda m: m.update(configs={"abc": {}}),
        "configs: 'abc' is not a SHA-256 in 64 lower-case hexadecimal digits",
    ),
    (lambda m: m["tasks"]["films"].pop("selection"), "tasks.films: selection missing"),
    (
        lambda m: m["tasks"]["films"]["records"].update(ok="2"),
        "tasks.films.records.ok: must be a whole number, not '2'",
    ),
    (
        lambda m: m["tasks"]["films"].update(file="../films.jsonl"),
        "tasks.films.file: '../films.jsonl' is not the name of a file in the same folder",
    ),
    (
        lambda m: m["tasks"]["films"].update(file="gone.jsonl"),
        "tasks.films.file: there is no file 'gone.jsonl'",
    ),
    (lambda m: m["tasks"]["films"].update(file=None), "tasks.films.records.ok: 2, without a file"),
    (
        lambda m: m["tasks"]["films"]["records"].update(failed=1),
        "tasks.films.records.failed: 1, but the file has 0",
    ),
    (lambda m: m["tasks"]["films"]["records"].update(ok=0), "tasks.films.records.ok: 0, but the file has 2"),
    (
        lambda m: m["tasks"]["films"]["selection"]["chosen"].pop(),
        "tasks.films.selection.chosen: there are records of documents that it does not name: 2",
    ),
    (lambda m: m.update(configs={"d" * 64: {}}), "tasks.films.config_hash: no such settings in configs"),
    (lambda m: m.update(configs={"d" * 64: {}}), f"config_hash: {MANIFEST} has no such settings"),
    (
        lambda m: m["tasks"].pop("films"),
        "no manifest mentions this file: its run was killed, or the manifest is lost",
    ),
    (
        lambda m: m["tasks"].update(other=m["tasks"].pop("films")),
        f"task 'films': {MANIFEST} does not list it for this file",
    ),
    (lambda m: m.update(date=LATER), f"date: '{LATER}', but the file's name says '{DATE}'"),
]


@pytest.mark.parametrize(
    ("change", "reason"), BROKEN_MANIFESTS, ids=[reason for _, reason in BROKEN_MANIFESTS]
)
def test_a_manifest_that_is_wrong_is_found_out(
    run: Path, change: Callable[[dict[str, Any]], Any], reason: str
) -> None:
    rewrite_manifest(run, change)
    assert reason in [problem.reason for problem in validate_path(run).problems]


@pytest.mark.parametrize(("content", "reason"), [(b"{", "truncated"), (b"", "empty"), (b"oops", "not JSON")])
def test_a_manifest_that_is_no_json_is_its_only_problem(run: Path, content: bytes, reason: str) -> None:
    (run / MANIFEST).write_bytes(content + b"\n" if content else b"")
    ((name, line, found),) = told(validate_path(run))
    assert (name, line) == (MANIFEST, None)
    assert found.startswith(reason)


def test_infinite_numbers_in_a_manifest_are_found(run: Path) -> None:
    path = run / MANIFEST
    path.write_text(path.read_text().replace('"num_beams": 4', '"num_beams": 1e999'))
    assert f"configs.{factories.CONFIG_HASH}.num_beams: inf is not a finite number" in str(
        validate_path(run).problems
    )


def test_a_file_that_cannot_be_read_is_a_problem(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    found = told(validate_path(run))
    assert {name for name, _, _ in found} == {path.name for path in run.iterdir()}
    assert {reason for _, _, reason in found} == {"cannot be read: Permission denied"}


def test_a_problem_reads_like_a_compilers(run: Path) -> None:
    path = run / RECORDS
    path.write_bytes(path.read_bytes()[:-10])
    assert str(validate_path(path).problems[0]).startswith(f"{path}:3: truncated")
