"""How far an ablation has come, on the screen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gilot_plugin.harness.ablating.ablate import Advance
from gilot_plugin.harness.state.progress import counting_bars


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
    progress = counting_bars(hidden=hidden)
    with progress:
        task = progress.add_task(what, total=total)
        yield lambda number: progress.advance(task, number)
