"""Two groups, against scipy's own tests and against what a person knows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from gilot_plugin.statistics.families import ALPHA
from gilot_plugin.statistics.two_groups import MIN_GROUP, group_size_needed, group_tests


def _drawn(seed: int, inside: int, outside: int, shift: float = 0.0) -> tuple[np.ndarray, list[bool]]:
    generator = np.random.default_rng(seed)
    values = np.concatenate([generator.normal(shift, 1.0, inside), generator.normal(0.0, 2.0, outside)])
    return values, [True] * inside + [False] * outside


def test_without_strata_the_difference_is_that_of_the_means() -> None:
    values, group = _drawn(1, 12, 20, 1.0)
    (found,) = group_tests(values[:, None], group, [""] * 32)
    assert found.difference == pytest.approx(values[:12].mean() - values[12:].mean())
    assert (found.mean, found.other) == (pytest.approx(values[:12].mean()), pytest.approx(values[12:].mean()))
    reach = scipy.stats.t.ppf(0.975, 30) * math.sqrt(
        values[:12].var(ddof=1) / 12 + values[12:].var(ddof=1) / 20
    )
    assert found.high == pytest.approx(found.difference + reach)
    expected = scipy.stats.permutation_test(
        (values[:12], values[12:]), lambda a, b: a.mean() - b.mean(), n_resamples=9999, rng=0
    )
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.015)


def test_what_differs_between_strata_alone_is_no_difference() -> None:
    """Wrong answers are mostly of the hard task, whose prompts have a longer first part."""
    generator = np.random.default_rng(2)
    strata = ["easy"] * 40 + ["hard"] * 40
    group = [place % 8 == 0 for place in range(40)] + [place % 8 != 0 for place in range(40)]
    values = np.array([1.0] * 40 + [3.0] * 40) + generator.normal(0, 0.2, 80)
    (within,) = group_tests(values[:, None], group, strata)
    (pooled,) = group_tests(values[:, None], group, [""] * 80)
    assert pooled.p_value < 0.001
    assert within.p_value > 0.05
    assert abs(within.difference) < 0.2 < pooled.difference


def test_chance_is_found_as_often_as_the_level_says() -> None:
    generator = np.random.default_rng(3)
    found = group_tests(generator.exponential(1.0, (30, 400)), [place < 9 for place in range(30)], [""] * 30)
    share = np.mean([test.p_value <= ALPHA for test in found])
    assert 0.02 <= share <= 0.085


def test_so_few_samples_cannot_have_a_smaller_p_value() -> None:
    values = np.array([9.0, 9.0, 9.0, 0.0, 0.0, 0.0])
    (found,) = group_tests(values[:, None], [True] * 3 + [False] * 3, [""] * 6)
    assert found.attainable == pytest.approx(2 / 20)
    assert found.p_value == pytest.approx(2 / 20, abs=0.02)
    (few,) = group_tests(values[:, None], [True] * 2 + [False] * 4, [""] * 6)
    assert (few.p_value, few.attainable) == (1.0, 1.0)
    assert group_size_needed(1) == 4
    assert 2 / math.comb(8, 4) <= ALPHA < 2 / math.comb(2 * MIN_GROUP, MIN_GROUP)


def test_the_number_that_it_takes_finds_the_difference_four_times_in_five() -> None:
    values, group = _drawn(4, 15, 15, 0.8)
    (found,) = group_tests(values[:, None], group, [""] * 30)
    assert found.needed is not None
    generator = np.random.default_rng(5)
    spread = abs(found.difference / found.effect_size) if found.effect_size else 1.0
    drawn = generator.normal(0, spread, (1000, 2, found.needed))
    p_values = scipy.stats.ttest_ind(drawn[:, 0] + found.difference, drawn[:, 1], axis=1).pvalue
    assert np.mean(p_values <= ALPHA) == pytest.approx(0.8, abs=0.05)
