"""How values show themselves in notebooks and terminals, see :mod:`gilot_plugin.display`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from gilot_plugin.artifacts.loading import LoadedRun
from gilot_plugin.artifacts.records import SampleIdentity, attributed_record
from gilot_plugin.artifacts.typed import Record
from gilot_plugin.attribution.types import Attribution
from gilot_plugin.comparison.audit import Audit
from gilot_plugin.comparison.verdict import verdict_lines
from gilot_plugin.reports.html.notebook import comparison_fragment, run_fragment, sample_fragment
from gilot_plugin.reports.sheet import Sheet
from gilot_plugin.reports.shift_table import shift_table
from gilot_plugin.reports.terminal import overview
from gilot_plugin.reports.visible import visible


@singledispatch
def html(value: Any) -> str:
    """Static HTML of a value, at most 50 KB.

    Raises:
        TypeError: Nothing is known of such values.
    """
    raise TypeError(f"nothing draws a {type(value).__name__}")


@singledispatch
def terminal(value: Any) -> RenderableType:
    """What rich prints of a value.

    Raises:
        TypeError: Nothing is known of such values.
    """
    raise TypeError(f"nothing draws a {type(value).__name__}")


@html.register
def _(value: Record) -> str:
    return sample_fragment(value)


@html.register
def _(value: Attribution) -> str:
    return sample_fragment(record_of(value), titled=False)


@html.register
def _(value: LoadedRun) -> str:
    return run_fragment(value)


@html.register
def _(value: Audit) -> str:
    return comparison_fragment(value)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What depends on the console that it is printed on."""

    value: Record | LoadedRun | Audit
    titled: bool = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if isinstance(self.value, Record):
            yield from Sheet(console, self.value, self.value.method or "", titled=self.titled).parts()
        elif isinstance(self.value, LoadedRun):
            yield from overview(self.value.records, console)
        else:
            for line in verdict_lines(self.value):
                yield Text(visible(line, console.encoding))
            yield shift_table(self.value, console.encoding)


@terminal.register(Record)
@terminal.register(LoadedRun)
@terminal.register(Audit)
def _(value: Record | LoadedRun | Audit) -> RenderableType:
    return _Drawn(value)


@terminal.register
def _(value: Attribution) -> RenderableType:
    return _Drawn(record_of(value), titled=False)


def record_of(attribution: Attribution) -> Record:
    """The record of an attribution that belongs to no evaluation."""
    identity = SampleIdentity("prompt", 0, "", "", "", "generate_until")
    return Record.from_json(attributed_record(identity, attribution, target={}, config_hash="", model=""))
