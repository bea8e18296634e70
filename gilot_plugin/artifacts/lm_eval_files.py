"""lm-eval's own files, as they lie beside a run's artifacts: scores and samples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gilot_plugin.artifacts.names import samples_name
from gilot_plugin.errors import ArtifactError

_STANDARD_ERROR = "_stderr"

#: What comes of reading something else: no JSON, another encoding, other kinds, too deep, too large.
_MALFORMED = (ValueError, KeyError, AttributeError, TypeError, RecursionError, OverflowError)


class Score(NamedTuple):
    """One number of lm-eval's results table.

    Attributes:
        metric: Name of the metric.
        filter: Of the answers; ``"none"`` where they are taken as they are.
        value: What lm-eval computed over the task's samples.
        stderr: Its standard error; None where lm-eval gives none.
        higher_is_better: None where lm-eval does not say.
    """

    metric: str
    filter: str
    value: float
    stderr: float | None
    higher_is_better: bool | None

    @property
    def name(self) -> str:
        """As lm-eval writes it, without a filter that does nothing."""
        return self.metric if self.filter == "none" else f"{self.metric},{self.filter}"


class DataSource(NamedTuple):
    """Where a task's documents come from, as its configuration says; None where it does not.

    Attributes:
        path: Name of the data set, or of what reads its files.
        name: Its configuration.
        split: The split that was scored.
    """

    path: str | None = None
    name: str | None = None
    split: str | None = None


_NOT_KNOWN = DataSource()


@dataclass(frozen=True, slots=True)
class TaskScores:
    """What lm-eval says of one task.

    Attributes:
        scores: In lm-eval's order.
        version: Of the task.
        num_fewshot: Examples in each prompt; None where lm-eval does not say.
        samples: Samples that were scored; None where lm-eval does not say.
        data: Where the documents come from; nothing is known for a group.
    """

    scores: tuple[Score, ...]
    version: str
    num_fewshot: int | None
    samples: int | None
    data: DataSource = _NOT_KNOWN


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What lm-eval's ``results_<date>.json`` says.

    Attributes:
        path: The file.
        tasks: By task or group, in lm-eval's order.
        arguments: What it was called with (``config`` of the file).
    """

    path: Path
    tasks: Mapping[str, TaskScores]
    arguments: Mapping[str, Any]


def read_evaluation(folder: Path, date: str) -> Evaluation | None:
    """Read the results that lm-eval wrote beside a run; None where it wrote none.

    Raises:
        ArtifactError: The file is there, but not one of lm-eval's.
    """
    path = folder / f"results_{date}.json"
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        results: Mapping[str, Mapping[str, Any]] = content["results"]
        tasks = {task: _task_scores(content, task, numbers) for task, numbers in results.items()}
        arguments = _of_kind(content.get("config") or {}, dict, "config")
    except (OSError, *_MALFORMED) as error:
        raise ArtifactError(f"{path} is not a results file of lm-eval: {error!r}") from error
    return Evaluation(path, tasks, arguments)


def read_samples(folder: Path, task: str, date: str) -> Iterator[dict[str, Any]]:
    """Go through the samples that lm-eval logged of a task (``--log_samples``); none if it did not.

    Raises:
        ArtifactError: The file is there, but not one of lm-eval's.
    """
    name = samples_name(task, date)
    if name is None or not (path := folder / name).is_file():
        return
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    sample = _checked_sample(json.loads(line))
                except _MALFORMED as error:
                    raise ArtifactError(f"{path}:{number} is not a sample of lm-eval: {error!r}") from error
                yield sample
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror or error}") from error


def _checked_sample(sample: Any) -> dict[str, Any]:
    """A sample in which everything that samples are told apart by is of its kind."""
    found: dict[str, Any] = _of_kind(sample, dict, "the line")
    _of_kind(found["doc_hash"], str, "doc_hash")
    _of_kind(found["doc_id"], int, "doc_id")
    for name in ("prompt_hash", "target_hash", "filter"):
        _of_kind(found.get(name), str | None, name)
    for metric in _of_kind(found.get("metrics") or [], list, "metrics"):
        _of_kind(metric, str, "metrics")
    return found


def _of_kind(value: Any, kind: Any, name: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{name} is a {type(value).__name__}")
    return value


def _task_scores(content: Mapping[str, Any], task: str, numbers: Mapping[str, Any]) -> TaskScores:
    better = (content.get("higher_is_better") or {}).get(task) or {}
    scores = []
    for key, value in numbers.items():
        metric, comma, chosen = key.partition(",")
        if comma and not metric.endswith(_STANDARD_ERROR) and isinstance(value, int | float):
            stderr = numbers.get(f"{metric}{_STANDARD_ERROR},{chosen}")
            scores.append(
                Score(
                    metric,
                    chosen,
                    float(value),
                    float(stderr) if isinstance(stderr, int | float) else None,
                    better[metric] if isinstance(better.get(metric), bool) else None,
                )
            )
    counts = (content.get("n-samples") or {}).get(task) or {}
    config = (content.get("configs") or {}).get(task) or {}
    split = config.get("test_split") or config.get("validation_split")
    data = (config.get("dataset_path"), config.get("dataset_name"), split)
    return TaskScores(
        scores=tuple(scores),
        version=str((content.get("versions") or {}).get(task, "")),
        num_fewshot=_of_kind((content.get("n-shot") or {}).get(task), int | None, "n-shot"),
        samples=_of_kind(counts.get("effective"), int | None, "n-samples"),
        data=DataSource(*(part if isinstance(part, str) and part else None for part in data)),
    )
