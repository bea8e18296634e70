"""Tests of samples that belong together, against the definition."""

from __future__ import annotations

import numpy as np
import pytest

from gilot_plugin.statistics.clusters import clustered_test
from gilot_plugin.statistics.intervals import mean_interval
from gilot_plugin.statistics.paired import paired_test


def test_clusters_of_one_are_samples() -> None:
    values = np.random.default_rng(1).normal(0.3, 1.0, 40)
    found = clustered_test(values, [str(place) for place in range(40)])
    assert (found.low, found.high) == pytest.approx(mean_interval(values))
    assert found.p_value == paired_test(values).p_value


def test_copies_of_a_sample_count_once() -> None:
    values = np.random.default_rng(2).normal(0.3, 1.0, 20)
    copied, names = np.repeat(values, 5), [str(place) for place in range(20) for _ in range(5)]
    found = clustered_test(copied, names)
    assert (found.low, found.high) == pytest.approx(mean_interval(values))
    assert found.p_value == pytest.approx(paired_test(values).p_value, abs=0.02)
    assert paired_test(copied).p_value < found.p_value
