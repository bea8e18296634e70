"""Scores without parts of the prompts, as a figure."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gilot_plugin.analysis.ablation import ScoreChange
from gilot_plugin.reports.ablation import by_score
from gilot_plugin.reports.palette import SERIES
from gilot_plugin.reports.visible import visible


def ablation_figure(changes: Sequence[ScoreChange]) -> Figure:
    """One bar an arm, beside the score of the prompts as they are; one panel a task and metric.

    The line is the interval of the change, put where the score is.
    """
    panels = by_score(changes)
    rows = [len(found) + 1 for found in panels.values()] or [1]
    figure = Figure(figsize=(6.5, 0.6 + 0.5 * len(rows) + 0.32 * sum(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes_of = figure.subplots(len(rows), 1, squeeze=False, height_ratios=rows)[:, 0]
    for axes, ((task, metric), found) in zip(axes_of, panels.items(), strict=False):
        full = found[0].full
        names = ["full", *(visible(change.arm) for change in found)]
        places = range(len(names))
        axes.barh(places, [full, *(change.score for change in found)], color=SERIES[0], height=0.6)
        axes.axvline(full, color=SERIES[1], linewidth=1.5)
        axes.set_yticks(places, names)
        for place, change in enumerate(found, start=1):
            if change.low is not None and change.high is not None:
                axes.plot(
                    [full + change.low, full + change.high], [place] * 2, color=SERIES[-1], linewidth=1.5
                )
        axes.invert_yaxis()
        if all(0 <= score <= 1 for score in (full, *(change.score for change in found))):
            axes.set_xlim(0, 1)
        axes.set_title(f"{visible(task)}: {metric}", loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    axes_of[-1].set_xlabel("score; line: 95 % interval of its change")
    return figure
