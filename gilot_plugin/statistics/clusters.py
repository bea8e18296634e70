"""Paired differences of samples that belong together, as several questions about one text do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

from gilot_plugin.statistics.intervals import CONFIDENCE, MIN_SAMPLES
from gilot_plugin.statistics.paired import paired_test


class ClusteredTest(NamedTuple):
    """A mean difference over samples, tested over clusters.

    Attributes:
        clusters: Their number.
        low: Lower end of the 95 % interval of the mean; None with too few clusters.
        high: Its upper end.
        p_value: Of the permutation test that flips the signs of whole clusters.
        attainable: Smallest p-value that so many clusters can have.
    """

    clusters: int
    low: float | None
    high: float | None
    p_value: float
    attainable: float


def clustered_test(differences: np.ndarray, clusters: Sequence[str], seed: int = 0) -> ClusteredTest:
    """Test a mean of differences where those of a cluster are not independent.

    The standard error is that of the linearised mean over clusters, sqrt(G / (G - 1) sum_g e_g^2) / n with
    e_g the sum of a cluster's deviations from the mean (Miller 2024, Adding error bars to evals, eq. 4,
    with the usual correction for few clusters).

    Args:
        differences: ``[samples]``.
        clusters: What each sample belongs to.
        seed: Of the signs that are drawn.
    """
    names, places = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    count, total = len(names), len(differences)
    sums = np.bincount(places, weights=differences, minlength=count)
    sizes = np.bincount(places, minlength=count)
    test = paired_test(sums, seed=seed)
    if count < MIN_SAMPLES:
        return ClusteredTest(count, None, None, test.p_value, test.attainable)
    mean = float(np.mean(differences))
    error = float(np.sqrt(count / (count - 1) * np.sum((sums - sizes * mean) ** 2)) / total)
    reach = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    return ClusteredTest(count, mean - reach, mean + reach, test.p_value, test.attainable)
