"""The files of a run as they grow, read a part at a time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple

from gilot_plugin.artifacts.file_checks import parse_line
from gilot_plugin.artifacts.finding import choose_run
from gilot_plugin.artifacts.loading import LoadedRun, checked_record
from gilot_plugin.artifacts.names import ARTIFACT_PATTERN, parse_name
from gilot_plugin.artifacts.records import RecordKey
from gilot_plugin.artifacts.typed import Record
from gilot_plugin.errors import ArtifactError
from gilot_plugin.reports.html.answers import report_view
from gilot_plugin.reports.html.samples import list_row, sample_link, search_text

#: What comes of a line that is no record.
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError)


class Line(NamedTuple):
    """A record and where it stands.

    Attributes:
        path: The file.
        start: First byte of the line.
        end: One past its last byte.
        record: As read, without the flows, which only its own view shows.
    """

    path: Path
    start: int
    end: int
    record: Record


class Following:
    """A run whose records are read as they are written.

    What the list needs of a record is read at once; all of it is checked when it is looked at. Safe to be
    read by other threads than the one that refreshes.

    Args:
        folder: See :func:`gilot_plugin.artifacts.finding.choose_run`.
        date: See there.
        model: See there.

    Raises:
        ArtifactError: There is no such run.
    """

    def __init__(self, folder: Path, *, date: str | None = None, model: str | None = None) -> None:
        self._asked = folder, date, model
        self._lock = Lock()
        self._forget()

    def _forget(self) -> None:
        folder, date, model = self._asked
        run = choose_run(folder, date=date, model=model).run
        self.folder, self.date = run.folder, run.date
        self._lines: dict[RecordKey, Line] = {}
        self._places: dict[str, RecordKey] = {}
        self._read: dict[Path, tuple[int, int]] = {}  # inode, and how far
        self._manifest: tuple[int, Mapping[str, Any] | None] = (0, None)
        self.broken = 0

    @property
    def version(self) -> tuple[int, int, int]:
        """Differs whenever there is something new to show."""
        return len(self._lines), self.broken, self._manifest[0]

    @property
    def run(self) -> LoadedRun:
        """The run as far as it was read; its records have no flows."""
        with self._lock:
            lines, manifest = list(self._lines.values()), self._manifest[1]
        records = sorted((line.record for line in lines), key=lambda record: (record.task, record.doc_id))
        return LoadedRun(self.folder, self.date, manifest, tuple(records))

    def refresh(self, seconds: float = float("inf")) -> bool:
        """Read what was added.

        Args:
            seconds: After which it stops, with a whole line.

        Returns:
            Whether there is more to read.

        Raises:
            ArtifactError: The run is gone.
        """
        until = monotonic() + seconds
        files, manifest = self._files()
        sizes = {path: found for path in files if (found := _stat(path)) is not None}
        shrunk = any(
            path not in sizes or sizes[path][0] != inode or sizes[path][1] < at
            for path, (inode, at) in self._read.items()
        )
        if shrunk or (not files and manifest is None):
            # Renamed to lm-eval's date, or put together from the files of several processes.
            with self._lock:
                self._forget()
            files, manifest = self._files()
        self._read_manifest(manifest)
        left = [path for path in files if self._read_records(path, until)]
        return bool(left)

    def sample(self, link: str) -> dict[str, Any]:
        """All that a sample's view shows.

        Args:
            link: See :func:`gilot_plugin.reports.html.samples.sample_link`.

        Raises:
            KeyError: There is no such sample.
            ArtifactError: Its record is broken.
        """
        with self._lock:
            line = self._lines[self._places[link]]
            manifest = self._manifest[1]
        with line.path.open("rb") as content:
            content.seek(line.start)
            value, reason = parse_line(content.read(line.end - line.start))
        if reason is not None:
            raise ArtifactError(f"{line.path}: {reason}")
        record = checked_record(value, self.folder)
        logged = LoadedRun(self.folder, self.date, manifest, (record,)).sample_of
        return report_view(record, logged.get(record.key))

    def rows(self, method: str | None) -> list[dict[str, Any]]:
        """What the list of samples shows and filters by."""
        return [list_row(record, method) for record in self.run.records]

    def texts(self) -> list[str]:
        """Where the list's search looks, in the order of the rows."""
        return [search_text(record) for record in self.run.records]

    def _files(self) -> tuple[list[Path], Path | None]:
        files, manifest = [], None
        for path in sorted(self.folder.glob(ARTIFACT_PATTERN)):
            name = parse_name(path.name)
            if name is not None and name.date == self.date:
                if name.kind == "manifest":
                    manifest = path
                else:
                    files.append(path)
        return files, manifest

    def _read_manifest(self, path: Path | None) -> None:
        try:
            changed = path.stat().st_mtime_ns if path is not None else 0
            if path is None or changed == self._manifest[0]:
                return
            value, reason = parse_line(path.read_bytes())
        except OSError:
            return
        # One that cannot be read is in the act of being replaced, or `gilot validate` says more.
        if reason is None and isinstance(value, Mapping) and isinstance(value.get("tasks"), Mapping):
            self._manifest = changed, value

    def _read_records(self, path: Path, until: float) -> bool:
        try:
            with path.open("rb") as content:
                inode = os.fstat(content.fileno()).st_ino
                content.seek(self._read.get(path, (inode, 0))[1])
                while monotonic() < until:
                    start = content.tell()
                    line = content.readline()
                    if not line.endswith(b"\n"):  # nothing, or a part of what is being written
                        return False
                    self._take(path, start, line)
                    self._read[path] = inode, content.tell()
        except OSError:
            return False
        return True

    def _take(self, path: Path, start: int, line: bytes) -> None:
        value, reason = parse_line(line)
        try:
            if reason is not None:
                raise ValueError(reason)
            record = replace(Record.from_json(value), flows=())
            link = sample_link(record)
            list_row(record, record.method)
        except _MALFORMED:
            self.broken += 1
            return
        with self._lock:
            self._lines.setdefault(record.key, Line(path, start, start + len(line), record))
            self._places.setdefault(link, record.key)


def _stat(path: Path) -> tuple[int, int] | None:
    """Inode and size; None where the file is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size
