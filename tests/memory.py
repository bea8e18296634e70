"""How much memory tensors take at most."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.profiler import ProfilerActivity, profile


class Peak:
    """Attributes:
    bytes: Most that tensors made within the block took at once; known after it.
    """

    bytes: int = 0


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Add up what torch allocates and frees on the CPU within the block."""
    peak = Peak()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        yield peak
    events = profiler.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    held = 0
    for _, change in changes:
        held += change
        peak.bytes = max(peak.bytes, held)
