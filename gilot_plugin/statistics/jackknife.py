"""Standard errors of what is no mean over samples: groups of samples are left out in turn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import scipy.stats

from gilot_plugin.statistics.intervals import CONFIDENCE


class JackknifeTest(NamedTuple):
    """A number, and whether it is 0.

    Attributes:
        low: Lower end of its 95 % interval; None where it is the same whatever is left out.
        high: Its upper end.
        p_value: Two-sided, of Student's t; 1 where there is no interval.
    """

    low: float | None
    high: float | None
    p_value: float


def jackknife_stderr(left_out: Sequence[float]) -> float:
    """Standard error by the delete-a-group jackknife (Kott 2001).

    Args:
        left_out: The number without each group in turn.
    """
    groups = len(left_out)
    mean = sum(left_out) / groups
    return math.sqrt((groups - 1) / groups * sum((value - mean) ** 2 for value in left_out))


def jackknife_test(value: float, stderr: float, groups: int) -> JackknifeTest:
    """Interval and test of a number from its standard error over so many groups."""
    if not stderr:
        return JackknifeTest(None, None, 1.0)
    reach = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, groups - 1)) * stderr
    p_value = float(2 * scipy.stats.t.sf(abs(value) / stderr, groups - 1))
    return JackknifeTest(value - reach, value + reach, p_value)
