from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats

from gilot_plugin.statistics.intervals import mean_interval
from gilot_plugin.statistics.paired import mcnemar, mcnemar_attainable, paired_test, paired_tests, smallest_p


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


def test_tests_together_are_those_alone() -> None:
    generator = np.random.default_rng(8)
    differences = [generator.normal(0.3, 1, count) for count in (9, 20, 9, 20, 3)]
    together = paired_tests(differences, [0.0, 0.1, 0.1, 0.0, 0.0], seed=2)
    alone = [
        paired_test(values, floor=floor, seed=2)
        for values, floor in zip(differences, [0.0, 0.1, 0.1, 0.0, 0.0], strict=True)
    ]
    assert [one.p_value for one in together] == pytest.approx([one.p_value for one in alone])


def test_the_floor_is_part_of_what_is_tested() -> None:
    differences = np.random.default_rng(3).normal(1.0, 0.3, 10)
    assert paired_test(differences, floor=0.5).p_value == pytest.approx(enumerated(differences - 0.5))
    assert paired_test(-differences, floor=0.5).p_value == pytest.approx(enumerated(differences - 0.5))
    # Certainly not 0, and certainly not above the floor.
    assert paired_test(differences).p_value < 0.01
    assert paired_test(differences, floor=1.5).p_value == 1


def test_at_the_floor_small_p_values_are_as_rare_as_they_say() -> None:
    generator = np.random.default_rng(5)
    tests = paired_tests([generator.normal(0.2, 0.5, 12) for _ in range(600)], [0.2] * 600)
    small = sum(test.p_value <= 0.1 for test in tests)
    assert small <= scipy.stats.binom.ppf(0.9999, 600, 0.1)


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
    assert found.attainable == 1


def test_pairs_without_any_difference_show_nothing() -> None:
    found = paired_test(np.zeros(20))
    assert (found.p_value, found.mean, found.effect_size, found.low, found.high) == (1, 0, None, 0, 0)


def test_values_that_are_equal_but_for_rounding_have_an_interval() -> None:
    values = np.array([1.0, 1.0, np.nextafter(1.0, 0), 1.0, 1.0, 1.0])
    low, high = mean_interval(values)
    assert (low, high) == (pytest.approx(1), pytest.approx(1))


def test_an_interval_keeps_to_what_a_mean_can_be() -> None:
    shares = np.array([0.0, 0.0, 0.0, 0.0, 0.9])
    assert mean_interval(shares, 0.0, 1.0)[0] == 0
    assert mean_interval(shares)[0] < 0  # type: ignore[operator]
    assert mean_interval(shares[:4]) == (None, None)


def test_the_smallest_p_value_is_that_of_signs_that_are_all_alike() -> None:
    for count in (6, 9, 14):
        assert paired_test(np.arange(1.0, count + 1)).p_value == smallest_p(count) == 0.5 ** (count - 1)
        assert paired_test(np.arange(1.0, count + 1), one_sided=True).p_value == 0.5**count
    assert smallest_p(5) == 1


def test_mcnemar_by_hand() -> None:
    assert mcnemar(0, 0) == 1
    assert mcnemar(0, 6) == mcnemar_attainable(6) == pytest.approx(2 / 2**6)
    assert mcnemar(5, 5) == mcnemar_attainable(0) == 1
    assert mcnemar(1, 7) == pytest.approx(2 * (1 + 8) / 2**8)
