"""A run on the terminal: overview, list of samples, heat maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from gilot_plugin.analysis.segments import dominant_segment, summarize_tasks
from gilot_plugin.artifacts.loading import (
    FIRST_POSITION_LEFT_OUT,
    checked_record,
    without_first_position,
)
from gilot_plugin.artifacts.reader import StoredRun
from gilot_plugin.artifacts.typed import Record, chosen_method
from gilot_plugin.errors import ArtifactError, one_of
from gilot_plugin.reports.sheet import Sheet
from gilot_plugin.reports.visible import crop, glyphs_for, visible

Sorting = Literal["doc", "margin", "score"]
#: Samples that an overview lists.
_LISTED = 20

SORTINGS: tuple[Sorting, ...] = ("doc", "margin", "score")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which samples are shown, and in which order.

    Attributes:
        task: Only samples of this task.
        doc_id: Only this document.
        correct: Only those that the model got right, or wrong.
        segment: Only those of which this segment has the largest share.
        search: Only those whose prompt holds this text, in either case.
        sort: By task and document; by margin, closest first (those without come last); by the largest score.
    """

    task: str | None = None
    doc_id: int | None = None
    correct: bool | None = None
    segment: str | None = None
    search: str | None = None
    sort: Sorting = "doc"


def show_run(
    run: StoredRun,
    console: Console,
    *,
    chosen: Filter | None = None,
    method: str | None = None,
    limit: int | None = None,
    overview: bool = False,
    listed: bool = False,
) -> None:
    """Print samples of a run: prompt as heat map, top units, what the model would say, diagnostics.

    In colour, the ground of each unit tells its score. Without (a pipe, ``NO_COLOR``, ``no_color``, or only
    sixteen colours), a digit does.

    Args:
        run: See :func:`gilot_plugin.artifacts.reader.read_run`.
        console: Where to print.
        chosen: Which samples; by default all.
        method: Whose scores are shown; by default ``ot``, or the first there is.
        limit: Most samples to print; those left out are counted in a last line.
        overview: Whether a table of the tasks comes first.
        listed: Whether each sample is one line only.

    Raises:
        ArtifactError: There is no such task, document, segment or method (the message says what there is), or
            a record is not valid.
    """
    chosen = chosen or Filter()
    candidates = _candidates(run, chosen)
    # Of records that only the limit hides, nothing need hold.
    plain = chosen == Filter(chosen.task, chosen.doc_id)
    needed = candidates[:limit] if plain and not overview else candidates
    typed = [checked_record(record, run.folder) for record in needed]
    method = chosen_method(typed, method)
    if overview:
        console.print(_overview(typed, method, console))
    if older := without_first_position(typed, run.manifest):
        console.print(Text(f"{len(older)} samples were {FIRST_POSITION_LEFT_OUT}", "yellow"))
    records = typed if plain else _filtered(typed, chosen, method)
    count = len(candidates) if plain else len(records)
    records = records if limit is None else records[:limit]
    if listed:
        console.print(_list(records, method, console))
    else:
        for record in records:
            Sheet(console, record, method).show()
    if len(records) < count:
        left = f"not shown: {count - len(records)} more; see them with --limit {count}"
        others = "choose with --task, --doc and --search" if listed else "all in one line each with --list"
        console.print(Text(f"{left}, or {others}", "dim"))


def overview(records: Sequence[Record], console: Console) -> Iterator[RenderableType]:
    """A table of the tasks, and the first samples in one line each."""
    if not records:
        yield Text("no records")
        return
    method = chosen_method(records)
    yield _overview(records, method, console)
    yield Text()
    yield _list(records[:_LISTED], method, console)
    if len(records) > _LISTED:
        yield Text(f"and {len(records) - _LISTED} more", "dim")


def _candidates(run: StoredRun, chosen: Filter) -> Sequence[Mapping[str, Any]]:
    tasks = sorted({record["task"] for record in run.records})
    task, doc_id = chosen.task, chosen.doc_id
    if not tasks:
        raise ArtifactError(f"{run.folder}: the run has no records{_selection_errors(run)}")
    if task is not None and task not in tasks:
        raise ArtifactError(f"no records of task {task!r}; there are {one_of(tasks)}{_selection_errors(run)}")
    records = [record for record in run.records if task is None or record["task"] == task]
    if doc_id is None:
        return records
    found = [record for record in records if record["doc_id"] == doc_id]
    if not found:
        there = sorted({record["doc_id"] for record in records})
        named = ", ".join(map(str, there[:20])) + (f" and {len(there) - 20} more" if len(there) > 20 else "")
        of_task = f" of task {task!r}" if task is not None else ""
        raise ArtifactError(f"no record of document {doc_id}{of_task}; there are {named}")
    return found


def _filtered(records: Sequence[Record], chosen: Filter, method: str) -> list[Record]:
    found = list(records)
    if chosen.correct is not None:
        found = [record for record in found if record.correct is chosen.correct]
    if chosen.search is not None:
        wanted = chosen.search.casefold()
        found = [record for record in found if wanted in record.prompt.casefold()]
    if chosen.segment is not None:
        there = sorted({unit.segment for record in records for unit in record.units})
        if chosen.segment not in there:
            raise ArtifactError(f"no units of segment {chosen.segment!r}; there are {one_of(there)}")
        found = [record for record in found if dominant_segment(record, method) == chosen.segment]
    if not found:
        raise ArtifactError(f"none of {len(records)} samples is like that: ask for less")
    if chosen.sort == "margin":
        found.sort(key=lambda record: _margin(record) if _margin(record) is not None else float("inf"))
    if chosen.sort == "score":
        found.sort(key=lambda record: -max(map(abs, record.scores.get(method, ())), default=-1.0))
    return found


def _margin(record: Record) -> Any:
    margin = record.target.margin if record.target is not None else None
    return None if margin is None else abs(margin)


def _selection_errors(run: StoredRun) -> str:
    """Why tasks have no records, as far as the manifest knows."""
    entries = run.manifest["tasks"].items() if run.manifest is not None else ()
    errors = [(task, (entry.get("selection") or {}).get("error")) for task, entry in entries]
    return "".join(f"; nothing was chosen of {task!r}: {visible(error)}" for task, error in errors if error)


def _overview(records: Sequence[Record], method: str, console: Console) -> Table:
    def spelled(text: str) -> str:
        return visible(text, console.encoding)

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    for title in ("task", "explained", "correct"):
        # What follows gives way first, so that names stay whole where they can.
        table.add_column(title, overflow="fold", no_wrap=True)
    table.add_column("seconds a sample", justify="right")
    table.add_column(f"mean share of {spelled(method)} by segment", overflow="fold")
    segments = summarize_tasks([record for record in records if record.status == "ok"], method)
    for task in dict.fromkeys(record.task for record in records):
        own = [record for record in records if record.task == task]
        ok = [record for record in own if record.status == "ok"]
        judged = [record.correct for record in own if record.correct is not None]
        seconds = [record.diagnostics.get("seconds", {}).get("total", 0.0) for record in ok]
        table.add_row(
            spelled(task),
            f"{len(ok)} of {len(own)}",
            f"{sum(judged)} of {len(judged)}" if judged else "",
            f"{fmean(seconds):.2g}" if seconds else "",
            spelled(", ".join(f"{share.segment} {share.mean:.0%}" for share in segments.get(task, ()))),
        )
    return table


def _list(records: Sequence[Record], method: str, console: Console) -> Table:
    glyphs = glyphs_for(console.encoding)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    titles = ("task", "doc", "", "margin", "mostly", "top units")
    for title in titles:
        table.add_column(title, no_wrap=title != "top units", overflow="crop")
    rows = [_row(record, method, console.encoding) for record in records]
    columns = list(zip(titles, *rows, strict=True))[:-1]
    room = max(10, console.width - sum(max(map(cell_len, column)) + 2 for column in columns) - 2)
    for record, (task, doc, verdict, *others, told) in zip(records, rows, strict=True):
        table.add_row(
            task,
            doc,
            Text(verdict, _VERDICTS[record.correct][1]),
            *others,
            Text(crop(told, room, glyphs.ellipsis)),
        )
    return table


def _row(record: Record, method: str, encoding: str) -> tuple[str, ...]:
    """Task, document, verdict, margin, dominant segment, and the highest scores or the reason."""
    margin = record.target.margin if record.target is not None else None
    scores = record.scores.get(method, ())
    ranked = sorted(range(len(scores)), key=lambda index: -abs(scores[index]))[:5]
    tops = ", ".join(f"{record.units[index].text.strip()} {scores[index]:.2g}" for index in ranked)
    return (
        visible(record.task, encoding),
        str(record.doc_id),
        _VERDICTS[record.correct][0],
        "" if margin is None else f"{margin:.3g}",
        visible(dominant_segment(record, method) or "", encoding),
        visible(tops if record.status == "ok" else f"{record.status}: {record.reason}", encoding),
    )


_VERDICTS = {True: ("right", "green"), False: ("wrong", "red"), None: ("", "")}
