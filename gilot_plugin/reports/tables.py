"""Attributed samples as rows and numbers, for experiment trackers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from gilot_plugin.analysis.segments import segment_shares
from gilot_plugin.artifacts.models import RecordedTarget
from gilot_plugin.artifacts.typed import Record

#: Columns of :func:`sample_rows`.
COLUMNS = ("task", "doc_id", "status", "reason", "prompt", "target", "method", "top units", "metrics")

#: Units that a row names.
_TOP = 5


def sample_rows(records: Iterable[Record]) -> list[list[Any]]:
    """One row a record, with the columns of :data:`COLUMNS` and the record's own method."""
    return [
        [
            record.task,
            record.doc_id,
            record.status,
            record.reason or "",
            record.prompt,
            "" if record.target is None else _answer(record.target),
            record.method or "",
            _top_units(record),
            ", ".join(f"{name}: {value}" for name, value in record.metrics.items()),
        ]
        for record in records
    ]


def summary_numbers(records: Sequence[Record]) -> dict[str, float]:
    """Numbers of each task, by ``"gilot/TASK/NAME"``.

    Records by status; for each segment, the share of the absolute scores that falls on its units, averaged
    over the samples that have it; means of what says how far the scores can be trusted.
    """
    numbers: dict[str, float] = {}
    for task in dict.fromkeys(record.task for record in records):
        own = [record for record in records if record.task == task]
        ok = [record for record in own if record.status == "ok"]
        for status, count in Counter(record.status for record in own).items():
            numbers[f"gilot/{task}/{status}"] = count
        shares = [segment_shares(record) for record in ok]
        for segment in dict.fromkeys(name for share in shares for name in share):
            found = [share[segment] for share in shares if segment in share]
            numbers[f"gilot/{task}/share/{segment}"] = fmean(found)
        for name in ("outside_support", "transport_gap", "outcome_entropy"):
            if measured := [record.diagnostics[name] for record in ok if name in record.diagnostics]:
                numbers[f"gilot/{task}/{name}"] = fmean(measured)
    return numbers


def _top_units(record: Record) -> str:
    if record.method is None:
        return ""
    scores = record.scores[record.method]
    ranked = sorted(zip(record.units, scores, strict=True), key=lambda pair: -abs(pair[1]))
    return ", ".join(f"{unit.text.strip()!r}: {score:.3g}" for unit, score in ranked[:_TOP])


def _answer(target: RecordedTarget) -> str:
    if target.choices:
        best = max(target.choices, key=lambda choice: choice.probability)
        return f"{best.text.strip()} ({best.probability:.2f})"
    return target.response if target.response is not None else target.hypotheses[0].text
