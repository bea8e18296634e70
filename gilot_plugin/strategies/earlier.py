"""Samples of an earlier evaluation, as lm-eval logged them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gilot_plugin.errors import ConfigError


def earlier_samples(place: Path, task: str) -> Mapping[tuple[str, str], dict[str, Any]]:
    """Metrics of a task's samples in an earlier run.

    Args:
        place: A ``samples_<task>_<date>.jsonl``, or a folder that holds some, of which the newest counts.
        task: Name of the task.

    Returns:
        By the hashes of document and target, the metrics as ``{"metric,filter": value}``.

    Raises:
        ConfigError: There are no such samples, or they cannot be read.
    """
    path = _samples_file(place, task)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            metrics = {f"{name},{row['filter']}": row[name] for name in row["metrics"]}
            found.setdefault((row["doc_hash"], row["target_hash"]), {}).update(metrics)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"select.against={str(path)!r}: not samples that lm-eval logged ({error!r}): run the earlier "
            "evaluation with --log_samples"
        ) from None
    return found


def _samples_file(place: Path, task: str) -> Path:
    if place.is_file():
        return place
    if not place.is_dir():
        raise ConfigError(f"select.against={str(place)!r}: there is no such file or folder")
    prefix = f"samples_{task}_"
    # What follows the name is a date; another task's name may begin like this one. What a killed process was
    # writing lies in a hidden folder.
    files = [
        path
        for path in place.rglob("samples_*.jsonl")
        if path.name.startswith(f"{prefix}20")
        and not any(part.startswith(".") for part in path.relative_to(place).parts)
    ]
    if not files:
        raise ConfigError(
            f"select.against={str(place)!r}: it has no samples of task {task!r} ({prefix}<date>.jsonl): run "
            "the earlier evaluation with --log_samples"
        )
    return max(files, key=lambda path: path.name)
