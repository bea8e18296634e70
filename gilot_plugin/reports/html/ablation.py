"""The report's section on scores without parts of the prompts, as its template asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gilot_plugin.analysis.ablation import ScoreChange, ablation_table
from gilot_plugin.analysis.ablation_words import judged_words
from gilot_plugin.artifacts.ablations import TaskAblation
from gilot_plugin.reports.ablation import ablation_lines, by_score, interval_words
from gilot_plugin.reports.html.packing import shown


def ablation_section(tasks: Sequence[TaskAblation]) -> dict[str, Any] | None:
    """Tables and sentences; None where nothing was ablated."""
    table = ablation_table(tasks)
    if not table.changes and not table.left_out:
        return None
    return {
        "lines": [shown(line) for line in ablation_lines(table)],
        "tables": [
            {
                "title": shown(f"{task}: {metric}"),
                "samples": changes[0].samples,
                "full": f"{changes[0].full:.3f}",
                "full_share": _share(changes[0].full),
                "rows": [_row(change) for change in changes],
            }
            for (task, metric), changes in by_score(table.changes).items()
        ],
    }


def _row(change: ScoreChange) -> dict[str, Any]:
    return {
        "arm": shown(change.arm),
        "score": f"{change.score:.3f}",
        "share": _share(change.score),
        "change": f"{change.difference:+.3f}",
        "interval": interval_words(change),
        "judged": judged_words(change),
        "same": f"{change.same:.0%}",
    }


def _share(score: float) -> float | None:
    """A score as the length of a bar; None where it is none between 0 and 1."""
    return score if 0 <= score <= 1 else None
