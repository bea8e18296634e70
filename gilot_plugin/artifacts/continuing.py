"""Go on with the files of a run that did not finish: finished records stay as they are, byte for byte."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gilot_plugin.artifacts.file_checks import parse_line
from gilot_plugin.artifacts.names import (
    ABLATIONS_PATTERN,
    ARTIFACT_PATTERN,
    attributions_name,
    manifest_name,
    parse_name,
)
from gilot_plugin.artifacts.records import (
    CHECKSUM_FIELD,
    RecordKey,
    checksum,
    is_finished,
    record_key,
)
from gilot_plugin.artifacts.writer import record_line, replace_file, write_manifest
from gilot_plugin.errors import ArtifactError


def take_up(folder: Path, manifest: Mapping[str, Any]) -> dict[RecordKey, dict[str, Any]]:
    """Put the files of a run in order, so that records can be appended to them.

    Afterwards each task has one file, with the finished records only: what several processes wrote apart is
    put together, and lines that are broken, or that say that an attribution or one of its methods failed, are
    dropped. A file that is in order already is not touched. Whatever stops this, it can be done again.

    Args:
        folder: The run's folder.
        manifest: The run's manifest.

    Returns:
        The finished records.

    Raises:
        ArtifactError: A file cannot be read or written.
    """
    date = manifest["date"]
    try:
        finish_renaming(folder, manifest)
        for leftover in folder.glob(f".attributions_*{date}*.tmp"):
            leftover.unlink()
        kept: dict[RecordKey, dict[str, Any]] = {}
        for name in dict.fromkeys(attributions_name(task, date) for task in manifest["tasks"]):
            kept |= _put_together(folder / name)
    except OSError as error:
        raise ArtifactError(f"{folder}: the run cannot be resumed: {error}") from error
    return kept


def _put_together(path: Path) -> dict[RecordKey, dict[str, Any]]:
    name = parse_name(path.name)
    assert name is not None  # it was made by attributions_name
    parts = [
        part
        for part in sorted(path.parent.glob(ARTIFACT_PATTERN))
        if (found := parse_name(part.name)) and found.rank and found._replace(rank=0) == name
    ]
    records: dict[RecordKey, dict[str, Any]] = {}
    lines: dict[RecordKey, bytes] = {}
    for file in (path, *parts):
        for record, line in _finished(file):
            key = record_key(record)
            if key not in records:
                records[key], lines[key] = record, line
    _replace(path, b"".join(lines.values()))
    for part in parts:
        part.unlink()
    return records


def _finished(path: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    for line in _lines(path):
        record, reason = parse_line(line)
        if reason is None and isinstance(record, dict) and is_finished(record):
            with contextlib.suppress(KeyError, TypeError):
                if record[CHECKSUM_FIELD] == checksum(record) and record_key(record):
                    yield record, line if line.endswith(b"\n") else line + b"\n"


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


def _replace(path: Path, content: bytes) -> None:
    if path.exists() and path.read_bytes() != content:
        if content:
            replace_file(path, content)
        else:
            path.unlink()
    elif content and not path.exists():
        replace_file(path, content)


def arrange(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Give a file of records an order.

    Args:
        path: The file.
        records: What it is to hold. Lines of records that it holds already are kept byte for byte.

    Raises:
        ArtifactError: The file cannot be read or written.
    """
    try:
        present = {record_key(record): line for record, line in _finished(path)}
        _replace(path, b"".join(present.get(record_key(record)) or record_line(record) for record in records))
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be put in order: {error}") from error


def rename_run(folder: Path, manifest: Mapping[str, Any], previous_date: str) -> None:
    """Give a finished run another date.

    The new manifest comes first and knows the old date, so that a process that is killed in between leaves a
    run that can be read and whose renaming can be finished.

    Args:
        folder: The run's folder.
        manifest: With the new date.
        previous_date: The date that the files have.

    Raises:
        OSError: A file cannot be renamed; the run keeps its date.
        ArtifactError: The manifest cannot be written.
    """
    date = manifest["date"]
    manifest = {**manifest, "previous_date": previous_date}
    write_manifest(folder / manifest_name(date), manifest)
    try:
        finish_renaming(folder, manifest)
    except OSError:
        with contextlib.suppress(OSError):
            _rename_records(folder, date, previous_date)
            (folder / manifest_name(date)).unlink()
        raise


def finish_renaming(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Do what is left of :func:`rename_run`.

    Raises:
        OSError: A file cannot be renamed.
    """
    previous = manifest.get("previous_date")
    if previous is None or previous == manifest["date"]:
        return
    _rename_records(folder, previous, manifest["date"])
    (folder / manifest_name(previous)).unlink(missing_ok=True)


def _rename_records(folder: Path, old: str, new: str) -> None:
    for path in list(folder.glob(ARTIFACT_PATTERN)):
        name = parse_name(path.name)
        if name is not None and name.task is not None and name.date == old:
            path.replace(folder / attributions_name(name.task, new, name.rank))
    for path in list(folder.glob(ABLATIONS_PATTERN)):
        if path.name.endswith(f"_{old}.jsonl"):
            path.replace(path.with_name(f"{path.name.removesuffix(f'_{old}.jsonl')}_{new}.jsonl"))
