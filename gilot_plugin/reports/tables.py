"""Attributed samples as rows and numbers, for experiment trackers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from gilot_plugin.artifacts.records import prompt_text

#: Columns of :func:`sample_rows`.
COLUMNS = ("task", "doc_id", "status", "reason", "prompt", "target", "method", "top units", "metrics")

#: Units that a row names.
_TOP = 5


def sample_rows(records: Iterable[Mapping[str, Any]]) -> list[list[Any]]:
    """One row a record, with the columns of :data:`COLUMNS`; the first method of a record counts."""
    return [
        [
            record["task"],
            record["doc_id"],
            record["status"],
            record.get("reason", ""),
            prompt_text(record),
            _target(record),
            next(iter(record["scores"]), ""),
            _top_units(record),
            ", ".join(f"{name}: {value}" for name, value in record["metrics"].items()),
        ]
        for record in records
    ]


def summary_numbers(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Numbers of each task, by ``"gilot/TASK/NAME"``.

    Records by status; for each segment, the share of the absolute scores that falls on its units, averaged
    over the samples that have it; means of what says how far the scores can be trusted.
    """
    numbers: dict[str, float] = {}
    for task in dict.fromkeys(record["task"] for record in records):
        own = [record for record in records if record["task"] == task]
        ok = [record for record in own if record["status"] == "ok"]
        for status, count in Counter(record["status"] for record in own).items():
            numbers[f"gilot/{task}/{status}"] = count
        shares = [segment_shares(record) for record in ok]
        for segment in dict.fromkeys(name for share in shares for name in share):
            found = [share[segment] for share in shares if segment in share]
            numbers[f"gilot/{task}/share/{segment}"] = fmean(found)
        for name in ("outside_support", "transport_gap", "outcome_entropy"):
            if found := [record["diagnostics"][name] for record in ok if name in record["diagnostics"]]:
                numbers[f"gilot/{task}/{name}"] = fmean(found)
    return numbers


def segment_shares(record: Mapping[str, Any], method: str | None = None) -> dict[str, float]:
    """Share of the absolute scores on the units of each segment; empty if all scores are 0.

    Args:
        record: A record.
        method: Whose scores, None for those of the record's first method.
    """
    if not record["scores"]:
        return {}
    scores = record["scores"][method or next(iter(record["scores"]))]
    total = sum(map(abs, scores))
    shares: dict[str, float] = {}
    for unit, score in zip(record["units"], scores, strict=True):
        shares[unit["segment"]] = shares.get(unit["segment"], 0.0) + abs(score) / (total or 1.0)
    return shares if total else {}


def _top_units(record: Mapping[str, Any]) -> str:
    if not record["scores"]:
        return ""
    scores = next(iter(record["scores"].values()))
    ranked = sorted(zip(record["units"], scores, strict=True), key=lambda pair: -abs(pair[1]))
    return ", ".join(f"{unit['text'].strip()!r}: {score:.3g}" for unit, score in ranked[:_TOP])


def _target(record: Mapping[str, Any]) -> str:
    target = record["target"]
    if target is None:
        return ""
    if target["kind"] == "choices":
        best = max(target["choices"], key=lambda choice: choice["probability"])
        return f"{best['text'].strip()} ({best['probability']:.2f})"
    response = target.get("response")
    return str(response) if response is not None else str(target["hypotheses"][0]["text"])
