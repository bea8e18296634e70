"""What holds of the distances whatever the distributions, and what the certified interval promises."""

from __future__ import annotations

import math

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr

from gilot_plugin.attribution.builtins import BUILTIN_METHODS, margin_drop
from gilot_plugin.attribution.distances import mean_measurement, optimal_transport
from gilot_plugin.attribution.methods import Interval, Measurement
from tests.attribution.outcome_pairs import (
    LARGEST,
    MatrixGeometry,
    cosine_costs,
    distributions,
    metric_costs,
    score,
    solved_pair,
    wild_costs,
)

OT, KL, L2, JS, TV, *_ = BUILTIN_METHODS


def transport(present, absent, costs, **nucleus):
    return optimal_transport(solved_pair(present, absent, MatrixGeometry(costs), **nucleus))


@settings(deadline=None)
@given(distributions())
def test_ranges_and_inequalities(drawn):
    _, (present, absent) = drawn
    kl, l2, js, tv = (score(method, present, absent) for method in (KL, L2, JS, TV))
    middle = (present + absent) / 2
    assert 0.0 <= js <= math.log(2) + 1e-12
    assert js == pytest.approx((rel_entr(present, middle) + rel_entr(absent, middle)).sum() / 2, abs=1e-12)
    assert 0.0 <= tv <= 1.0 + 1e-12
    assert tv == pytest.approx(np.maximum(present - absent, 0.0).sum(), abs=1e-12)
    assert kl >= 2.0 * tv**2 - 1e-12  # Pinsker's inequality; so KL is never negative
    assert tv**2 / 2 - 1e-12 <= js <= tv * math.log(2) + 1e-12  # Lin 1991
    assert l2 <= math.sqrt(2.0) * tv + 1e-12
    # With the same cost between all outcomes, transport is total variation.
    assert score(OT, present, absent) == pytest.approx(tv, abs=1e-9)


@settings(deadline=None)
@given(distributions(), st.sampled_from([cosine_costs, metric_costs]))
def test_symmetric_ones_are_symmetric(drawn, make_costs):
    rng, (present, absent) = drawn
    costs = make_costs(rng, len(present))
    for method in (JS, TV, L2, OT):
        there, back = score(method, present, absent, costs), score(method, absent, present, costs)
        assert there == pytest.approx(back, abs=1e-9)


@settings(deadline=None)
@given(distributions(count=1), st.sampled_from([cosine_costs, metric_costs, wild_costs]))
def test_a_distribution_is_at_0_from_itself(drawn, make_costs):
    rng, (present,) = drawn
    costs = make_costs(rng, len(present))
    for method in (JS, TV, L2, KL, OT, margin_drop((0,))):
        assert score(method, present, present.copy(), costs) == pytest.approx(0.0, abs=1e-12)
    assert transport(present, present.copy(), costs).moves == ()


@settings(deadline=None, max_examples=200)
@given(
    distributions(),
    st.sampled_from([cosine_costs, metric_costs, wild_costs]),
    st.sampled_from([0.3, 0.7, 0.95, 1.0]),
    st.integers(1, 6),
)
def test_interval_holds_the_cost_over_all_outcomes(drawn, make_costs, top_p, top_k):
    rng, (present, absent) = drawn
    costs = make_costs(rng, len(present))
    measured = transport(present, absent, costs, top_p=top_p, top_k=top_k)
    over_all = float(ot.emd2(present, absent, costs))
    lower, upper = measured.interval
    assert lower - 1e-9 <= over_all <= upper + 1e-9
    assert lower - 1e-9 <= measured.score <= upper + 1e-9
    assert 0.0 <= lower <= upper + 1e-9
    assert upper - lower <= 3.0 * LARGEST * measured.outside_support + measured.gap + 1e-9


@settings(deadline=None)
@given(distributions(), st.sampled_from([cosine_costs, metric_costs, wild_costs]))
def test_interval_of_all_outcomes_is_a_point(drawn, make_costs):
    rng, (present, absent) = drawn
    measured = transport(present, absent, make_costs(rng, len(present)))
    assert measured.interval.upper - measured.interval.lower == pytest.approx(0.0, abs=1e-9)
    assert measured.interval.upper == pytest.approx(measured.score, abs=1e-9)
    assert measured.outside_support == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("kept", [1, 2])
def test_interval_is_reached(kept):
    """Distributions whose mass outside the support moves as far as it can, and not at all."""
    costs = LARGEST * (1.0 - np.eye(4))
    present, absent = np.array([0.6, 0.4, 0.0, 0.0]), np.array([0.6, 0.0, 0.0, 0.4])
    measured = transport(present, absent, costs, top_k=kept)
    assert measured.score == pytest.approx(0.0 if kept == 1 else 0.4 * LARGEST, abs=1e-12)
    assert measured.interval.upper == pytest.approx(0.4 * LARGEST, abs=1e-12)
    assert measured.interval.lower == pytest.approx(0.0 if kept == 1 else 0.4 * LARGEST, abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 2.0), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_mean_measurement(scores, random):
    widths = [random.random() for _ in scores]
    steps = [
        Measurement(score, (), width, Interval(score - width, score + 2 * width), width / 3, place)
        for place, (score, width) in enumerate(zip(scores, widths, strict=True))
    ]
    mean, mean_width = np.mean(scores), np.mean(widths)
    measured = mean_measurement(steps)
    assert measured.score == pytest.approx(mean)
    assert measured.gap == pytest.approx(mean_width)
    assert measured.interval == pytest.approx((mean - mean_width, mean + 2 * mean_width))
    assert measured.outside_support == max(widths) / 3
    assert measured.support_size == len(scores) - 1
    assert measured.positions == tuple(scores)
    assert mean_measurement([Measurement(score) for score in scores]).interval is None


@settings(deadline=None)
@given(distributions(), st.integers(0, 3))
def test_margin_is_the_difference_of_the_best_ones(drawn, gold):
    _, (present, absent) = drawn
    gold %= len(present)
    present, absent = present + 1e-9, absent + 1e-9

    def margin(values):
        return np.log(values[gold]) - np.log(np.delete(values, gold).max())

    drop = score(margin_drop((gold,)), present, absent)
    assert drop == pytest.approx(margin(present) - margin(absent), abs=1e-9)


def test_margin_of_several_right_choices_is_that_of_the_best():
    present, absent = np.array([0.1, 0.4, 0.3, 0.2]), np.array([0.5, 0.2, 0.2, 0.1])
    drop = score(margin_drop((0, 1)), present, absent)
    assert drop == pytest.approx(math.log(0.4 / 0.3) - math.log(0.5 / 0.2))


def test_margin_of_impossible_choices_is_finite():
    present, absent = np.array([0.5, 0.5, 0.0]), np.array([1.0, 0.0, 0.0])
    assert score(margin_drop((0,)), present, absent) == pytest.approx(-1e6)
    assert score(margin_drop((2,)), present, absent) == pytest.approx(math.log(2.0))
