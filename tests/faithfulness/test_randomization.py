from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from gilot_plugin.faithfulness.curves import SampleKey
from gilot_plugin.faithfulness.randomization import (
    Twin,
    compare_with_random_weights,
    partial_rank_correlation,
    rank_correlation,
)
from gilot_plugin.reports.faithfulness import randomization_lines

METHODS = ("same", "monotone", "blind", "flat")


def twins(samples: int, units: int = 12) -> list[Twin]:
    """Attributions that stay, stay but for their scale, are drawn anew, or vanish with random weights."""
    generator = np.random.default_rng(0)
    found = []
    for doc in range(samples):
        scores = generator.random(units)
        trained = {method: tuple(scores) for method in METHODS}
        random = {
            "same": tuple(scores),
            "monotone": tuple(np.exp(5 * scores)),
            "blind": tuple(generator.random(units)),
            "flat": (0.0,) * units,
        }
        found.append(Twin(SampleKey("task", doc, ""), trained, random))
    return found


def test_what_stays_fails_and_what_changes_passes() -> None:
    test = compare_with_random_weights(twins(30), METHODS, weights_seed=7)
    found = {one.method: one for one in test.methods}
    assert test.seed == 7
    assert found["same"].correlation.mean == pytest.approx(1)
    assert found["monotone"].correlation.mean == pytest.approx(1)
    assert found["flat"].correlation.mean == 0
    assert abs(found["blind"].correlation.mean) < 4 / np.sqrt(30 * 11)
    assert {name for name, one in found.items() if one.passes} == {"blind", "flat", "random"}
    assert found["first_to_last"].correlation.mean == pytest.approx(1)
    assert [name for name, one in found.items() if one.is_control] == ["first_to_last", "random"]
    lines = list(randomization_lines(test))
    assert lines[0].startswith("random weights: same is not shown to depend on what the model learnt")
    assert lines[2].startswith("random weights: blind depends on what the model learnt")


def test_few_samples_do_not_pass() -> None:
    test = compare_with_random_weights(twins(4), METHODS, weights_seed=0)
    assert not any(one.passes for one in test.methods)
    assert all("no claim from 4 samples" in line for line in randomization_lines(test))


def test_two_units_have_no_order_to_compare() -> None:
    assert compare_with_random_weights(twins(9, units=2), METHODS, weights_seed=0).methods == ()


def test_a_correlation_is_one_of_ranks() -> None:
    one, other = [3.0, 1.0, 2.0, 5.0], [9.0, 2.0, 5.0, 7.0]
    ranks, others = np.array([2, 0, 1, 3]), np.array([3, 0, 1, 2])
    assert rank_correlation(one, other) == pytest.approx(np.corrcoef(ranks, others)[0, 1])
    assert rank_correlation([1.0, 1.0], [1.0, 2.0]) is None
    assert rank_correlation([1.0, 2.0], [1.0, 1.0]) == 0


def residual_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Partial correlation as it is defined: of what a regression of the ranks on the order leaves."""
    order = np.column_stack([np.ones(len(one)), np.arange(len(one))])
    left = []
    for scores in (one, other):
        ranks = scipy.stats.rankdata(scores)
        left.append(ranks - order @ np.linalg.lstsq(order, ranks, rcond=None)[0])
    return float(np.corrcoef(*left)[0, 1])


def test_what_both_take_from_the_order_of_the_prompt_is_told_apart() -> None:
    generator = np.random.default_rng(3)
    falling = np.linspace(1, 0, 12)
    pairs = falling + 0.5 * generator.random((30, 2, 12))
    for one, other in pairs:
        assert partial_rank_correlation(one, other) == pytest.approx(residual_correlation(one, other))
    found = [
        Twin(SampleKey("task", doc, ""), {"ordered": tuple(one)}, {"ordered": tuple(other)})
        for doc, (one, other) in enumerate(pairs)
    ]
    test = compare_with_random_weights(found, ["ordered"], weights_seed=0)
    ordered, in_order, _ = test.methods
    assert ordered.correlation.mean > 0.8
    assert not ordered.passes
    assert ordered.apart_from_order is not None
    assert abs(ordered.apart_from_order.mean) < 4 / np.sqrt(30 * 10)
    assert in_order.apart_from_order is None
    assert "; apart from the order of the prompt" in next(randomization_lines(test))


def test_attributions_that_stay_do_so_apart_from_the_order() -> None:
    same, monotone, *_ = compare_with_random_weights(twins(30), METHODS, weights_seed=0).methods
    for found in (same, monotone):
        assert found.apart_from_order is not None
        assert found.apart_from_order.mean == pytest.approx(1)


def test_nothing_is_left_of_the_order_itself() -> None:
    assert partial_rank_correlation([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]) is None
    assert partial_rank_correlation([1.0, 1.0, 1.0], [1.0, 3.0, 2.0]) is None
    assert partial_rank_correlation([1.0, 3.0, 2.0], [1.0, 1.0, 1.0]) == 0
