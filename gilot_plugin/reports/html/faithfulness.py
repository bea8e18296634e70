"""The report's section on faithfulness, as its template asks for it."""

from __future__ import annotations

from typing import Any

from gilot_plugin.artifacts.faithfulness import Faithfulness, MeanInterval, Measure, MethodCurves
from gilot_plugin.reports.faithfulness import measure_lines, randomization_lines
from gilot_plugin.reports.html.packing import shown


def faithfulness_section(found: Faithfulness) -> dict[str, Any]:
    """Tables and sentences; the measures of the first quantity, which is the one to go by, come apart."""
    first = found.measures[0].quantity if found.measures else None
    return {
        "samples": found.samples,
        "left_out": [(shown(reason), count) for reason, count in found.left_out.items()],
        "main": [
            _measure(measure, found.comparisons) for measure in found.measures if measure.quantity == first
        ],
        "others": [
            _measure(measure, found.comparisons) for measure in found.measures if measure.quantity != first
        ],
        "random_weights": []
        if found.randomization is None
        else [shown(line) for line in randomization_lines(found.randomization)],
    }


def _measure(measure: Measure, comparisons: int) -> dict[str, Any]:
    return {
        "title": shown(measure.title),
        "summary": shown(measure.summary),
        "methods": [
            {
                "name": shown(curves.method),
                "samples": curves.samples,
                "area": f"{curves.area.mean:.3f}",
                "interval": _interval(curves.area),
                "beats": f"{sum(one.beaten for one in curves.controls)} of {len(curves.controls)}",
                "claim": _claim(curves),
            }
            for curves in sorted(measure.methods, key=lambda curves: -curves.area.mean)
        ],
        "controls": [
            {
                "name": shown(curves.control),
                "area": f"{curves.area.mean:.3f}",
                "interval": _interval(curves.area),
            }
            for curves in measure.controls
        ],
        "lines": [shown(line) for line in measure_lines(measure, comparisons)],
    }


def _claim(curves: MethodCurves) -> str:
    if curves.is_finding:
        return "ranks words better than every control"
    return "none" if curves.controls else "none, for there is no control"


def _interval(interval: MeanInterval) -> str:
    if interval.low is None or interval.high is None:
        return "too few samples"
    return f"{interval.low:.3f} to {interval.high:.3f}"
