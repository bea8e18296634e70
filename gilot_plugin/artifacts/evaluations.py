"""An evaluation as lm-eval left it on the disk, with or without this plugin."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gilot_plugin.artifacts.lm_eval_files import read_samples
from gilot_plugin.errors import ArtifactError, ConfigError, one_of

_RESULTS = re.compile(r"results_(?P<date>\d[^_/\\]*)\.json")

#: The first release that logs what is needed to ask again.
_OLDEST = (0, 4, 10)


@dataclass(frozen=True)
class PastEvaluation:
    """What ``results_<date>.json`` says of an evaluation.

    Attributes:
        folder: Of the file, with the samples beside it.
        date: As the names of the files spell it.
        content: Of the file.
    """

    folder: Path
    date: str
    content: Mapping[str, Any]

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / f"results_{self.date}.json"

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What lm-eval was called with."""
        found: Mapping[str, Any] = self.content["config"]
        return found

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.content.get("model_name") or self.folder.name)

    @property
    def tasks(self) -> Mapping[str, Mapping[str, Any]]:
        """Settings of its tasks, by name, groups left out."""
        found: Mapping[str, Mapping[str, Any]] = self.content["configs"]
        return found

    def num_fewshot(self, task: str) -> int | None:
        """Examples in each prompt of a task."""
        found = self.content.get("n-shot", {}).get(task)
        return found if isinstance(found, int) else None

    def rows(self, task: str) -> list[dict[str, Any]]:
        """What lm-eval logged of a task's samples, as it was before it became text; none if it logged none.

        Raises:
            ArtifactError: A row is none of lm-eval's, or was edited: its hashes are of other contents.
        """
        place = self.folder / f"samples_{task}_{self.date}.jsonl"
        return [
            _restored(row, place, number)
            for number, row in enumerate(read_samples(self.folder, task, self.date), start=1)
        ]


def find_evaluation(folder: Path, *, model: str | None = None, date: str | None = None) -> PastEvaluation:
    """Find the newest evaluation in a folder.

    Args:
        folder: The folder of the files or one above it, such as lm-eval's ``output_path``; or a results file.
        model: Of which model, by its name or that of its folder; by default of any.
        date: Which one, as file names spell it.

    Raises:
        ArtifactError: There is none, its results are no results of lm-eval, or do not tell how to ask again.
    """
    if not folder.exists():
        raise ArtifactError(f"{folder}: there is no such folder: give the output_path of an lm-eval run")
    paths = [folder] if folder.is_file() else sorted(folder.rglob("results_*.json"))
    dated = [(match["date"], path) for path in paths if (match := _RESULTS.fullmatch(path.name))]
    if not dated:
        raise ArtifactError(
            f"{folder} has no results of lm-eval (results_<date>.json): give the output_path of an lm-eval "
            "run"
        )
    if date is not None:
        dates = sorted({found for found, _ in dated})
        dated = [one for one in dated if one[0] == date]
        if not dated:
            raise ArtifactError(f"{folder} has no evaluation of {date!r}; there are {one_of(dates)}")
    found = [_read(path, when) for when, path in sorted(dated, reverse=True)[: None if model else 1]]
    if model is not None:
        named = [one for one in found if model in (one.model, one.folder.name)]
        if not named:
            there = one_of(sorted({one.model for one in found}))
            raise ArtifactError(f"{folder} has no evaluation of model {model!r}; there are {there}")
        found = named
    return found[0]


def named_tasks(past: PastEvaluation, named: str | None) -> list[str]:
    """Tasks of an evaluation.

    Args:
        past: The evaluation.
        named: Names of tasks and groups, with commas; None for all tasks.

    Raises:
        ConfigError: It has no such task or group.
    """
    if named is None:
        return list(past.tasks)
    found: list[str] = []
    for name in filter(None, map(str.strip, named.split(","))):
        members = list(_members(name, past))
        if not members:
            raise ConfigError(
                f"--tasks {name}: the evaluation has no such task, it has {one_of(tuple(past.tasks))}"
            )
        found += members
    return list(dict.fromkeys(found))


def _members(name: str, past: PastEvaluation) -> Iterator[str]:
    if name in past.tasks:
        yield name
        return
    for member in (past.content.get("group_subtasks") or {}).get(name) or ():
        yield from _members(member, past)


def _read(path: Path, date: str) -> PastEvaluation:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is not a results file of lm-eval: {error!r}") from error
    missing = [
        name
        for name in ("config", "configs")
        if not isinstance(content, dict) or not isinstance(content.get(name), dict)
    ]
    if missing:
        raise ArtifactError(f"{path} is not a results file of lm-eval: {', '.join(missing)} missing")
    release = content.get("lm_eval_version")
    known = tuple(map(int, re.findall(r"\d+", str(release))[:3])) if release else None
    if known is not None and known < _OLDEST:
        raise ArtifactError(
            f"{path} is of lm-eval {release}, whose log does not tell how prompts were made: evaluate again "
            "with 0.4.10 or later"
        )
    return PastEvaluation(path.parent, date, content)


def _restored(row: dict[str, Any], path: Path, number: int) -> dict[str, Any]:
    """A row with arguments and answers as lm-eval has them in memory."""
    try:
        arguments = [
            tuple(_argument(one[f"arg_{place}"]) for place in range(len(one)))
            for one in _in_order(row["arguments"])
        ]
        restored = {
            **row,
            "arguments": arguments,
            "resps": [[_answer(answer) for answer in answers] for answers in row["resps"]],
            "filtered_resps": [_answer(answer) for answer in row["filtered_resps"]],
        }
        edited = [name for name, text in _hashed(restored) if row[name] != _digest(text)]
        for metric in row["metrics"]:
            _ = row[metric]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ArtifactError(
            f"{path}:{number}: not a sample as lm-eval 0.4.10 and later log it: {error!r}"
        ) from error
    if edited:
        raise ArtifactError(
            f"{path}:{number}: the sample was edited after it was logged: {', '.join(edited)} "
            "is of another text"
        )
    return restored


def _argument(value: Any) -> Any:
    """An argument of a request; conversations for an API are logged as the one field of a named tuple."""
    match value:
        case [str(conversation)]:
            return conversation
    return value


def _in_order(arguments: Mapping[str, Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    return (arguments[f"gen_args_{place}"] for place in range(len(arguments)))


def _hashed(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "doc_hash", json.dumps(row["doc"], indent=2, ensure_ascii=False)
    yield "prompt_hash", str(row["arguments"][0][0])
    yield "target_hash", str(row["target"])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _answer(value: Any) -> Any:
    """A text as the model gave it, or a log-likelihood and whether it is what the model would say."""
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
        first, second = value
        if second in ("True", "False", True, False):
            return float(first), second in ("True", True)
    return value
