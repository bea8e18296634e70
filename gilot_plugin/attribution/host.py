"""What this process may use of the machine it runs on: processor cores and memory."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

import psutil

#: Where Linux says how much of the cores a container may use: microseconds of each period, or "max".
_QUOTA = Path("/sys/fs/cgroup/cpu.max")

#: The same of memory: bytes that it may have, or "max", and bytes that it has.
_MOST_MEMORY, _MEMORY = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")

#: Share of the free memory that is used.
_SHARE = 0.5


def usable_cores() -> int:
    """Cores that the process may use, at least one: of the machine, of its affinity, and of its container."""
    # The first is what Python 3.13 and later are told by PYTHON_CPU_COUNT.
    known = getattr(os, "process_cpu_count", os.cpu_count)() or 1
    if hasattr(os, "sched_getaffinity"):
        known = min(known, len(os.sched_getaffinity(0)))
    return max(1, min(known, _quota()))


def _quota() -> int:
    """Whole cores that the container's quota amounts to, rounded up; a large number without one."""
    try:
        allowed, period = _QUOTA.read_text().split()
        return math.ceil(int(allowed) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return 2**31


def free_bytes() -> int:
    """Half of the memory that is free, of the machine and of its container."""
    free: int = psutil.virtual_memory().available
    # There may be no container, or one without a limit.
    with suppress(OSError, ValueError):
        free = min(free, int(_MOST_MEMORY.read_text()) - int(_MEMORY.read_text()))
    return max(0, int(free * _SHARE))
