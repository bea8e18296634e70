"""What was computed so far, in a file that a killed run goes on from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from gilot_plugin.artifacts.writer import RecordWriter
from gilot_plugin.backends.rows import Row
from gilot_plugin.errors import ArtifactError


class NewAnswer(NamedTuple):
    """An answer to be kept.

    Attributes:
        key: Of the answer, see :meth:`ValueStore.key`.
        token_ids: Its tokens.
        text: Its text, for people who read the file.
    """

    key: str
    token_ids: tuple[int, ...]
    text: str


class NewNumber(NamedTuple):
    """A number to be kept.

    Attributes:
        key: Of the number, see :meth:`ValueStore.key`.
        name: What it is, for people who read the file.
        value: The number, finite.
    """

    key: str
    name: str
    value: float


class ValueStore:
    """Computed values by a key of all that they depend on, in memory and in a file of JSON lines.

    Lines are only ever appended. One that a killed process left unfinished, or that is no line of a store, is
    passed over: its value is computed again.

    Args:
        model: Name of the language model, with what changes its numbers (revision, adapter, dtype).
        path: The file, which need not exist; None to keep values in memory only.

    Attributes:
        answers: Tokens of answers by their keys.
        numbers: Numbers by their keys.

    Raises:
        ArtifactError: The file cannot be read.
    """

    def __init__(self, model: str, path: Path | None = None) -> None:
        self.model = model
        self.answers: dict[str, tuple[int, ...]] = {}
        self.numbers: dict[str, float] = {}
        self._writer = None if path is None else RecordWriter(path)
        if path is not None and path.exists():
            self._read(path)

    def key(self, name: str, row: Row | None, *depends_on: Any) -> str:
        """Key of a value.

        Args:
            name: What it is.
            row: The prompt as fed; None where the value depends on none.
            depends_on: Everything else that it depends on, beside the model: JSON values and rows.
        """
        told = json.dumps([self.model, name, row, depends_on], default=_of_row, separators=(",", ":"))
        return hashlib.sha256(told.encode()).hexdigest()

    def add(self, values: Iterable[NewAnswer | NewNumber]) -> None:
        """Keep values; they are on the disk when this returns.

        Raises:
            ArtifactError: The file cannot be written.
        """
        lines: list[dict[str, Any]] = []
        for value in values:
            if isinstance(value, NewAnswer):
                self.answers[value.key] = value.token_ids
                lines.append({"key": value.key, "answer": list(value.token_ids), "text": value.text})
            else:
                self.numbers[value.key] = value.value
                lines.append({"key": value.key, "name": value.name, "value": value.value})
        if self._writer is not None:
            self._writer.write_all(lines)

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()

    def _read(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                for line in file:
                    self._take(line)
        except OSError as error:
            raise ArtifactError(f"{path}: cannot be read: {error.strerror or error}") from error

    def _take(self, line: bytes) -> None:
        try:
            told = json.loads(line)
            if "answer" in told:
                self.answers[str(told["key"])] = tuple(map(int, told["answer"]))
            else:
                self.numbers[str(told["key"])] = float(told["value"])
        except (ValueError, KeyError, TypeError):
            return


def _of_row(value: Any) -> Any:
    if isinstance(value, Row):
        return [value.token_ids, value.positions, value.attended]
    raise TypeError(f"{type(value).__name__} is no part of a key")
