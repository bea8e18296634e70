"""Read an attributed run back from its folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gilot_plugin.artifacts.file_checks import parse_line
from gilot_plugin.artifacts.finding import locate_run
from gilot_plugin.artifacts.models import READ_VERSIONS
from gilot_plugin.artifacts.names import ARTIFACT_PATTERN, attributions_name, parse_name
from gilot_plugin.artifacts.schemas import schema_problems
from gilot_plugin.errors import ArtifactError, one_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredRun:
    """What one run left on disk.

    Attributes:
        folder: Where its files lie.
        manifest: See ``schema/manifest-1.1.json``; None where the run was killed before it wrote one.
        records: See ``schema/record-1.1.json``; by task and document, otherwise as in the files.
    """

    folder: Path
    manifest: dict[str, Any] | None
    records: tuple[dict[str, Any], ...]


def read_run(
    folder: Path, *, date: str | None = None, model: str | None = None, ablated: bool = False
) -> StoredRun:
    """Read the newest run in a folder.

    Args:
        folder: See :func:`gilot_plugin.artifacts.finding.choose_run`.
        date: See there.
        model: See there.
        ablated: See there.

    Returns:
        The run: its manifest, and the records of all files that the manifest mentions, or that have its date.
        A last line that breaks off, as a killed process leaves it, is left out with a warning.

    Raises:
        ArtifactError: There is no such run, more than one folder has it, or a file is not what the package
            writes; the message says what to do.
    """
    return _read(*locate_run(folder, date=date, model=model, ablated=ablated))


def _read(folder: Path, date: str) -> StoredRun:
    manifest: dict[str, Any] | None = None
    files: set[Path] = set()
    for path in folder.glob(ARTIFACT_PATTERN):
        name = parse_name(path.name)
        if name is None or name.date != date:
            continue
        if name.kind == "manifest":
            manifest = _read_manifest(path)
        else:
            files.add(path)
    if manifest is not None:
        files.update(
            _existing(folder, manifest, task) for task, entry in manifest["tasks"].items() if entry["file"]
        )
    records = [record for path in sorted(files) for record in _read_records(path)]
    records.sort(key=lambda record: (record["task"], record["doc_id"]))
    return StoredRun(folder, manifest, tuple(records))


def _existing(folder: Path, manifest: Mapping[str, Any], task: str) -> Path:
    """A task's file, under its former name if the process was killed while it gave the run another date."""
    path = folder / Path(manifest["tasks"][task]["file"]).name
    previous = manifest.get("previous_date")
    if not _is_there(path) and isinstance(previous, str):
        with suppress(ValueError):  # it is no date
            former = folder / attributions_name(task, previous)
            return former if _is_there(former) else path
    return path


def _is_there(path: Path) -> bool:
    """Whether there is such a file; there is none of a name that the file system does not take."""
    try:
        return path.exists()
    except OSError:
        return False


def _read_manifest(path: Path) -> dict[str, Any]:
    value, reason = parse_line(_bytes(path))
    if reason is None:
        reason = _version_problem(value)
    if reason is None:
        reason = next(schema_problems(value, "manifest"), None)
    if reason is not None:
        raise ArtifactError(f"{path}: {reason}. `gilot validate` says more")
    manifest: dict[str, Any] = value
    return manifest


def _read_records(path: Path) -> Iterator[dict[str, Any]]:
    lines = _bytes(path).splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        value, reason = parse_line(line)
        if reason is not None and number == len(lines) and not line.endswith(b"\n"):
            _log.warning("%s:%d: %s; it is left out", path, number, reason)
            return
        if reason is None:
            reason = _version_problem(value) or _record_problem(value)
        if reason is not None:
            raise ArtifactError(f"{path}:{number}: {reason}. `gilot validate` says more")
        yield value


def _version_problem(value: Any) -> str | None:
    if not isinstance(value, Mapping):
        return "not an object"
    version = value.get("schema_version")
    if version not in READ_VERSIONS:
        return f"schema_version {version!r} is not known; this release reads {one_of(READ_VERSIONS)}"
    return None


def _record_problem(record: Mapping[str, Any]) -> str | None:
    """What every reader of records takes for granted."""
    wanted = {"task": str, "doc_id": int, "status": str, "metrics": Mapping, "model": str}
    broken = [name for name, kind in wanted.items() if not isinstance(record.get(name), kind)]
    return f"{', '.join(broken)} missing or malformed" if broken else None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror or error}") from error
