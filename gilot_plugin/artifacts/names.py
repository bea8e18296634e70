"""Names of the files that an attributed run leaves beside lm-eval's own."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import Literal, NamedTuple

#: Finds every artifact in a folder.
ARTIFACT_PATTERN = "attributions_*.json*"

#: Finds faithfulness figures in a folder.
FAITHFULNESS_PATTERN = "faithfulness_*.json"

#: Finds the files of ablations in a folder.
ABLATIONS_PATTERN = "ablations_*.jsonl"

_ATTRIBUTIONS = re.compile(
    r"attributions_(?P<task>.+)_(?P<date>[^_/\\]+?)(?:\.rank(?P<rank>[1-9]\d*))?\.jsonl", flags=re.DOTALL
)
_MANIFEST = re.compile(r"attributions_manifest_(?P<date>[^_/\\]+)\.json", flags=re.DOTALL)

# lm-eval puts task names into its own file names as they are. What cannot stand in a file name on one of the
# usual systems becomes an underscore; the rest stays, so that the two files of a task have the same name but
# for the first word.
_NOT_IN_FILE_NAMES = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_NOT_IN_DATES = re.compile(r"[\s_:/\\]")
_LIKE_A_RANK = re.compile(r"\.rank[1-9]\d*$")


_ABLATIONS = re.compile(r"ablations_.+_(?P<date>[^_/\\]+)\.jsonl", flags=re.DOTALL)


class ArtifactName(NamedTuple):
    """What a file name says.

    Attributes:
        kind: ``"attributions"`` for a file of records, ``"manifest"`` for a run's manifest.
        task: Name of the task as it stands in the file name; None for a manifest.
        date: When the run was saved, see :func:`run_date`.
        rank: Of the process that wrote it; other files than those of rank 0 are gone when a run is finished.
    """

    kind: Literal["attributions", "manifest"]
    task: str | None
    date: str
    rank: int = 0


def run_date(now: datetime | None = None) -> str:
    """Spell a time, by default the present, as lm-eval's file names do. Later times sort last."""
    return (now or datetime.now()).isoformat().replace(":", "-")


def attributions_name(task: str, date: str, rank: int = 0) -> str:
    """Name of the file with a task's records.

    Args:
        task: The task's name in lm-eval.
        date: See :func:`run_date`.
        rank: Of the process that writes it.

    Raises:
        ValueError: The name could not be parsed again.
    """
    if not task:
        raise ValueError("a task needs a name")
    part = f".rank{rank}" if rank else ""
    return f"attributions_{file_part(task)}_{_checked(date)}{part}.jsonl"


def ablations_name(task: str, date: str) -> str:
    """Name of the file with a task's scores without parts of its prompts.

    Raises:
        ValueError: The date is none.
    """
    return f"ablations_{file_part(task)}_{_checked(date)}.jsonl"


def samples_name(task: str, date: str) -> str | None:
    """Name of the file with the samples that lm-eval logged of a task; None where there can be none."""
    name = f"samples_{task}_{date}.jsonl"
    return None if "/" in name or "\0" in name else name


def file_part(task: str) -> str:
    """A task's name as it stands in file names, which no two tasks share.

    What is replaced makes room for a digest of the name: ``a/b`` and ``a_b`` may be tasks of one run.
    """
    safe = _NOT_IN_FILE_NAMES.sub("_", task)
    return safe if safe == task else f"{safe}-{hashlib.sha256(task.encode()).hexdigest()[:8]}"


def manifest_name(date: str) -> str:
    """Name of the file with a run's manifest.

    Args:
        date: See :func:`run_date`.

    Raises:
        ValueError: The name could not be parsed again.
    """
    return f"attributions_manifest_{_checked(date)}.json"


def lock_name(date: str) -> str:
    """Name of the file by which a process holds a run; the dot keeps it from being taken for an artifact.

    Args:
        date: See :func:`run_date`.

    Raises:
        ValueError: It is not a date.
    """
    return f".attributions_{_checked(date)}.lock"


def companion_name(
    kind: Literal[
        "comparison", "export", "faithfulness", "faithfulness_samples", "faithfulness_work", "report"
    ],
    date: str,
    suffix: str,
) -> str:
    """Name of a file that is made from a run's artifacts: ``<kind>_<date><suffix>``."""
    return f"{kind}_{_checked(date)}{suffix}"


def parse_name(name: str) -> ArtifactName | None:
    """Read a file name (without its folder); None where it is not one of an artifact."""
    if match := _MANIFEST.fullmatch(name):
        return ArtifactName("manifest", None, match["date"])
    if match := _ATTRIBUTIONS.fullmatch(name):
        return ArtifactName("attributions", match["task"], match["date"], int(match["rank"] or 0))
    return None


def ablations_date(name: str) -> str | None:
    """The date in the name of a file of ablations; None where it is none."""
    match = _ABLATIONS.fullmatch(name)
    return None if match is None else match["date"]


def _checked(date: str) -> str:
    if not date or _NOT_IN_DATES.search(date) or _LIKE_A_RANK.search(date):
        raise ValueError(f"{date!r} is not a date as in '2024-05-17T09-30-00.123456': take names.run_date()")
    return date
