"""The scores of a run in the header of a card, as the hub draws them: ``model-index``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import cast

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.repocard_data import eval_results_to_model_index

from gilot_plugin.artifacts.loading import LoadedRun
from gilot_plugin.errors import ArtifactError

_SOURCE = ("lm-evaluation-harness", "https://github.com/EleutherAI/lm-evaluation-harness")
#: What reads files of one's own is no data set of the hub.
_READERS = frozenset({"arrow", "csv", "json", "pandas", "parquet", "text"})

_HEADER = re.compile(rb"\A(\xef\xbb\xbf)?---(\r?\n)(.*?)(?<=\n)---(?=\r?\n|\Z)", flags=re.DOTALL)
#: The key and what is indented below it; items of a list need not be indented.
_INDEX = re.compile(rb"^[\"']?model-index[\"']?:[^\n]*\n(?:[ \t-][^\n]*\n|\r?\n)*", flags=re.MULTILINE)


def with_eval_results(card: bytes, run: LoadedRun) -> bytes:
    """The card with the run's scores in its header; results of others stay, and so does every other byte.

    Args:
        card: See :func:`gilot_plugin.reports.card.editing.read_card`; one without a header gets one.
        run: The run.

    Raises:
        ArtifactError: lm-eval wrote no results beside the run, or the run is of several models.
    """
    models = list(dict.fromkeys(record.model for record in run.records))
    if len(models) != 1:
        raise ArtifactError(f"{run.folder}: a card is of one model, and the run has {len(models)}")
    new = list(eval_results(run))
    if not new:
        raise ArtifactError(f"{run.folder}: lm-eval wrote no scores beside the attributions")
    before = _data(card)
    name = before.model_name or models[0].rstrip("/").rpartition("/")[2]
    kept = [
        old
        for old in before.eval_results or ()
        if not any(old.is_equal_except_value(result) for result in new)
    ]
    index = eval_results_to_model_index(name, [*kept, *new])
    text = yaml.safe_dump({"model-index": index}, sort_keys=False, allow_unicode=True)
    written = _with_index(card, text)
    # As the hub's own library reads it: nothing is written that it would refuse.
    try:
        read = _data(written).eval_results or ()
        complete = sorted(map(repr, read)) == sorted(map(repr, [*kept, *new]))
    except Exception:  # see there
        complete = False
    if not complete:
        raise ArtifactError("the card's header cannot hold the scores: write it with one key a line")
    return written


def eval_results(run: LoadedRun) -> Iterator[EvalResult]:
    """The scores as lm-eval gave them, but for those that are no finite numbers."""
    for task, found in run.evaluation.tasks.items() if run.evaluation is not None else ():
        path = found.data.path
        of_hub = path is not None and path not in _READERS
        for score in found.scores:
            if math.isfinite(score.value):
                yield EvalResult(
                    task_type="text-generation",
                    dataset_type=path if of_hub and path is not None else task,
                    dataset_name=task,
                    dataset_config=found.data.name if of_hub else None,
                    dataset_split=found.data.split,
                    metric_type=score.metric,
                    metric_name=score.name,
                    metric_value=score.value,
                    metric_args=None if found.num_fewshot is None else {"num_fewshot": found.num_fewshot},
                    source_name=_SOURCE[0],
                    source_url=_SOURCE[1],
                )


def _data(card: bytes) -> ModelCardData:
    """The header; raises whatever YAML and the checks of its fields raise."""
    return cast("ModelCardData", ModelCard(card.decode("utf-8-sig"), ignore_metadata_errors=False).data)


def _with_index(card: bytes, text: str) -> bytes:
    header = _HEADER.match(card)
    if header is None:
        mark = b"\xef\xbb\xbf" if card.startswith(b"\xef\xbb\xbf") else b""
        line_end = b"\r\n" if b"\r\n" in card else b"\n"
        block = _lines(text, line_end)
        return mark + b"---" + line_end + block + b"---" + line_end + card[len(mark) :]
    line_end, body = header[2], header[3]
    block = _lines(text, line_end)
    old = _INDEX.search(body)
    changed = body + block if old is None else body[: old.start()] + block + body[old.end() :]
    return card[: header.start(3)] + changed + card[header.end(3) :]


def _lines(text: str, line_end: bytes) -> bytes:
    lines: Sequence[bytes] = text.encode().splitlines()
    return b"".join(line + line_end for line in lines)
