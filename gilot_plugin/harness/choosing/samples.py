"""lm-eval's logged samples, one per document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gilot_plugin.artifacts.records import SampleIdentity
from gilot_plugin.extension.samples import Sample


def samples_of_task(task: str, output_type: str, logged: Sequence[dict[str, Any]]) -> list[Sample]:
    """Group lm-eval's logged rows (one per document and filter) by document, in order.

    Several processes log theirs one after the other. Rows belong together by document and prompt hash,
    because with ``--samples`` the logged doc_id can be wrong.
    """
    grouped: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for row in logged:
        grouped.setdefault((row["doc_hash"], row["prompt_hash"], row["doc_id"]), []).append(row)
    samples = [_sample(task, output_type, rows) for rows in grouped.values()]
    return sorted(samples, key=lambda sample: sample.identity.doc_id)


def _sample(task: str, output_type: str, rows: list[dict[str, Any]]) -> Sample:
    first = rows[0]
    metrics: dict[str, Any] = {
        f"{metric},{row['filter']}": row[metric] for row in rows for metric in row["metrics"]
    }
    identity = SampleIdentity(
        task=task,
        doc_id=first["doc_id"],
        doc_hash=first["doc_hash"],
        prompt_hash=first["prompt_hash"],
        target_hash=first["target_hash"],
        request_type=output_type,
        metrics=metrics,
    )
    return Sample(identity, first["doc"], first["target"], first["arguments"], first["resps"], rows)
