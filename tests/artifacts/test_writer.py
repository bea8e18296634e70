from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gilot_plugin.artifacts import writer
from gilot_plugin.artifacts.writer import RecordWriter, check_writable, write_manifest
from gilot_plugin.errors import ArtifactError

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from gilot_plugin.artifacts.writer import RecordWriter
writer = RecordWriter(Path(sys.argv[1]))
for number in range(3):
    writer.write({"number": number})
os.kill(os.getpid(), signal.SIGKILL)
"""


def read(path: Path) -> list[object]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_each_record_is_one_line_and_on_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.jsonl"
    with RecordWriter(path) as records:
        assert not path.exists()
        for number in range(3):
            records.write({"text": "a\nb\u2028\ud800", "number": number})
            assert len(path.read_bytes().splitlines()) == number + 1
    assert read(path) == [{"text": "a\nb\u2028\ud800", "number": number} for number in range(3)]
    records.close()


def test_a_second_writer_appends(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for number in range(2):
        with RecordWriter(path) as records:
            records.write({"number": number})
    assert read(path) == [{"number": 0}, {"number": 1}]


def test_a_killed_process_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    done = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert read(path) == [{"number": 0}, {"number": 1}, {"number": 2}]


@pytest.mark.parametrize(
    ("tail", "kept"),
    [(b'{"number": 1', []), (b'{"number": 1}', [{"number": 1}]), ('{"n": "é'.encode()[:-1], []), (b"", [])],
)
def test_an_unfinished_line_is_cut_off_before_the_next_record(
    tmp_path: Path, tail: bytes, kept: list[object]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"number": 0}\n' + tail)
    with RecordWriter(path) as records:
        records.write({"number": 2})
    assert read(path) == [{"number": 0}, *kept, {"number": 2}]


def test_a_record_that_is_not_json_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with RecordWriter(path) as records:
        records.write({"number": 0})
        with pytest.raises(ArtifactError, match=r"task 'films', document 3 .*: score is nan"):
            records.write({"task": "films", "doc_id": 3, "score": math.nan})
        records.write({"number": 1})
    assert read(path) == [{"number": 0}, {"number": 1}]


def test_a_disk_that_fills_up_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write = tmp_path / "a.jsonl", os.write
    room = 20

    def limited(descriptor: int, content: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(28, "No space left on device")
        written = write(descriptor, content[:room])
        room -= written
        return written

    monkeypatch.setattr(writer.os, "write", limited)
    with RecordWriter(path) as records:
        records.write({"number": 0})
        with pytest.raises(ArtifactError, match=r"No space left on device.*output_path"):
            records.write({"number": 1})
        room = 100
        records.write({"number": 2})
    assert read(path) == [{"number": 0}, {"number": 2}]


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        RecordWriter(tmp_path / "file" / "a.jsonl") as records,
        pytest.raises(ArtifactError, match=r"cannot write to .*a.jsonl"),
    ):
        records.write({})


def test_a_manifest_replaces_the_old_one_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new" / "attributions_manifest_d.json"
    write_manifest(path, {"number": 0, "text": "\ud800é"})
    write_manifest(path, {"number": 1, "path": Path("a"), "score": math.nan})
    assert json.loads(path.read_text(encoding="utf-8")) == {"number": 1, "path": "a", "score": "NaN"}

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(writer.os, "fsync", fail)
    with pytest.raises(ArtifactError, match="Input/output error"):
        write_manifest(path, {"number": 2})
    assert json.loads(path.read_text(encoding="utf-8"))["number"] == 1
    assert names_in(path.parent) == [path.name]


def test_a_manifest_is_as_readable_as_other_files(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest", {})
    (tmp_path / "other").write_text("")
    assert (tmp_path / "manifest").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_checking_a_folder_leaves_no_trace(tmp_path: Path) -> None:
    check_writable(tmp_path)
    check_writable(tmp_path / "a" / "b" / "c")
    assert names_in(tmp_path) == []
    (tmp_path / "a").mkdir()
    check_writable(tmp_path / "a" / "b")
    assert names_in(tmp_path) == ["a"]
    assert names_in(tmp_path / "a") == []


def test_several_processes_may_look_whether_a_folder_can_be_written(tmp_path: Path) -> None:
    """Each removes what it created, also from under the others."""
    folder = tmp_path / "a" / "b"
    with ThreadPoolExecutor(4) as pool:
        for looked in [pool.submit(check_writable, folder) for _ in range(400)]:
            looked.result()


def test_checking_a_folder_within_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_writable(Path("a/b"))
    check_writable(Path())
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("below", ["", "a", "a/b"])
def test_a_file_in_the_way_is_found(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(ArtifactError, match="output_path"):
        check_writable(tmp_path / "file" / below)
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("folder", ["/proc/gilot/out", "/proc", "a\0b"])
def test_folders_that_even_root_cannot_write_to_are_found(folder: str) -> None:
    with pytest.raises(ArtifactError, match="cannot write to"):
        check_writable(Path(folder))


def test_a_half_made_path_is_removed_again(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="name too long"):
        check_writable(tmp_path / "a" / ("b" * 300))
    assert names_in(tmp_path) == []
