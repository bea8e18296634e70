"""Scores without parts of the prompts, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from gilot_plugin.analysis.ablation import AblationTable, ScoreChange, ablation_table
from gilot_plugin.analysis.ablation_words import judged_words, readings, verdict_line
from gilot_plugin.artifacts.ablations import TaskAblation
from gilot_plugin.reports.visible import visible
from gilot_plugin.statistics.intervals import CONFIDENCE

#: Tables that are printed; of more, those of groups.
_MOST_TABLES = 8


def interval_words(change: ScoreChange) -> str:
    """The interval of a change; empty if there is none."""
    if change.low is None or change.high is None:
        return ""
    return f"{change.low:+.3f} to {change.high:+.3f}"


def _table(changes: Sequence[ScoreChange], encoding: str) -> Table:
    table = Table(
        Column("arm", overflow="fold", min_width=20),
        Column("score", justify="right"),
        Column("change", justify="right"),
        Column(f"{CONFIDENCE:.0%} interval", justify="right", min_width=16),
        Column("told apart", overflow="fold"),
        Column("same answers", justify="right"),
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_row("full", f"{changes[0].full:.3f}", "", "", "", "")
    for change in changes:
        table.add_row(
            escape(visible(change.arm, encoding)),
            f"{change.score:.3f}",
            f"{change.difference:+.3f}",
            interval_words(change),
            judged_words(change),
            f"{change.same:.0%}",
        )
    return table


def ablation_lines(table: AblationTable) -> Iterator[str]:
    """What is said below the tables."""
    if verdict := verdict_line(table):
        yield verdict
    yield from readings(table)
    for left in table.left_out:
        yield f"{left.task}: {left.arm}: {left.reason}."


def by_score(changes: Sequence[ScoreChange]) -> dict[tuple[str, str], list[ScoreChange]]:
    """Changes of each task and metric, in their order."""
    found: dict[tuple[str, str], list[ScoreChange]] = {}
    for change in changes:
        found.setdefault((change.task, change.metric_words), []).append(change)
    return found


def show_ablations(tasks: Sequence[TaskAblation], console: Console) -> None:
    """Print the tables of a run's tasks, and what they say in words."""
    table = ablation_table(tasks)
    shown = by_score(table.changes)
    groups = {
        key: changes for key, changes in shown.items() if key[0] not in {one.plan.task for one in tasks}
    }
    if groups and len(shown) > _MOST_TABLES:
        left = len(shown) - len(groups)
        console.print(f"Tables of the groups; those of {left} more are in the report.", highlight=False)
        shown = groups
    for (task, metric), changes in shown.items():
        title = f"{task}: {metric}, {changes[0].samples} samples"
        console.print(visible(title, console.encoding), style="bold", markup=False, highlight=False)
        console.print(_table(changes, console.encoding))
    for line in ablation_lines(table):
        console.print(visible(line, console.encoding), markup=False, highlight=False, soft_wrap=True)
