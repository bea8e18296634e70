"""Check a run's manifest, and against it the files that it mentions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from gilot_plugin.artifacts.file_checks import CheckedFile, Problem, parse_line
from gilot_plugin.artifacts.jsontext import field_path, non_finite_fields
from gilot_plugin.artifacts.names import parse_name
from gilot_plugin.artifacts.schemas import schema_problems, shown


def check_manifest(path: Path) -> tuple[dict[str, Any] | None, tuple[Problem, ...]]:
    """Read a manifest and check it by itself.

    Args:
        path: The file.

    Returns:
        The manifest, None where it does not follow the schema, and what is wrong with it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        return None, (Problem(path, None, f"cannot be read: {error.strerror or error}"),)
    manifest, reason = parse_line(content)
    if reason is not None:
        return None, (Problem(path, None, reason),)
    broken = [f"{field}: {value} is not a finite number" for field, value in non_finite_fields(manifest)]
    broken.extend(schema_problems(manifest, "manifest"))
    if broken:
        return None, tuple(Problem(path, None, reason) for reason in broken)
    return manifest, tuple(Problem(path, None, reason) for reason in _own_contradictions(path, manifest))


def compare_with_files(
    path: Path,
    manifest: Mapping[str, Any],
    files: Mapping[str, CheckedFile],
    *,
    only: Collection[str] | None = None,
) -> Iterator[Problem]:
    """Say where a manifest and the files that it mentions disagree.

    Args:
        path: The manifest's file.
        manifest: Its content, as :func:`check_manifest` returns it.
        files: The checked files of its folder, by name.
        only: Names of the files that are compared; None for all that it mentions.

    Yields:
        Missing files, records that are missing or too many, settings and tasks that the manifest does not
        know.
    """
    for task, entry in manifest["tasks"].items():
        name = entry["file"]
        if only is not None and name not in only:
            continue
        if name is not None and name not in files:
            yield Problem(
                path, None, f"{field_path(['tasks', task, 'file'])}: there is no file {shown(name)}"
            )
            continue
        records = [line for line in files[name].lines if line.task == task] if name is not None else []
        found = Counter(line.status for line in records)
        # A killed run leaves the manifest of when its last file was opened: its files may be ahead of it.
        may_be_ahead = manifest["status"] == "interrupted"
        for status, expected in entry["records"].items():
            if found[status] < expected or (found[status] > expected and not may_be_ahead):
                counted = f"{field_path(['tasks', task, 'records', status])}: {expected}"
                place = "without a file" if name is None else f"but the file has {found[status]}"
                yield Problem(path, None, f"{counted}, {place}")
        yield from _compare_documents(path, manifest, task, {line.doc_id for line in records})
    mentioned = {(entry["file"], task) for task, entry in manifest["tasks"].items()}
    for name in sorted({entry["file"] for entry in manifest["tasks"].values()} & files.keys()):
        if only is not None and name not in only:
            continue
        for line in files[name].lines:
            if (name, line.task) not in mentioned:
                reason = f"task {shown(line.task)}: {path.name} does not list it for this file"
                yield Problem(files[name].path, line.number, reason)
            if line.config_hash is not None and line.config_hash not in manifest["configs"]:
                reason = f"config_hash: {path.name} has no such settings"
                yield Problem(files[name].path, line.number, reason)


def _own_contradictions(path: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    name = parse_name(path.name)
    if name is not None and name.date != manifest["date"]:
        yield f"date: {shown(manifest['date'])}, but the file's name says {shown(name.date)}"
    for task, entry in manifest["tasks"].items():
        if entry["config_hash"] not in manifest["configs"]:
            yield f"{field_path(['tasks', task, 'config_hash'])}: no such settings in configs"


def _compare_documents(
    path: Path, manifest: Mapping[str, Any], task: str, found: Collection[int]
) -> Iterator[Problem]:
    """A complete run has a record for every document that it chose and could afford; no run has others."""
    selection = manifest["tasks"][task]["selection"]
    chosen = {choice["doc_id"] for choice in selection["chosen"]}
    field = field_path(["tasks", task, "selection", "chosen"])
    if extra := sorted(set(found) - chosen):
        yield Problem(
            path, None, f"{field}: there are records of documents that it does not name: {_some(extra)}"
        )
    missing = sorted(chosen - set(found) - set(selection.get("left_out", ())))
    if missing and manifest["status"] == "complete":
        yield Problem(path, None, f"{field}: the run is complete, but there is no record of {_some(missing)}")


def _some(numbers: list[int], most: int = 5) -> str:
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return ", ".join(map(str, numbers[:most])) + more
