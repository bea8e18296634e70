from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from gilot_plugin.faithfulness.controls import (
    control_rankings,
    is_control,
    mean_curves,
    sample_seed,
    with_controls,
)
from gilot_plugin.faithfulness.curves import Curves, SampleKey
from gilot_plugin.faithfulness.summary import summarize
from tests.faithfulness.simulated import curves_of_area, simulated

KEY = SampleKey("task", 3, "hash")


def test_each_control_ranks_every_unit_once() -> None:
    rankings = control_rankings(KEY, 7, seed=0, random_rankings=4)
    assert len(rankings) == 5
    assert all(sorted(ranking) == list(range(7)) for ranking in rankings.values())
    assert all(map(is_control, rankings))
    assert not is_control("random")


def test_random_rankings_hang_on_seed_and_sample_alone() -> None:
    same = control_rankings(KEY, 9, 0, 3)
    assert same == control_rankings(KEY, 9, 0, 3)
    assert len(set(same.values())) == 4
    assert same != control_rankings(KEY, 9, 1, 3)
    assert same != control_rankings(KEY._replace(doc_id=4), 9, 0, 3)
    # More of them do not change those that were drawn before, which may have been measured.
    assert same.items() <= control_rankings(KEY, 9, 0, 5).items()
    assert sample_seed(0, KEY) == sample_seed(0, SampleKey("task", 3, "hash"))


def test_every_order_is_as_likely() -> None:
    first = [control_rankings(KEY, 4, seed, 1)["control:random:1"][0] for seed in range(2000)]
    counts = np.bincount(first, minlength=4)
    # A chi-squared value of 16.3 or more has a probability of 0.001.
    assert ((counts - 500) ** 2 / 500).sum() < 16.3


def test_random_curves_are_averaged_and_the_order_of_the_prompt_mirrored() -> None:
    curves = {
        "ot": curves_of_area(0.3),
        "random": curves_of_area(0.7),
        "control:random:1": curves_of_area(0.1),
        "control:random:2": curves_of_area(-0.2),
        "control:first_to_last": curves_of_area(0.05),
    }
    found = with_controls(curves)
    assert found.methods == {"ot": curves["ot"], "random": curves["random"]}
    assert list(found.controls) == ["random", "first_to_last", "last_to_first"]
    assert found.controls["random"].area == pytest.approx(-0.05)
    assert found.controls["last_to_first"] == curves["control:first_to_last"].mirrored
    assert found.controls["last_to_first"].area == pytest.approx(-0.05)


def test_a_mean_of_curves_keeps_their_direction() -> None:
    rising = [Curves((0, 1, 2), (0, 0, 2), falls=False), Curves((0, 2, 4), (0, 1, 4), falls=False)]
    found = mean_curves(rising)
    assert found == Curves((0, 1.5, 3), (0, 0.5, 3), falls=False)
    assert found.area == pytest.approx(np.mean([one.area for one in rising]))


def test_random_rankings_have_no_area_within_their_interval() -> None:
    missed, experiments = 0, 60
    for seed in range(experiments):
        drawn = simulated(np.random.default_rng(seed), 25, {})
        (measure,) = summarize(drawn, [], ["delete"])
        area = measure.controls[0].area
        assert measure.controls[0].control == "random"
        assert area.low is not None
        assert area.high is not None
        missed += not area.low <= 0 <= area.high
    # A bootstrap over 25 samples misses the truth in up to 8 % of the cases.
    assert missed <= scipy.stats.binom.isf(0.001, experiments, 0.08)


def test_the_reversed_ranking_has_the_opposite_area() -> None:
    (measure,) = summarize(simulated(np.random.default_rng(1), 10, {"ot": 0.2}), ["ot"], ["delete"])
    (method,) = measure.methods
    reversed_one = method.controls[-1]
    assert reversed_one.control == "reversed"
    assert reversed_one.difference.mean == pytest.approx(2 * method.area.mean)
