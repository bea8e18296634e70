"""A run as flat tables: one of its samples, one of their units, one of the flows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gilot_plugin.artifacts.loading import LoadedRun, unit_rows, writable
from gilot_plugin.artifacts.typed import Record
from gilot_plugin.exports.explained import explained_text

if TYPE_CHECKING:
    import pandas

#: Diagnostics that are numbers, and stand in a column each.
_DIAGNOSTICS = ("outside_support", "transport_gap", "outcome_entropy", "model_tokens", "truncated_tokens")


def tables(run: LoadedRun) -> dict[str, pandas.DataFrame]:
    """Tables by name: ``samples``, ``units``, ``flows``; those without a row are left out.

    Rows belong together by ``task``, ``doc_id`` and ``doc_hash``. Each column is of one kind, and all text
    can be written as UTF-8.
    """
    found = {
        "samples": [_sample(record) for record in run.records],
        "units": [row for record in run.explained for row in unit_rows(record)],
        "flows": [row for record in run.explained for row in _flows(record)],
    }
    return {name: _table(rows) for name, rows in found.items() if rows}


def _sample(record: Record) -> dict[str, Any]:
    target = record.target
    return {
        "task": record.task,
        "doc_id": record.doc_id,
        "doc_hash": record.doc_hash,
        "prompt_hash": record.prompt_hash,
        "target_hash": record.target_hash,
        "request_type": record.request_type,
        "status": record.status,
        "reason": record.reason,
        "model": record.model,
        "config_hash": record.config_hash,
        "correct": record.correct,
        "prompt": record.prompt,
        "explained": explained_text(record),
        "response": target.response if target is not None else None,
        "margin": target.margin if target is not None else None,
        **{name: record.diagnostics.get(name) for name in _DIAGNOSTICS},
        "seconds": record.diagnostics.get("seconds", {}).get("total"),
        **{f"metric:{name}": value for name, value in record.metrics.items()},
    }


def _flows(record: Record) -> Iterator[dict[str, Any]]:
    for index, flows in enumerate(record.flows):
        for flow in flows:
            yield {
                "task": record.task,
                "doc_id": record.doc_id,
                "doc_hash": record.doc_hash,
                "unit": index,
                "from": flow.from_token,
                "to": flow.to_token,
                "mass": flow.mass,
                "cost": flow.cost,
            }


def _table(rows: Sequence[Mapping[str, Any]]) -> pandas.DataFrame:
    """A table with columns of one kind each: what is no number or truth value throughout is text."""
    import pandas

    names = dict.fromkeys(name for row in rows for name in row)
    return pandas.DataFrame({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: Sequence[Any]) -> pandas.Series[Any]:
    import pandas

    kinds = {type(value) for value in values} - {type(None)}
    if kinds and kinds <= {bool}:
        return pandas.Series(values, dtype="boolean")
    if kinds and kinds <= {int}:
        return pandas.Series(values, dtype="Int64")
    if kinds and kinds <= {bool, int, float}:
        return pandas.Series(values, dtype="float64")
    return pandas.Series([None if value is None else _text(value) for value in values], dtype="string")


def _text(value: Any) -> str:
    return writable(value if isinstance(value, str) else json.dumps(value))
