"""How many processor cores this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

#: Where Linux says how much of the cores a container may use: microseconds of each period, or "max".
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


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
