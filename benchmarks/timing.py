"""Seconds of a call, and how numbers measured several times are written."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeVar

import torch

_Result = TypeVar("_Result")


def timed(call: Callable[[], _Result], device: torch.device | None = None) -> tuple[_Result, float]:
    """The result of a call and its wall-clock seconds, with all that it queued on the device."""
    _finish(device)
    started = time.perf_counter()
    result = call()
    _finish(device)
    return result, time.perf_counter() - started


def _finish(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def spread(values: Sequence[float]) -> str:
    """Median, and the least to the most if there are several."""
    middle = number(median(values))
    return middle if len(values) == 1 else f"{middle} ({number(min(values))} to {number(max(values))})"


def times(theirs: Sequence[float], ours: Sequence[float]) -> str:
    """How many times as much theirs is as ours, over all pairs of repeats."""
    return spread([their / our for their in theirs for our in ours])


def number(value: float) -> str:
    """Three digits that matter, as far as a reader needs them."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
