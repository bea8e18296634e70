"""What a notebook shows of a sample, a run and a comparison: static, small, light and dark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gilot_plugin.analysis.segments import summarize_tasks
from gilot_plugin.artifacts.loading import FIRST_POSITION_LEFT_OUT, LoadedRun
from gilot_plugin.artifacts.typed import Record, chosen_method
from gilot_plugin.comparison.audit import Audit
from gilot_plugin.comparison.verdict import verdict_lines
from gilot_plugin.reports.html.comparison import most_changed, shift_row
from gilot_plugin.reports.html.page import render_fragment
from gilot_plugin.reports.html.report import task_row
from gilot_plugin.reports.html.static import shorten, static_sample

#: The most bytes that a notebook keeps of one value. Half of it is for heat maps.
LIMIT = 50_000
_HEAT = LIMIT // 2
#: Samples that are drawn: as many as fit.
_SAMPLES, _PAIRS = (10, 5, 2, 1), (3, 2, 1, 0)
_ROWS, _LINES, _ITEMS = 6, 4, 8
_NAME, _LINE = 60, 300


def sample_fragment(record: Record, *, titled: bool = True) -> str:
    """A sample: heat map, the units that matter most, what the model would say.

    Args:
        record: The sample; one that was not explained says why.
        titled: Whether task, document and metrics are named.
    """
    sample = static_sample(record, _HEAT)
    return render_fragment("notebook_sample.html", {"sample": sample if titled else sample | {"title": ""}})


def samples_page(records: Sequence[Record]) -> str:
    """A whole page with the first explained samples, for places that show a page in a frame of its own."""
    shown = [sample_fragment(record) for record in records if record.status == "ok"][: _SAMPLES[0]]
    told = "".join(shown) or "<p>No sample was explained.</p>"
    head = '<head><meta charset="utf-8"><title>Attributions</title></head>'
    return f'<!doctype html><html lang="en">{head}<body>{told}</body></html>'


def run_fragment(run: LoadedRun) -> str:
    """A run: its tasks, and the heat maps of the first samples, folded."""
    method = chosen_method(run.records)
    segments = summarize_tasks(run.explained, method)
    models = ", ".join(dict.fromkeys(record.model for record in run.records)) or "no records"
    explained = f"{len(run.explained)} of {len(run.records)} explained"

    def draw(count: int) -> str:
        tasks, samples = run.tasks[: 2 * count], run.records[:count]
        notes = [FIRST_POSITION_LEFT_OUT] if run.without_first_position else []
        return render_fragment(
            "notebook_run.html",
            {
                "title": shorten(f"{models.rpartition('/')[2]}: {explained}"),
                "subtitle": shorten(f"{models} · {run.date}"),
                "notes": [f"{len(run.without_first_position)} were {note}." for note in notes],
                "method": shorten(method, _NAME),
                "tasks": [_small(task_row(run, task, segments.get(task, ()))) for task in tasks],
                "more_tasks": len(run.tasks) - len(tasks),
                "samples": [static_sample(record, _HEAT // (2 * count), method) for record in samples],
                "more": len(run.records) - len(samples),
            },
        )

    return _fitting(draw, _SAMPLES)


def comparison_fragment(audit: Audit) -> str:
    """An audit: verdict, the first shifts, and both heat maps of the samples that changed most."""
    order, lines = most_changed(audit), verdict_lines(audit)[1:]

    def draw(count: int) -> str:
        budget, told = _HEAT // (3 * max(1, count)), _LINES * (count + 1)
        return render_fragment(
            "notebook_comparison.html",
            {
                "title": shorten(f"{audit.tuned} against {audit.base}"),
                "subtitle": f"{len(audit.pairs)} samples · {shorten(audit.method, _NAME)}",
                "verdict": [shorten(line, _LINE) for line in lines[:told]],
                "warnings": [shorten(line, _LINE) for line in audit.warnings[:told]],
                "words": [_small(shift_row(shift)) for shift in audit.words[:_ROWS]],
                "word_count": len(audit.words),
                "segments": [_small(shift_row(shift)) for shift in audit.segments[:_ROWS]],
                "segment_count": len(audit.segments),
                "pairs": [
                    {
                        "title": shorten(f"{pair.base.task} · document {pair.base.doc_id}"),
                        "moved": f"{measures.moved:.0%}",
                        "base": static_sample(pair.base, budget, audit.method),
                        "tuned": static_sample(pair.tuned, budget, audit.method),
                    }
                    for pair, measures in order[:count]
                ],
            },
        )

    return _fitting(draw, _PAIRS)


def _fitting(draw: Callable[[int], str], counts: tuple[int, ...]) -> str:
    """The first drawing that is small enough; with the last count, all of them are."""
    drawn = ""
    for count in counts:
        drawn = draw(count)
        if len(drawn.encode()) <= LIMIT:
            break
    return drawn


def _small(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose texts and lists are short."""
    return {name: _short(value) for name, value in row.items()}


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return shorten(value, _NAME)
    if isinstance(value, list):
        return [_small(each) if isinstance(each, dict) else _short(each) for each in value[:_ITEMS]]
    return value
