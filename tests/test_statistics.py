from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats

from gilot_plugin.statistics import (
    ALPHA,
    POWER,
    adjusted,
    bootstrap_interval,
    detectable_effect,
    mcnemar,
    paired_test,
)


def enumerated(differences: np.ndarray) -> float:
    """The p-value by all signs, as one would write it down."""
    means = [
        float(np.mean(differences * np.array(signs)))
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    observed = float(np.mean(differences))
    one_tail = min(np.mean(np.array(means) >= observed), np.mean(np.array(means) <= observed))
    return float(min(1.0, 2 * one_tail))


@pytest.mark.parametrize("seed", range(5))
def test_few_pairs_are_tested_exactly(seed: int) -> None:
    differences = np.random.default_rng(seed).normal(0.4, 1, 9)
    assert paired_test(differences).p_value == pytest.approx(enumerated(differences))


@pytest.mark.parametrize("mean", [0.0, 0.2, 0.4])
def test_many_pairs_are_tested_by_drawing_signs(mean: float) -> None:
    differences = np.random.default_rng(1).normal(mean, 1, 40)
    oracle = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=9999, rng=np.random.default_rng(5)
    ).pvalue
    tail = oracle / 2  # of which either value is twice an estimate
    spread = 2 * np.sqrt(2 * tail * (1 - tail) / 9999)
    assert paired_test(differences).p_value == pytest.approx(oracle, abs=4 * spread + 2e-4)


def test_one_sided_asks_for_a_mean_above_zero() -> None:
    differences = np.random.default_rng(2).normal(-1, 1, 12)
    assert paired_test(differences, one_sided=True).p_value > 0.95
    assert paired_test(-differences, one_sided=True).p_value < 0.05


def test_without_any_difference_the_rate_of_small_p_values_is_what_they_say() -> None:
    generator = np.random.default_rng(4)
    # Skewed and heavy-tailed on both sides of a pair: no t-test would be exact.
    p_values = [
        paired_test(generator.lognormal(0, 1.5, 10) - generator.lognormal(0, 1.5, 10)).p_value
        for _ in range(400)
    ]
    for rate in (0.05, 0.2):
        small = sum(p_value <= rate for p_value in p_values)
        assert small <= scipy.stats.binom.ppf(0.9999, 400, rate)
        assert small >= scipy.stats.binom.ppf(0.0001, 400, rate - 2 / 2**9)


def test_one_finding_among_hundreds_of_tests_can_be_told_from_chance() -> None:
    p_value = paired_test(np.random.default_rng(0).normal(2, 1, 60)).p_value
    assert adjusted([p_value, *[0.5] * 199], families=4)[0] <= ALPHA


def test_p_values_are_adjusted_for_each_other_and_for_the_families() -> None:
    # Benjamini and Hochberg by hand: 0.01 * 3 / 1, 0.02 * 3 / 2, 0.9 * 3 / 3; then four families.
    assert adjusted([0.02, 0.9, 0.001], families=4) == pytest.approx([4 * 0.03, 1.0, 4 * 0.003])
    assert adjusted([]) == []


def test_numbers_of_a_test() -> None:
    differences = np.array([0.1, 0.3, 0.2, 0.4, 0.0, 0.2])
    found = paired_test(differences)
    assert found.pairs == 6
    assert found.mean == pytest.approx(0.2)
    assert found.effect_size == pytest.approx(0.2 / np.std(differences, ddof=1))
    assert found.low is not None
    assert found.high is not None
    assert 0.05 < found.low < 0.2 < found.high < 0.35


@pytest.mark.parametrize("count", [0, 1, 5])
def test_too_few_pairs_show_nothing(count: int) -> None:
    found = paired_test(np.ones(count))
    assert found.p_value == 1
    assert found.detectable is None


def test_pairs_without_any_difference_show_nothing() -> None:
    found = paired_test(np.zeros(20))
    assert (found.p_value, found.mean, found.effect_size, found.low, found.high) == (1, 0, None, 0, 0)


def test_values_that_are_equal_but_for_rounding_have_an_interval() -> None:
    values = np.array([1.0, 1.0, np.nextafter(1.0, 0), 1.0, 1.0, 1.0])
    low, high = bootstrap_interval(values)
    assert (low, high) == (pytest.approx(1), pytest.approx(1))


@pytest.mark.parametrize("pairs", [6, 10, 30, 100])
def test_the_detectable_effect_is_found_four_times_in_five(pairs: int) -> None:
    generator = np.random.default_rng(pairs)
    samples = generator.normal(detectable_effect(pairs), 1, (20_000, pairs))
    found = scipy.stats.ttest_1samp(samples, 0, axis=1).pvalue <= ALPHA
    assert np.mean(found) == pytest.approx(POWER, abs=0.015)


def test_mcnemar_by_hand() -> None:
    assert mcnemar(0, 0) == 1
    assert mcnemar(0, 6) == pytest.approx(2 / 2**6)
    assert mcnemar(5, 5) == 1
    assert mcnemar(1, 7) == pytest.approx(2 * (1 + 8) / 2**8)
