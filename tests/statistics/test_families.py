from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from gilot_plugin.statistics.families import ALPHA, judge, samples_needed, taking_part
from gilot_plugin.statistics.paired import paired_test, paired_tests, smallest_p
from gilot_plugin.statistics.power import POWER, detectable, detectable_effect

ABLE = 1e-9


def q_values(p_values: list[float], families: int = 1) -> list[float]:
    return [one.q_value for one in judge(p_values, [ABLE] * len(p_values), families)]


def test_p_values_are_adjusted_for_each_other_and_for_the_families() -> None:
    # Benjamini and Hochberg by hand: 0.01 * 3 / 1, 0.02 * 3 / 2, 0.9 * 3 / 3; then four families.
    assert q_values([0.02, 0.9, 0.001], families=4) == pytest.approx([4 * 0.03, 1.0, 4 * 0.003])
    assert q_values([]) == []


def test_one_finding_among_hundreds_of_tests_can_be_told_from_chance() -> None:
    p_value = paired_test(np.random.default_rng(0).normal(2, 1, 60)).p_value
    assert q_values([p_value, *[0.5] * 199], families=4)[0] <= ALPHA


def test_tests_that_could_find_nothing_do_not_dilute_the_others() -> None:
    few = smallest_p(8)
    found = judge([1e-3, *[few] * 100], [ABLE, *[few] * 100])
    assert found[0].q_value == pytest.approx(1e-3)
    assert found[0].is_finding
    # Even the smallest p-value that they can have would be no finding among a hundred.
    assert {(one.q_value, one.level) for one in found[1:]} == {(1.0, None)}


def test_which_tests_take_part_by_hand() -> None:
    # Tarone: at most k tests can have a p-value of 0.05 / k. Three can for k = 1 and 2, two for k = 3.
    assert taking_part([0.001, 0.01, 0.02, 0.2]) == [0, 1]
    assert taking_part([0.001, 0.01]) == [0, 1]
    assert taking_part([1.0, 0.2]) == []
    # None could be a finding alone, both can together.
    assert taking_part([0.03, 0.03]) == [0, 1]


def test_the_level_is_the_largest_p_value_that_would_have_been_a_finding() -> None:
    p_values = [0.001, 0.004, 0.02, 0.3, 0.8]
    for place, judged in enumerate(judge(p_values, [ABLE] * 5)):
        assert judged.level is not None
        for p_value, is_finding in ((0.9999 * judged.level, True), (1.0001 * judged.level, False)):
            changed = [*p_values[:place], p_value, *p_values[place + 1 :]]
            assert judge(changed, [ABLE] * 5)[place].is_finding == is_finding


@pytest.mark.parametrize(("tests", "families", "one_sided"), [(1, 1, False), (9, 1, False), (200, 4, True)])
def test_with_the_samples_needed_a_test_can_be_a_finding_and_with_one_less_it_cannot(
    tests: int, families: int, one_sided: bool
) -> None:
    needed = samples_needed(tests, families, one_sided=one_sided)
    level = ALPHA / families / tests
    assert 0.5 ** (needed if one_sided else needed - 1) <= level
    assert 0.5 ** (needed - 1 if one_sided else needed - 2) > level


# The smallest effect that could have been found


def test_twenty_pairs_and_two_hundred_words() -> None:
    """By itself a test would find 0.66 standard deviations; as one of 200 in one of four families, 1.37."""
    generator = np.random.default_rng(1)
    tests = paired_tests(list(generator.normal(0, 1, (200, 20))))
    judged = judge([one.p_value for one in tests], [one.attainable for one in tests], 4)
    sizes = [
        detectable(test, one) / test.spread  # type: ignore[operator]
        for test, one in zip(tests, judged, strict=True)
    ]
    assert sizes == pytest.approx([1.37] * 200, abs=0.01)
    assert detectable_effect(20, ALPHA) == pytest.approx(0.66, abs=0.01)


def test_the_floor_has_to_be_passed_first() -> None:
    test = paired_test(np.random.default_rng(1).normal(0, 1, 20), floor=0.3)
    (judged,) = judge([test.p_value], [test.attainable])
    assert detectable(test, judged) == pytest.approx(0.3 + test.spread * detectable_effect(20, ALPHA))


def test_too_few_pairs_could_have_found_nothing() -> None:
    test = paired_test(np.ones(5))
    (judged,) = judge([test.p_value], [test.attainable])
    assert detectable(test, judged) is None


@pytest.mark.parametrize(("pairs", "alpha"), [(6, 0.05), (7, 0.02), (10, 0.05), (15, 0.05 / 800), (30, 0.05)])
def test_the_detectable_effect_is_found_four_times_in_five(pairs: int, alpha: float) -> None:
    samples = np.random.default_rng(pairs).normal(detectable_effect(pairs, alpha), 1, (400, pairs))
    found = np.mean([test.p_value <= alpha for test in paired_tests(list(samples))])
    assert found == pytest.approx(POWER, abs=4 * np.sqrt(POWER * (1 - POWER) / 400))


def test_with_many_pairs_it_is_that_of_the_t_test() -> None:
    samples = np.random.default_rng(0).normal(detectable_effect(100, ALPHA), 1, (20_000, 100))
    found = np.mean(scipy.stats.ttest_1samp(samples, 0, axis=1).pvalue <= ALPHA)
    assert found == pytest.approx(POWER, abs=0.015)
