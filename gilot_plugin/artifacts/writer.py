"""Write records and manifests so that a killed process leaves whole lines and whole manifests behind."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from gilot_plugin.artifacts import jsontext
from gilot_plugin.errors import ArtifactError

#: How often a folder is looked at whose parts may vanish meanwhile.
_TRIES = 100


class RecordWriter:
    """Appends records to a JSON-lines file, which is created by the first one.

    Every record is on the disk when :meth:`write` returns. A line that an earlier process left unfinished is
    cut off before the first record is appended; whole lines are never touched.

    Args:
        path: The file; its folder is created if need be.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._descriptor: int | None = None

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record.

        Raises:
            ArtifactError: The record is not strict JSON (nothing is written), or the file cannot be written.
        """
        self.write_all([record])

    def write_all(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append several records, which reach the disk together.

        Raises:
            ArtifactError: As for :meth:`write`.
        """
        lines = b"".join(map(record_line, records))
        if not lines:
            return
        try:
            if self._descriptor is None:
                self._descriptor = _open_for_records(self.path)
            _append(self._descriptor, lines)
        except OSError as error:
            raise ArtifactError(_cannot_write(self.path, error)) from error

    def close(self) -> None:
        """Close the file; nothing happens if it is not open."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write or replace a manifest; a reader finds the old one or the new one, never a part.

    Args:
        path: The file; its folder is created if need be.
        manifest: Its content, see ``schema/manifest-1.1.json``. What JSON does not know is written as text.

    Raises:
        ArtifactError: The file cannot be written.
    """
    replace_file(path, jsontext.dumps(jsontext.plain(manifest), indent=2).encode() + b"\n")


def record_line(record: Mapping[str, Any]) -> bytes:
    """The line of a record in its file.

    Raises:
        ArtifactError: The record is not strict JSON.
    """
    try:
        return jsontext.dumps(record).encode() + b"\n"
    except ArtifactError as error:
        name = f"{record.get('task')!r}, document {record.get('doc_id')!r}"
        raise ArtifactError(f"the record of task {name} {error}") from error


def replace_file(path: Path, content: bytes) -> None:
    """Write or replace a file; a reader finds the old content or the new one, never a part.

    Raises:
        ArtifactError: The file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The leading dot keeps a leftover of a killed process from being taken for an artifact.
        unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            with unfinished.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise ArtifactError(_cannot_write(path, error)) from error


def move_into_place(source: Path, target: Path) -> None:
    """Move a file that another program has written; a reader finds the old target or the new one.

    Args:
        source: On the same file system.
        target: Its folder is created if need be.

    Raises:
        OSError: It cannot be moved.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(source, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    source.replace(target)
    _sync_folder(target.parent)


def check_writable(folder: Path) -> None:
    """Make sure, before hours of computing, that artifacts can be written.

    The folder and a file in it are really created and removed again, because permissions alone tell nothing
    to root, on read-only file systems, or on a full disk.

    Args:
        folder: Where artifacts are to go; it need not exist yet, and does not exist afterwards if it did not.

    Raises:
        ArtifactError: The folder or a file in it cannot be created; the message says what to do.
    """
    folder = Path(folder)
    for left in reversed(range(_TRIES)):
        try:
            _write_for_a_moment(folder)
            break
        except (OSError, ValueError) as error:
            # Other processes of the same run look at the same time, and remove what they created.
            if not left or not isinstance(error, FileNotFoundError):
                raise ArtifactError(_cannot_write(folder, error)) from error


def _write_for_a_moment(folder: Path) -> None:
    """Create the folder and a file in it, and remove what was created."""
    created: list[Path] = []
    try:
        for part in (*reversed(folder.parents), folder):
            # `exists` is no substitute: it is False for a dangling link, and what it says may be outdated.
            with contextlib.suppress(FileExistsError):
                if not part.is_dir():
                    part.mkdir()
                    created.append(part)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".gilot-", suffix=".tmp") as probe:
            probe.write(b"\n")
    finally:
        for part in reversed(created):
            with contextlib.suppress(OSError):
                part.rmdir()


def _open_for_records(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    # O_BINARY exists on Windows only, where descriptors otherwise translate line ends.
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        _finish_last_line(path, descriptor)
        if is_new:
            _sync_folder(path.parent)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _finish_last_line(path: Path, descriptor: int) -> None:
    """End the last line if its record is whole, cut it off if not: a new record must start on a new line."""
    with path.open("rb") as file:
        last = b"".join(deque(file, maxlen=1))
    if not last or last.endswith(b"\n"):
        return
    try:
        json.loads(last)
    except ValueError:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - len(last))
    else:
        _write_all(descriptor, b"\n")


def _append(descriptor: int, lines: bytes) -> None:
    """Write lines through to the disk, or leave nothing of them behind."""
    end = os.fstat(descriptor).st_size
    try:
        _write_all(descriptor, lines)
        os.fsync(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, end)
        raise


def _write_all(descriptor: int, content: bytes) -> None:
    """Write all bytes: a nearly full disk takes only some of them at a time, before it refuses."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder outlive a crash, where the system can."""
    with contextlib.suppress(OSError):  # Windows does not open folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _cannot_write(path: Path, error: OSError | ValueError) -> str:
    cause = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return f"cannot write to {path}: {cause}: make room or access there, or choose another output_path"
