"""Intervals of means. They describe; what is claimed comes from tests."""

from __future__ import annotations

import numpy as np
import scipy.stats

CONFIDENCE = 0.95

#: Below so many samples an interval would promise more than it holds.
MIN_SAMPLES = 5


def mean_interval(
    values: np.ndarray, lowest: float = -np.inf, highest: float = np.inf
) -> tuple[float | None, float | None]:
    """Student's interval of the mean at :data:`CONFIDENCE`; Nones with too few values.

    Of the fewest values, bootstraps hold the mean less often, for resamples scatter less than samples; of
    skewed values both hold it less often than they say (``make bench-statistics`` counts it).

    Args:
        values: ``[samples]``, independent of each other.
        lowest: What no mean can be below.
        highest: What no mean can be above.
    """
    if len(values) < MIN_SAMPLES:
        return None, None
    # Where the values are equal but for rounding there is no deviation to go by.
    if np.ptp(values) <= 1e-12 * np.max(np.abs(values)):
        return float(values[0]), float(values[0])
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    low, high = scipy.stats.t.interval(CONFIDENCE, len(values) - 1, np.mean(values), error)
    return max(lowest, float(low)), min(highest, float(high))
