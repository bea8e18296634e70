"""Figures for papers and cards: heat map, segment shares, faithfulness curves; PNG or SVG."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from rich.cells import cell_len

from gilot_plugin.analysis.ablation import ablation_table
from gilot_plugin.analysis.segments import SegmentShare, summarize_tasks
from gilot_plugin.artifacts.faithfulness import Faithfulness, read_faithfulness
from gilot_plugin.artifacts.loading import LoadedRun
from gilot_plugin.artifacts.names import file_part
from gilot_plugin.artifacts.typed import Record, chosen_method
from gilot_plugin.errors import ArtifactError, one_of
from gilot_plugin.reports.ablation_figure import ablation_figure
from gilot_plugin.reports.heat import heat_pieces
from gilot_plugin.reports.palette import LIGHT, SERIES, heat_levels
from gilot_plugin.reports.visible import visible

FORMATS = (".png", ".svg")

# Where each format names the version of matplotlib, which is no part of a figure.
_PROGRAM = {".png": "Software", ".svg": "Creator"}

#: Characters of a line of a heat map, and lines after which it is cut off.
COLUMNS = 84
MAX_LINES = 60

_FAMILY, _SIZE = ["DejaVu Sans Mono", "monospace"], 9
_CELL = 0.0754  # inches: the advance of that font at that size
_LINE = 0.2

# Texts stay texts, so that they can be searched and read aloud; identifiers do not change by themselves.
_SETTINGS: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "gilot"}


class NamedFigure(NamedTuple):
    """A figure, and what to call it.

    Attributes:
        name: For its file.
        figure: The figure.
        description: What it shows, in words.
    """

    name: str
    figure: Figure
    description: str


class _Run(NamedTuple):
    """Characters of one line that are marked alike."""

    text: str
    level: int | None


def heat_map_figure(record: Record, method: str | None = None) -> Figure:
    """The prompt of a sample, each unit on the ground of its score.

    Args:
        record: One whose status is ok.
        method: Whose scores; by default the record's own.

    Raises:
        ArtifactError: The record has no such scores.
    """
    method = method or record.method or ""
    if method not in record.scores:
        raise ArtifactError(f"{record.task}, document {record.doc_id}: no scores by method {method!r}")
    scores = record.scores[method]
    lines = list(_lines(record, heat_levels(scores)))
    cut = len(lines) - MAX_LINES
    lines = lines[:MAX_LINES]
    height = (len(lines) + 1.6 + (cut > 0)) * _LINE
    figure = Figure(figsize=(COLUMNS * _CELL + 0.2, height), facecolor=LIGHT.paper)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, COLUMNS * _CELL + 0.2)
    axes.set_ylim(height, 0)
    axes.axis("off")
    for number, line in enumerate(lines):
        x, y = 0.1, (number + 0.5) * _LINE
        for text, level in line:
            width = cell_len(text) * _CELL
            if level:
                # White space around a word has no ground, so that the word stands out as it is read.
                core = text.strip() or text
                start = x + cell_len(text[: text.index(core)]) * _CELL
                ground = Rectangle(
                    (start, y), cell_len(core) * _CELL, _LINE * 0.9, color=LIGHT.ground(level), linewidth=0
                )
                # As an artist: what it does not change is the limits of the axes, which a patch looks at.
                axes.add_artist(ground)
            ink = LIGHT.faint if level is None else LIGHT.ink_on(level)
            _write(axes, x, y + _LINE * 0.72, text, ink)
            x += width
    largest = max(map(abs, scores), default=0.0)
    note = f"{method}: darkest is {largest:.3g}; grey: not a unit"
    if cut > 0:
        note += f"; {cut} more lines"
    _write(axes, 0.1, height - 0.1, note, LIGHT.faint)
    return figure


def segments_figure(summaries: Mapping[str, Sequence[SegmentShare]], method: str) -> Figure:
    """Mean share of each part of the prompt, with intervals; one panel a task.

    Args:
        summaries: By task, see :func:`gilot_plugin.analysis.segments.summarize_tasks`.
        method: Whose scores, for the label of the axis.
    """
    rows = [max(1, len(shares)) for shares in summaries.values()]
    figure = Figure(figsize=(6.5, 0.6 + 0.5 * len(rows) + 0.32 * sum(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(rows), 1, sharex=True, squeeze=False, height_ratios=rows)[:, 0]
    for axes, (task, shares) in zip(panels, summaries.items(), strict=True):
        places = range(len(shares))
        axes.barh(places, [share.mean for share in shares], color=SERIES[0], height=0.6)
        axes.set_yticks(places, [visible(share.segment) for share in shares])
        for place, share in zip(places, shares, strict=True):
            if share.low is not None and share.high is not None:
                axes.plot([share.low, share.high], [place, place], color=SERIES[-1], linewidth=1.5)
            axes.plot(
                [share.expected], [place], marker="|", color=SERIES[1], markersize=12, markeredgewidth=2
            )
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_title(visible(task), loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    if rows:
        panels[-1].set_xlabel(f"mean share of {method} (line: 95 % interval; tick: share by length)")
    return figure


def faithfulness_figure(found: Faithfulness) -> Figure:
    """Both curves of each method: most relevant units removed first (full), least relevant first (dashed)."""
    figure = Figure(figsize=(6.5, 0.5 + 3.5 * max(1, len(found.measures))), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(max(1, len(found.measures)), squeeze=False)[:, 0]
    for axes, measure in zip(panels, found.measures, strict=False):
        for index, curves in enumerate(measure.methods):
            colour = SERIES[index % len(SERIES)]
            label = f"{curves.method} (area {curves.area.mean:.3f})"
            axes.plot(found.fractions, curves.morf, color=colour, label=label)
            axes.plot(found.fractions, curves.lerf, color=colour, linestyle="--")
        axes.set_title(f"{measure.quantity}, units taken away by {measure.absence}", loc="left")
        axes.set_ylabel(measure.quantity)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    panels[-1].set_xlabel(
        "share of the units removed (full: most relevant first; dashed: least relevant first)"
    )
    return figure


def run_figures(
    run: LoadedRun,
    *,
    method: str | None = None,
    task: str | None = None,
    doc: int | None = None,
    limit: int | None = None,
) -> Iterator[NamedFigure]:
    """All figures of a run: segments, faithfulness and ablations if they were computed, heat maps.

    Args:
        run: See :func:`gilot_plugin.load_run`.
        method: Whose scores; by default ``ot``, or the first there is.
        task: Only this task.
        doc: Only this document.
        limit: Most heat maps, for which tasks take turns; None for all.

    Raises:
        ArtifactError: There is no such sample or method.
    """
    method = chosen_method(run.records, method)
    if task is not None and task not in run.tasks:
        raise ArtifactError(f"no task {task!r}; there are {one_of(run.tasks)}")
    tasks = run.tasks if task is None else (task,)
    by_task = {name: [record for record in run.explained if record.task == name] for name in tasks}
    wanted = [
        [record for record in records if doc is None or record.doc_id == doc] for records in by_task.values()
    ]
    changes = tuple(
        change for change in ablation_table(run.ablations).changes if task is None or change.task == task
    )
    if not any(wanted) and (doc is not None or run.records or not changes):
        raise ArtifactError(f"{run.folder}: no such sample was explained; `gilot show --list` lists them")
    if any(wanted):
        yield _segments(by_task, method)
    faithfulness = read_faithfulness(run.folder, run.date)
    if faithfulness is not None:
        titles = "; ".join(measure.title for measure in faithfulness.measures)
        yield NamedFigure("faithfulness", faithfulness_figure(faithfulness), f"Curves of {titles}")
    if changes:
        yield NamedFigure("ablations", ablation_figure(changes), "Scores without parts of the prompts")
    turns = chain.from_iterable(zip_longest(*wanted))
    drawn = {record.key for record in islice((record for record in turns if record is not None), limit)}
    for record in (record for record in chain.from_iterable(wanted) if record.key in drawn):
        # A record may have come from anywhere, and its hash be no hash.
        digest = file_part(record.prompt_hash[:8])
        name = f"heat_{file_part(record.task)}_{record.doc_id}_{digest}"
        words = f"Prompt of {record.task}, document {record.doc_id}, on grounds by {method}"
        yield NamedFigure(name, heat_map_figure(record, method), words)


def _segments(by_task: Mapping[str, Sequence[Record]], method: str) -> NamedFigure:
    found = summarize_tasks(list(chain.from_iterable(by_task.values())), method)
    summaries = {name: found.get(name, ()) for name in by_task}
    return NamedFigure(
        "segments", segments_figure(summaries, method), f"Mean share of {method} by part of the prompt"
    )


def save_figure(figure: Figure, path: Path, description: str = "") -> None:
    """Write a figure; the same figure always gives the same bytes.

    Args:
        figure: One of this module.
        path: Ends in one of :data:`FORMATS`.
        description: What it shows, in words, for those who cannot see it.

    Raises:
        ArtifactError: The format is another one, or the file cannot be written.
    """
    if path.suffix not in FORMATS:
        raise ArtifactError(f"{path}: figures are written as {' or '.join(FORMATS)}")
    metadata: dict[str, str | None] = {"Description": description, _PROGRAM[path.suffix]: None}
    if path.suffix == ".svg":
        metadata["Date"] = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
            # A PNG shows a box for what the font has not; an SVG asks the reader's own fonts.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(path, metadata=metadata, dpi=150)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written: {error.strerror or error}") from error


def _write(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    # parse_math: dollar signs in prompts are no formulas.
    axes.text(x, y, text, color=colour, fontfamily=_FAMILY, fontsize=_SIZE, parse_math=False)


def _lines(record: Record, levels: Sequence[int]) -> Iterator[list[_Run]]:
    """The prompt in lines of at most :data:`COLUMNS` cells."""
    line: list[_Run] = []
    room = COLUMNS
    for piece in heat_pieces(record):
        level = piece.level(levels)
        for number, text in enumerate(piece.text.split("\n")):
            if number:
                yield line
                line, room = [], COLUMNS
            rest = visible(text)
            while cell_len(rest) > room:
                head, rest = _split(rest, room)
                yield [*line, _Run(head, level)]
                line, room = [], COLUMNS
            if rest:
                line.append(_Run(rest, level))
                room -= cell_len(rest)
    yield line


def _split(text: str, cells: int) -> tuple[str, str]:
    """The text up to a number of cells, and the rest; a wide character that has no room goes over."""
    width = 0
    for index, character in enumerate(text):
        width += cell_len(character)
        if width > cells:
            return text[:index], text[index:]
    return text, ""
