"""The heat map of ``gilot show``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.style import Style
from rich.table import Table
from rich.text import Text

from gilot_plugin.artifacts.reader import Run
from gilot_plugin.artifacts.record_checks import record_problems
from gilot_plugin.artifacts.verdicts import is_correct, metric_words
from gilot_plugin.errors import ArtifactError, one_of
from gilot_plugin.reports.heat import MAX_LEVEL, heat_levels, heat_pieces
from gilot_plugin.reports.visible import Glyphs, crop, glyphs_for, visible

# ColorBrewer's YlOrBr in nine classes: one hue from light to dark, legible to the colour-blind and in print.
# It needs a light ground, so the prompt stands on paper of its own whatever the terminal's background is.
_SCALE = ("#ffffe5", "#fff7bc", "#fee391", "#fec44f", "#fe9929", "#ec7014", "#cc4c02", "#993404", "#662506")
_INK, _PAPER, _FAINT_INK = "#1a1a1a", "#ffffff", "#767676"
_FIRST_DARK_LEVEL = 7

_TOP_UNITS = 10
_TOP_TOTALS = 3
_BAR_CELLS = 10
_WIDE = 100
_DEFAULT_METHOD = "ot"


def show_run(
    run: Run,
    console: Console,
    *,
    task: str | None = None,
    doc_id: int | None = None,
    method: str | None = None,
    limit: int | None = None,
) -> None:
    """Print samples of a run: prompt as heat map, top units, what the model would say, diagnostics.

    In colour, the ground of each unit tells its score. Without (a pipe, ``NO_COLOR``, ``no_color``, or only
    sixteen colours), a digit does.

    Args:
        run: See :func:`gilot_plugin.artifacts.reader.read_run`.
        console: Where to print.
        task: Only samples of this task.
        doc_id: Only this document.
        method: Whose scores are shown; by default ``ot``, or the first there is.
        limit: Most samples to print; those left out are counted in a last line.

    Raises:
        ArtifactError: There is no such task, document or method (the message says what there is), or a record
            is not valid.
    """
    records = _chosen(run, task, doc_id)
    shown = records if limit is None else records[:limit]
    for record in shown:
        problem = next(record_problems(record), None)
        if problem is not None:
            raise ArtifactError(
                f"the record of task {record['task']!r}, document {record['doc_id']}, is broken: {problem}. "
                f"`gilot validate {run.folder}` says more"
            )
    method = _method(shown, method)
    for record in shown:
        _Sheet(console, record, method).show()
    if len(shown) < len(records):
        console.print(
            Text(f"not shown: {len(records) - len(shown)} more; choose by task and document", "dim")
        )


def _chosen(run: Run, task: str | None, doc_id: int | None) -> tuple[dict[str, Any], ...]:
    tasks = sorted({record["task"] for record in run.records})
    if not tasks:
        raise ArtifactError(f"{run.folder}: the run has no records{_selection_errors(run)}")
    if task is not None and task not in tasks:
        raise ArtifactError(f"no records of task {task!r}; there are {one_of(tasks)}{_selection_errors(run)}")
    records = tuple(record for record in run.records if task is None or record["task"] == task)
    if doc_id is None:
        return records
    found = tuple(record for record in records if record["doc_id"] == doc_id)
    if not found:
        there = sorted({record["doc_id"] for record in records})
        named = ", ".join(map(str, there[:20])) + (f" and {len(there) - 20} more" if len(there) > 20 else "")
        of_task = f" of task {task!r}" if task is not None else ""
        raise ArtifactError(f"no record of document {doc_id}{of_task}; there are {named}")
    return found


def _selection_errors(run: Run) -> str:
    """Why tasks have no records, as far as the manifest knows."""
    entries = run.manifest["tasks"].items() if run.manifest is not None else ()
    errors = [(task, (entry.get("selection") or {}).get("error")) for task, entry in entries]
    return "".join(f"; nothing was chosen of {task!r}: {visible(error)}" for task, error in errors if error)


def _method(records: Sequence[Mapping[str, Any]], method: str | None) -> str:
    there = list(dict.fromkeys(name for record in records for name in record.get("scores", ())))
    if method is not None:
        # Where all samples were skipped or failed there is no method, and no score to miss.
        if there and method not in there:
            raise ArtifactError(f"no scores by method {method!r}; there are {one_of(there)}")
        return method
    return _DEFAULT_METHOD if _DEFAULT_METHOD in there or not there else there[0]


@dataclass(frozen=True, slots=True)
class _Sheet:
    """One sample on a console.

    Attributes:
        console: Where it is printed.
        record: A valid record.
        method: Whose scores are shown.
    """

    console: Console
    record: Mapping[str, Any]
    method: str

    @property
    def glyphs(self) -> Glyphs:
        """Signs that the console can show."""
        return glyphs_for(self.console.encoding)

    @property
    def in_colour(self) -> bool:
        """Whether the console can tell the levels apart by colour; sixteen colours cannot."""
        return not self.console.no_color and self.console.color_system in ("256", "truecolor")

    @property
    def _is_wide(self) -> bool:
        """Whether a row of the table has room to name its unit once more, in its flow."""
        return self.console.width >= _WIDE

    def show(self) -> None:
        """Print the sample."""
        self.console.print(Rule(characters=self.glyphs.rule, style="dim"))
        self.console.print(self._header())
        if self.record["status"] != "ok":
            self.console.print(self._line(f"{self.record['status']}: {self.record['reason']}"))
            return
        scores = self.record["scores"].get(self.method)
        if scores is None:
            there = one_of(list(self.record["scores"]))
            self.console.print(self._line(f"no scores by method {self.method!r}; there are {there}"))
            return
        self.console.print()
        self.console.print(self._heat_map(scores))
        self.console.print(self._legend(scores))
        self.console.print()
        self.console.print(self._top_units(scores))
        self.console.print()
        for line in (*self._outcomes(), *self._total_flows()):
            self.console.print(line)
        self.console.print()
        self.console.print(self._diagnostics())

    def _visible(self, text: str) -> str:
        return visible(text, self.console.encoding)

    def _quoted(self, text: str, cells: int) -> str:
        return f'"{crop(self._visible(text), cells, self.glyphs.ellipsis)}"'

    def _line(self, text: str, style: str = "") -> Text:
        return Text(self._visible(text), style)

    def _header(self) -> Text:
        record = self.record
        header = Text()
        header.append(self._visible(record["task"]), "bold")
        parts = [Text(f"doc {record['doc_id']}"), Text(record["status"])]
        for (metric, value), words in zip(
            record["metrics"].items(), metric_words(record["metrics"]), strict=True
        ):
            style = {True: "green", False: "red", None: ""}[is_correct(metric, value)]
            parts.append(Text(crop(self._visible(words), 60, self.glyphs.ellipsis), style))
        parts.append(self._line(record["model"]))
        for part in parts:
            header.append(f" {self.glyphs.dot} ").append_text(part)
        return header

    def _heat_map(self, scores: Sequence[float]) -> Padding | Text:
        text = Text(style=f"{_INK} on {_PAPER}" if self.in_colour else "")
        for piece in heat_pieces(self.record, heat_levels(scores)):
            before, core, after = self._around_spaces(piece.text)
            if piece.level is None:
                text.append(before + core + after, f"{_FAINT_INK} on {_PAPER}" if self.in_colour else "dim")
            elif piece.level == 0:
                text.append(before + core + after)
            elif self.in_colour:
                text.append(before).append(core, _level_style(piece.level)).append(after)
            else:
                marked = f"{self.glyphs.opening}{core}:{piece.level}{self.glyphs.closing}"
                text.append(before + marked + after)
        # Without the padding, the paper would end where each line does.
        return Padding(text, (0, 1), style=text.style) if self.in_colour else text

    def _around_spaces(self, text: str) -> tuple[str, str, str]:
        """A text made visible, apart from the white space around it, unless it is nothing else."""
        core = text.strip()
        if not core:
            return "", self._visible(text), "\n" * text.count("\n")
        before, _, after = text.partition(core)
        encoding = self.console.encoding
        return (
            visible(before, encoding, line_breaks=True),
            visible(core, encoding, line_breaks=True),
            visible(after, encoding, line_breaks=True),
        )

    def _legend(self, scores: Sequence[float]) -> Text:
        largest, method = max(scores), self._visible(self.method)
        if largest <= 0:
            return Text(f"{method}: no unit has a positive score", "dim")
        if not self.in_colour:
            return Text(
                f"{self.glyphs.opening}unit:N{self.glyphs.closing} N tenths of the largest {method}, "
                f"{largest:.4g} (9: nine or more); unmarked: less, or not a unit",
                "dim",
            )
        legend = Text().append(f"{method} ", "dim").append(" 0 ", f"{_INK} on {_PAPER}")
        for level in range(1, MAX_LEVEL + 1):
            legend.append(f" {level} ", _level_style(level))
        legend.append(f" tenths of {largest:.4g}, the largest {self.glyphs.dot} ", "dim")
        return legend.append("not a unit", f"{_FAINT_INK} on {_PAPER}")

    def _top_units(self, scores: Sequence[float]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
        table.add_column("#", justify="right")
        # Cropped, because rich's ellipsis is a character that not every encoding has.
        table.add_column("unit", no_wrap=True, overflow="crop")
        table.add_column("segment", no_wrap=True, overflow="crop")
        levels = [unit.get("level", "") for unit in self.record["units"]]
        differ = len(set(levels)) > 1
        if differ:
            table.add_column("level", no_wrap=True, overflow="crop")
        table.add_column(self._line(self.method), justify="right", no_wrap=True, overflow="crop")
        table.add_column("", no_wrap=True, overflow="crop", min_width=_BAR_CELLS)
        table.add_column("largest flow" if self._is_wide else "largest flow without it", overflow="fold")
        unit_cells = max(10, self.console.width // 5)
        ranked = sorted(range(len(scores)), key=lambda index: -scores[index])[:_TOP_UNITS]
        largest = scores[ranked[0]]
        for rank, index in enumerate(ranked, start=1):
            unit = self.record["units"][index]
            table.add_row(
                str(rank),
                Text(self._quoted(unit["text"].strip() or unit["text"], unit_cells)),
                Text(crop(self._visible(unit["segment"]), 12, self.glyphs.ellipsis)),
                *((Text(self._visible(levels[index])),) if differ else ()),
                Text(f"{scores[index]:.4g}"),
                Text(self._bar(scores[index] / largest if largest > 0 else 0.0)),
                self._flow(unit["text"], self.record["flows"][index]),
            )
        return table

    def _flow(self, unit: str, flows: Sequence[Mapping[str, Any]]) -> Text:
        if not flows:
            return Text("")
        largest = flows[0]
        source, target = (self._quoted(largest[end], 20) for end in ("from", "to"))
        without = f"without {self._quoted(unit.strip() or unit, 20)}: " if self._is_wide else ""
        return Text(f"{without}{source} {self.glyphs.arrow} {target} {largest['mass']:.2g}")

    def _bar(self, share: float) -> str:
        parts = len(self.glyphs.part_bars) + 1
        whole, part = divmod(round(max(share, 0.0) * _BAR_CELLS * parts), parts)
        return self.glyphs.bar * whole + (self.glyphs.part_bars[part - 1] if part else "")

    def _outcomes(self) -> Iterator[Text]:
        target = self.record["target"]
        kind = "choices" if target["kind"] == "choices" else "hypotheses"
        yield Text("the model's choice" if kind == "choices" else "the model would say", "bold")
        likeliest = sorted(range(len(target[kind])), key=lambda index: -target[kind][index]["probability"])
        for index in likeliest:
            outcome = target[kind][index]
            notes = (outcome.get("ended") and "ends here", index in target.get("gold", ()) and "gold")
            note = "".join(f" {self.glyphs.dot} {words}" for words in notes if words)
            text = self._quoted(outcome["text"], max(20, self.console.width - 24))
            yield Text(f"  {outcome['probability']:.3f}  {text}{note}", overflow="fold")
        for name, value in target.items():
            if name not in ("kind", kind, "gold") and isinstance(value, str | int | float):
                words = (
                    self._quoted(value, max(20, self.console.width - 24))
                    if isinstance(value, str)
                    else str(value)
                )
                yield self._line(f"  {name}: ").append(words)

    def _total_flows(self) -> Iterator[Text]:
        """What the words move together, where more than one of them moves it."""
        totals = [total for total in self.record.get("total_flows", ()) if total["units"] > 1]
        if totals:
            yield Text()
            yield Text("moved most, over all units", "bold")
        for total in totals[:_TOP_TOTALS]:
            source, target = (self._quoted(total[end], 20) for end in ("from", "to"))
            yield Text(
                f"  {total['mass']:.2g}  {source} {self.glyphs.arrow} {target} "
                f"{self.glyphs.dot} by {total['units']} units",
                overflow="fold",
            )

    def _diagnostics(self) -> Text:
        known = self.record["diagnostics"]
        parts = []
        if "outside_support" in known:
            parts.append(f"outside support {known['outside_support']:.2g}")
        if "transport_gap" in known:
            parts.append(f"transport gap {known['transport_gap']:.2g}")
        if "model_tokens" in known:
            parts.append(f"{known['model_tokens']:,} model tokens")
        if "total" in known.get("seconds", {}):
            parts.append(f"{known['seconds']['total']:.3g} s")
        if known.get("recomputed"):
            parts.append(self._visible(f"no cache: {known['recomputed']}"))
        if known.get("truncated_tokens"):
            parts.append(f"{known['truncated_tokens']:,} tokens cut off on the left")
        return Text(f" {self.glyphs.dot} ".join(parts), "dim")


def _level_style(level: int) -> Style:
    return Style(color=_PAPER if level >= _FIRST_DARK_LEVEL else _INK, bgcolor=_SCALE[level - 1])
