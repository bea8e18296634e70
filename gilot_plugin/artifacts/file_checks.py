"""Check a file of records line by line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from gilot_plugin.artifacts.record_checks import record_problems
from gilot_plugin.artifacts.schemas import shown

#: A broken record may break a rule at every token; the first few say what is wrong.
_MAX_PROBLEMS_A_RECORD = 8


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with an artifact.

    Attributes:
        file: The artifact.
        line: Number of the line from 1; None for the file as a whole.
        reason: What is wrong, in words; text from the artifact is escaped.
    """

    file: Path
    line: int | None
    reason: str

    def __str__(self) -> str:
        place = str(self.file) if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class RecordLine:
    """What a manifest says something about, of one record.

    Attributes:
        number: The line, from 1.
        task: Name of the task.
        doc_id: The document.
        status: ``ok``, ``skipped`` or ``failed``.
        config_hash: Of the settings; None where the record has none.
    """

    number: int
    task: str
    doc_id: int
    status: str
    config_hash: str | None


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A file of records that was read to its end.

    Attributes:
        path: The file.
        line_count: Lines in it, broken ones included.
        lines: Those that can be told apart by task, document and status.
        problems: What is wrong, in the order of the lines.
    """

    path: Path
    line_count: int
    lines: tuple[RecordLine, ...]
    problems: tuple[Problem, ...]


def check_file(path: Path) -> CheckedFile:
    """Check every line of a file of records; a file that cannot be read is a problem, not an error."""
    lines: list[RecordLine] = []
    problems: list[Problem] = []
    seen: dict[tuple[str, int, Any], int] = {}
    number = 0
    try:
        with path.open("rb") as file:
            for number, content in enumerate(file, start=1):
                record, reason = parse_line(content)
                if reason is not None:
                    problems.append(Problem(path, number, reason))
                    continue
                problems.extend(Problem(path, number, reason) for reason in _first(record_problems(record)))
                line = _line(record, number)
                if line is None:
                    continue
                lines.append(line)
                first = seen.setdefault((line.task, line.doc_id, shown(record.get("prompt_hash"))), number)
                if first != number:
                    reason = f"duplicate: line {first} has the same document {line.doc_id} and prompt_hash"
                    problems.append(Problem(path, number, reason))
    except OSError as error:
        problems.append(Problem(path, None, f"cannot be read: {error.strerror or error}"))
    return CheckedFile(path, number, tuple(lines), tuple(problems))


def parse_line(content: bytes) -> tuple[Any, str | None]:
    """Read one line as JSON.

    Args:
        content: The line, with its line end if it has one.

    Returns:
        The value and None, or None and why there is none: ``truncated: ...`` where the text ends too early.
    """
    if not content.strip():
        return None, "empty: each line holds one record"
    try:
        return json.loads(content.decode()), None
    except json.JSONDecodeError as error:
        ends_early = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string")
        if ends_early or not content.endswith(b"\n"):
            return None, f"truncated: the record breaks off after {len(content.rstrip())} bytes"
        return None, f"not JSON: {error.msg} at column {error.colno}"
    except UnicodeDecodeError as error:
        if not content.endswith(b"\n"):
            return None, f"truncated: the record breaks off after {len(content)} bytes"
        return None, f"not UTF-8: byte {error.start + 1} of the line"
    except RecursionError:
        return None, "not a record: its JSON is nested too deeply"
    except ValueError as error:
        # Python refuses to read whole numbers of more than a few thousand digits.
        return None, f"not a record: {error}"


def _first(reasons: Iterator[str]) -> Iterator[str]:
    yield from islice(reasons, _MAX_PROBLEMS_A_RECORD)
    if rest := sum(1 for _ in reasons):
        yield f"and {rest} more problems"


def _line(record: Any, number: int) -> RecordLine | None:
    if not isinstance(record, Mapping):
        return None
    task, doc_id, status = record.get("task"), record.get("doc_id"), record.get("status")
    if not (isinstance(task, str) and isinstance(doc_id, int) and isinstance(status, str)):
        return None
    config_hash = record.get("config_hash")
    return RecordLine(number, task, doc_id, status, config_hash if isinstance(config_hash, str) else None)
