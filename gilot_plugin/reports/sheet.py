"""One explained sample on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.style import Style
from rich.table import Table
from rich.text import Text

from gilot_plugin.artifacts.typed import Record
from gilot_plugin.artifacts.verdicts import is_correct, metric_words
from gilot_plugin.attribution.types import Flow
from gilot_plugin.errors import one_of
from gilot_plugin.reports.estimates import (
    pair_numbers,
    pair_words,
    pairs_of,
    quality_words,
    rank_words,
    redundancy_words,
    speaks_for,
)
from gilot_plugin.reports.heat import heat_pieces
from gilot_plugin.reports.lines import Lines
from gilot_plugin.reports.palette import LIGHT, MAX_LEVEL, heat_levels
from gilot_plugin.reports.said import said_lines
from gilot_plugin.reports.visible import crop, visible
from gilot_plugin.reports.wording import noise_words

_TOP_UNITS = 10
_PAIRS = 3
_BAR_CELLS = 10
_WIDE = 120


@dataclass(frozen=True, slots=True)
class Sheet(Lines):
    """One sample on a console.

    The scale needs a light ground, so the prompt stands on paper of its own, whatever the terminal's is.

    Attributes:
        record: The sample.
        method: Whose scores are shown.
        titled: Whether task, document and metrics are named.
    """

    record: Record
    method: str
    titled: bool = True

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
        for part in self.parts():
            self.console.print(part)

    def parts(self) -> Iterator[RenderableType]:
        """What is printed, from the top to the bottom."""
        if self.titled:
            yield self._header()
        if self.record.status != "ok":
            yield self.line(f"{self.record.status}: {self.record.reason}")
            return
        scores = self.record.scores.get(self.method)
        if scores is None and self.method in self.record.failed_methods:
            yield self._failure(self.method)
            return
        if scores is None:
            there = one_of(list(self.record.scores))
            yield self.line(f"no scores by method {self.method!r}; there are {there}")
            return
        if self.titled:
            yield Text()
        yield self._heat_map(scores)
        yield self._legend(scores)
        yield Text()
        yield self._top_units(scores)
        if noise := noise_words(self.record, self.method):
            yield self.line(f"(in brackets) {noise}", "dim")
        yield from self._pairs()
        if quality := quality_words(self.record, self.method):
            yield self.line(quality, "dim")
        yield Text()
        yield from said_lines(self, self.record, self.method)
        yield Text()
        yield self._diagnostics()
        for method in self.record.failed_methods:
            yield self._failure(method)

    def _failure(self, method: str) -> Text:
        reason = self.record.failed_methods[method]
        return self.line(f"no scores by method {method!r}, it failed: {reason}", "red")

    def _header(self) -> Text:
        record = self.record
        header = Text()
        header.append(self.visible(record.task), "bold")
        parts = [Text(f"doc {record.doc_id}"), Text(record.status)]
        for (metric, value), words in zip(record.metrics.items(), metric_words(record.metrics), strict=True):
            style = {True: "green", False: "red", None: ""}[is_correct(metric, value)]
            parts.append(Text(crop(self.visible(words), 60, self.glyphs.ellipsis), style))
        parts.append(self.line(record.model))
        for part in parts:
            header.append(f" {self.glyphs.dot} ").append_text(part)
        return header

    def _heat_map(self, scores: Sequence[float]) -> Padding | Text:
        text = Text(style=f"{LIGHT.ink} on {LIGHT.paper}" if self.in_colour else "")
        levels = heat_levels(scores)
        for piece in heat_pieces(self.record):
            before, core, after = self._around_spaces(piece.text)
            level = piece.level(levels)
            if level is None:
                text.append(
                    before + core + after, f"{LIGHT.faint} on {LIGHT.paper}" if self.in_colour else "dim"
                )
            elif level == 0:
                text.append(before + core + after)
            elif self.in_colour:
                text.append(before).append(core, _level_style(level)).append(after)
            else:
                marked = f"{self.glyphs.opening}{core}:{level}{self.glyphs.closing}"
                text.append(before + marked + after)
        # Without the padding, the paper would end where each line does.
        return Padding(text, (0, 1), style=text.style) if self.in_colour else text

    def _around_spaces(self, text: str) -> tuple[str, str, str]:
        """A text made visible, apart from the white space around it, unless it is nothing else."""
        core = text.strip()
        if not core:
            return "", self.visible(text), "\n" * text.count("\n")
        before, _, after = text.partition(core)
        encoding = self.console.encoding
        return (
            visible(before, encoding, line_breaks=True),
            visible(core, encoding, line_breaks=True),
            visible(after, encoding, line_breaks=True),
        )

    def _legend(self, scores: Sequence[float]) -> Text:
        largest, method = max(map(abs, scores)), self.visible(self.method)
        if largest <= 0:
            return Text(f"{method}: every score is 0", "dim")
        speaks = speaks_for(self.record, self.method)
        against = "; -N: the other way" if min(scores) < 0 else ""
        if speaks is not None:
            against = f"; N speaks for {speaks}, -N against it"
        if not self.in_colour:
            return Text(
                f"{self.glyphs.opening}unit:N{self.glyphs.closing} N tenths of the largest {method}, "
                f"{largest:.4g} (9: nine or more){against}; unmarked: less, or not a unit",
                "dim",
            )
        legend = Text().append(f"{method} ", "dim")
        for level in range(-MAX_LEVEL if against else 0, MAX_LEVEL + 1):
            legend.append(f" {level} ", _level_style(level))
        direction = "" if speaks is None else f"; above 0 speaks for {speaks}, below 0 against it"
        legend.append(f" tenths of {largest:.4g}, the largest{direction} {self.glyphs.dot} ", "dim")
        return legend.append("not a unit", f"{LIGHT.faint} on {LIGHT.paper}")

    def _top_units(self, scores: Sequence[float]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
        table.add_column("#", justify="right")
        # Cropped, because rich's ellipsis is a character that not every encoding has.
        table.add_column("unit", no_wrap=True, overflow="crop")
        table.add_column("segment", no_wrap=True, overflow="crop")
        levels = [unit.level for unit in self.record.units]
        differ = len(set(levels)) > 1
        if differ:
            table.add_column("level", no_wrap=True, overflow="crop")
        table.add_column(self.line(self.method), justify="right", no_wrap=True, overflow="crop")
        table.add_column("", no_wrap=True, overflow="crop", min_width=_BAR_CELLS)
        table.add_column("largest flow" if self._is_wide else "largest flow without it", overflow="fold")
        unit_cells = max(10, self.console.width // 5)
        ranked = sorted(range(len(scores)), key=lambda index: -abs(scores[index]))[:_TOP_UNITS]
        largest = abs(scores[ranked[0]])
        noise = self.record.below_floor(self.method)
        places = rank_words(self.record, self.method)
        for index in ranked:
            unit = self.record.units[index]
            table.add_row(
                self.line(places[index]),
                Text(self.quoted(unit.text.strip() or unit.text, unit_cells)),
                Text(crop(self.visible(unit.segment), 12, self.glyphs.ellipsis)),
                *((Text(self.visible(levels[index])),) if differ else ()),
                Text(f"({scores[index]:.4g})" if index in noise else f"{scores[index]:.4g}"),
                Text(self._bar(abs(scores[index]) / largest if largest > 0 else 0.0)),
                self._flow(unit.text, self.record.flows[index]),
            )
        return table

    def _flow(self, unit: str, flows: Sequence[Flow]) -> Text:
        if not flows:
            return Text("")
        largest = flows[0]
        source, target = (self.quoted(end, 20) for end in largest[:2])
        without = f"without {self.quoted(unit.strip() or unit, 20)}: " if self._is_wide else ""
        return Text(f"{without}{source} {self.glyphs.arrow} {target} {largest.mass:.2g}")

    def _bar(self, share: float) -> str:
        parts = len(self.glyphs.part_bars) + 1
        whole, part = divmod(round(max(share, 0.0) * _BAR_CELLS * parts), parts)
        return self.glyphs.bar * whole + (self.glyphs.part_bars[part - 1] if part else "")

    def _pairs(self) -> Iterator[Text]:
        pairs = pairs_of(self.record, self.method)
        for pair in pairs[:_PAIRS]:
            first, second = (self.quoted(self.record.units[unit].text.strip(), 20) for unit in pair.units)
            yield Text(f"{first} and {second} {pair_words(pair)} ({pair_numbers(pair)})", overflow="fold")
        if words := redundancy_words(pairs):
            yield Text(words, "dim")

    def _diagnostics(self) -> Text:
        known = self.record.diagnostics
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
            parts.append(self.visible(f"no cache: {known['recomputed']}"))
        if known.get("truncated_tokens"):
            parts.append(f"{known['truncated_tokens']:,} tokens cut off on the left")
        return Text(f" {self.glyphs.dot} ".join(parts), "dim")


def _level_style(level: int) -> Style:
    return Style(color=LIGHT.ink_on(level), bgcolor=LIGHT.ground(level))
