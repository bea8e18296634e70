"""The report's section on wrong answers against right ones, as its template asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gilot_plugin.analysis.contrast import Contrast, Contrasts, amount, contrast_lines
from gilot_plugin.artifacts.records import RecordKey
from gilot_plugin.artifacts.typed import Record
from gilot_plugin.reports.contrast import HEADINGS, ROWS, effect_words, interval_words, judged_words
from gilot_plugin.reports.html.packing import shown
from gilot_plugin.reports.html.samples import sample_link


def contrast_section(found: Contrasts, records: Mapping[RecordKey, Record]) -> dict[str, Any]:
    """Tables, sentences and links.

    Args:
        found: The comparisons.
        records: Of the run, for links to those that are typical.
    """
    tables = {heading: [one for one in found.found if one.kind == kind] for kind, heading in HEADINGS.items()}
    return {
        "lines": [shown(line) for line in contrast_lines(found)],
        "tables": [
            (heading, [_row(one, records) for one in rows[:ROWS]], len(rows))
            for heading, rows in tables.items()
            if rows
        ],
    }


def _row(one: Contrast, records: Mapping[RecordKey, Record]) -> dict[str, Any]:
    return {
        "name": shown(one.name),
        "group": amount(one, one.test.mean),
        "others": amount(one, one.test.other),
        "effect": effect_words(one),
        "interval": interval_words(one),
        "judged": judged_words(one),
        "typical": [
            (sample_link(records[key]), f"{shown(key[0])} · {key[1]}")
            for key in one.typical
            if key in records
        ],
    }
