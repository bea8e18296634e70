"""The page of an audit: verdict, tests, and both heat maps of each pair side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gilot_plugin.comparison.ablations import AblationShift
from gilot_plugin.comparison.audit import Audit
from gilot_plugin.comparison.measures import Measures
from gilot_plugin.comparison.pairs import Pair
from gilot_plugin.comparison.shifts import Shift
from gilot_plugin.comparison.verdict import change_words, flip_words, q_cell, verdict_lines
from gilot_plugin.reports.html.packing import CHUNK, Packed, pack, pack_chunks, rounded, shown
from gilot_plugin.reports.html.page import render_page
from gilot_plugin.reports.html.samples import sample_link, sample_view
from gilot_plugin.statistics.families import ALPHA
from gilot_plugin.version import VERSION

_FLOWS = 8
_WORDS = 30


def comparison_page(audit: Audit) -> str:
    """The whole page, as HTML; the most changed samples come first."""
    order = most_changed(audit)
    return render_page(
        "compare.html",
        ("compare.js",),
        _data(order),
        {
            "title": shown(f"{_short(audit.tuned)} against {_short(audit.base)}"),
            "subtitle": shown(f"{audit.base} → {audit.tuned} · {len(audit.pairs)} samples · {audit.method}"),
            "version": VERSION,
            "chunk": CHUNK,
            "verdict": [shown(line) for line in verdict_lines(audit)[1:]],
            "warnings": [shown(line) for line in audit.warnings],
            "alpha": f"{ALPHA:g}",
            "shifts": [
                ("Words", [shift_row(found) for found in audit.words[:_WORDS]], len(audit.words)),
                *_parts(audit.segments),
            ],
            "ablations": [_ablation(found) for found in audit.ablations],
            "flips": [shown(flip_words(found)) for found in audit.flips],
            "changes": [shown(change_words(found)) for found in audit.changes],
        },
    )


def most_changed(audit: Audit) -> list[tuple[Pair, Measures]]:
    """Pairs with what changed, those first whose attribution moved farthest."""
    return sorted(zip(audit.pairs, audit.measures, strict=True), key=lambda found: -found[1].moved)


def _parts(segments: Sequence[Shift]) -> Iterator[tuple[str, list[dict[str, Any]], int]]:
    """Heading, rows and their number, by task."""
    tasks = dict.fromkeys(shift.task for shift in segments)
    for task in tasks:
        of_task = f", {shown(str(task))}" if len(tasks) > 1 else ""
        rows = [shift_row(shift) for shift in segments if shift.task == task]
        yield f"Parts of the prompts{of_task}", rows, len(rows)


def _ablation(found: AblationShift) -> dict[str, Any]:
    low, high = found.test.low, found.test.high
    return {
        "name": shown(f"{found.task}: {found.metric.removesuffix(',none')} {found.arm}"),
        "base": f"{found.base:+.3f}",
        "tuned": f"{found.tuned:+.3f}",
        "shift": f"{found.test.mean:+.3f}",
        "interval": "" if low is None or high is None else f"{low:+.3f} to {high:+.3f}",
        "q_value": q_cell(found.q_value),
        "samples": found.test.pairs,
        "finding": found.is_finding,
    }


def _short(model: str) -> str:
    return model.rpartition("/")[2]


def _data(order: list[tuple[Pair, Measures]]) -> Iterator[Packed]:
    yield pack("list", [_row(pair, measures) for pair, measures in order])
    yield from pack_chunks([_view(pair, measures) for pair, measures in order])


def _row(pair: Pair, measures: Measures) -> dict[str, Any]:
    gained = sorted(pair.pieces, key=lambda piece: abs(piece.base) - abs(piece.tuned))[:3]
    return {
        "link": sample_link(pair.base),
        "task": pair.base.task,
        "doc": pair.base.doc_id,
        "moved": rounded(measures.moved),
        "correlation": None if measures.rank_correlation is None else rounded(measures.rank_correlation),
        "outcome": rounded(measures.outcome_change),
        "flip": measures.flip or "",
        "gained": [shown(piece.text.strip()) for piece in gained if abs(piece.tuned) > abs(piece.base)],
    }


def _view(pair: Pair, measures: Measures) -> dict[str, Any]:
    return {
        "title": [pair.base.task, pair.base.doc_id],
        "base": sample_view(pair.base, None),
        "tuned": sample_view(pair.tuned, None),
        "facts": [
            ["share of the attribution that lies elsewhere", f"{measures.moved:.1%}"],
            ["distance that it moved", f"{measures.distance:.1%} of the prompt's length"],
            [
                "rank correlation",
                "none" if measures.rank_correlation is None else f"{measures.rank_correlation:.2f}",
            ],
            ["top units in common", f"{measures.top_overlap:.0%}"],
            ["probability that moved between outcomes", f"{measures.outcome_change:.1%}"],
            ["answer", measures.flip or "as before"],
            *(
                [f"shift of {segment}", f"{shift:+.1%}"]
                for segment, shift in sorted(measures.segment_shift.items(), key=lambda item: -abs(item[1]))
            ),
        ],
        "flows": [
            [shown(flow.source), shown(flow.target), rounded(flow.base), rounded(flow.tuned)]
            for flow in measures.flows[:_FLOWS]
        ],
    }


def shift_row(shift: Shift) -> dict[str, Any]:
    """A row of a table of shifts, in words."""
    test = shift.test
    return {
        "name": shown(shift.name),
        "base": f"{shift.base:.1%}",
        "tuned": f"{shift.tuned:.1%}",
        "mean": f"{100 * test.mean:+.1f}",
        "interval": "too few samples"
        if test.low is None or test.high is None
        else f"{100 * test.low:+.1f} to {100 * test.high:+.1f}",
        "effect": "" if test.effect_size is None else f"{test.effect_size:+.2f}",
        "q_value": q_cell(shift.q_value),
        "pairs": test.pairs,
        "floor": f"{100 * test.floor:.1f}",
        "detectable": "none" if shift.detectable is None else f"{100 * shift.detectable:.1f}",
        "finding": shift.is_finding,
    }
