"""How far the attribution of a run is, on the screen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from gilot_plugin.harness.state.notebook import NotebookOutput


def counting_bars(*, hidden: bool = False) -> Progress:
    """Bars on standard error that say how many of how many are done."""
    return Progress(*_columns(MofNCompleteColumn()), console=Console(stderr=True), disable=hidden)


def _columns(count: ProgressColumn) -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        count,
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )


class RunProgress:
    """Two bars: the run's samples, with the time left, and the units of this one.

    They stand on standard error, in a notebook in the output of its cell.

    Units of the present sample count as parts of it, so the time left is known before the first sample is
    done.

    Args:
        hidden: Whether to show nothing, as all processes but the first should.
    """

    def __init__(self, *, hidden: bool = False) -> None:
        columns = _columns(TextColumn("{task.fields[count]}"))
        console = Console(stderr=True)
        in_notebook = console.is_jupyter and not hidden
        self._bars = Progress(*columns, console=console, disable=hidden or in_notebook)
        self._output = NotebookOutput(self._bars) if in_notebook else None
        self._samples = self._bars.add_task("GiLOT: samples explained", total=None, count="")
        self._units = self._bars.add_task("", total=None, count="", visible=False)
        self._samples_total = self._samples_done = self._units_total = self._units_done = self._started = 0

    @contextmanager
    def shown(self, samples: int) -> Iterator[None]:
        """Show the bars while so many samples are attributed."""
        self._samples_total = samples
        self._update()
        with self._output or self._bars:
            yield

    def sample_started(self, task: str, doc_id: int, units: int | None) -> None:
        """A sample with so many units comes next, perhaps beside others that have not finished.

        ``units`` is None if their number is yet to be found out.
        """
        if self._started == 0:
            self._units_total = self._units_done = 0
        self._started += 1
        self._units_total += units or 0
        others = f" and {self._started - 1} before it" if self._started > 1 else ""
        self._bars.reset(
            self._units,
            description=f"  {task}, doc {doc_id}{others}",
            total=self._units_total or None,
            visible=True,
        )
        self._update()

    def units_done(self, count: int) -> None:
        """So many more units were measured."""
        self._units_done += count
        self._update()

    def sample_finished(self) -> None:
        """The sample has its record."""
        self._samples_done += 1
        self._started = max(0, self._started - 1)
        if self._started == 0:
            self._units_total = self._units_done = 0
        self._update()

    def _update(self) -> None:
        part = self._units_done / self._units_total if self._units_total else 0.0
        self._bars.update(
            self._samples,
            total=self._samples_total,
            completed=self._samples_done + part,
            count=f"{self._samples_done}/{self._samples_total}",
        )
        if self._units_total or self._units_done:
            total = f"/{self._units_total}" if self._units_total else ""
            self._bars.update(
                self._units, completed=self._units_done, count=f"{self._units_done}{total} units"
            )
        if self._output is not None:
            self._output.refresh()
