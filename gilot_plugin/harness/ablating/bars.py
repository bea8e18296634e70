"""How far an ablation has come, on the screen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from gilot_plugin.harness.ablating.ablate import Advance


@contextmanager
def shown_bar(what: str, total: int, *, hidden: bool = False) -> Iterator[Advance]:
    """One bar on standard error.

    Args:
        what: Before the bar.
        total: Samples in all arms.
        hidden: Whether nothing is shown, as in processes beside the first one.

    Yields:
        What is to be called with a number of samples.
    """
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=hidden,
    )
    with progress:
        task = progress.add_task(what, total=total)
        yield lambda number: progress.advance(task, number)
