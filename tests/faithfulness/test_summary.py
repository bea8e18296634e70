from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from gilot_plugin.artifacts.faithfulness import Measure
from gilot_plugin.faithfulness.curves import LOGPROB, SIMILARITY, Curves, SampleCurves
from gilot_plugin.faithfulness.summary import mean_seconds, summarize
from gilot_plugin.reports.faithfulness import claim_line, measure_lines
from tests.faithfulness.simulated import simulated

CONTROLS = ["random", "first_to_last", "last_to_first", "reversed"]


def one_measure(samples: int, effects: dict[str, float], seed: int = 0) -> Measure:
    drawn = simulated(np.random.default_rng(seed), samples, effects)
    (measure,) = summarize(drawn, list(effects), ["delete"])
    return measure


def test_numbers_are_those_of_the_samples() -> None:
    drawn = list(simulated(np.random.default_rng(3), 30, {"ot": 0.1, "kl": 0.0}))
    (measure,) = summarize(drawn, ["ot", "kl"], ["delete"])
    areas = {
        name: np.array([one.quantities["similarity"].area for one in drawn if one.ranking == name])
        for name in ("ot", "kl", "control:first_to_last")
    }
    ot, kl = measure.methods
    assert (ot.method, kl.method, measure.samples) == ("ot", "kl", 30)
    assert ot.area.mean == pytest.approx(areas["ot"].mean())
    standard_error = scipy.stats.sem(areas["ot"])
    assert ot.area.low == pytest.approx(ot.area.mean - 1.96 * standard_error, abs=0.5 * standard_error)
    first = ot.controls[1]
    assert first.control == "first_to_last"
    assert first.difference.mean == pytest.approx((areas["ot"] - areas["control:first_to_last"]).mean())
    (pair,) = measure.differences
    assert pair.difference.mean == pytest.approx((areas["ot"] - areas["kl"]).mean())
    # The permutation test of a mean has nearly the p-value of the paired t-test.
    expected = scipy.stats.ttest_1samp(areas["ot"] - areas["kl"], 0).pvalue
    assert expected <= pair.p_value * 1.3  # corrected for eight others


def test_a_planted_effect_is_found_and_a_loser_named() -> None:
    measure = one_measure(20, {"good": 0.3, "bad": -0.3})
    good, bad = measure.methods
    assert [control.control for control in good.controls] == CONTROLS
    assert good.is_finding
    assert not any(control.beaten for control in bad.controls)
    assert [pair.better for pair in measure.differences] == ["good"]
    assert list(measure_lines(measure, 9)) == [
        "good beats random, first_to_last, last_to_first, reversed and bad.",
        "bad is beaten by random, first_to_last, last_to_first, reversed and good.",
    ]
    assert claim_line(good) == "good ranks words better than every control."
    assert claim_line(bad).startswith("bad: no claim, because it is beaten by random, first_to_last,")


def test_a_moderate_effect_is_mostly_found() -> None:
    # d of the difference to the strictest control is about 1.4; a t-test of 12 pairs has a power of 0.99.
    found = [one_measure(12, {"ot": 0.2}, seed).methods[0].is_finding for seed in range(12)]
    assert sum(found) >= 9


def test_where_nothing_is_there_hardly_ever_something_is_found() -> None:
    """The chance that any of all comparisons is a finding is 5 %."""
    effects = {"ot": 0.0, "kl": 0.0}
    experiments, false_ones = 80, 0
    for seed in range(experiments):
        measure = one_measure(8, effects, seed)
        beaten = any(control.beaten for method in measure.methods for control in method.controls)
        false_ones += beaten or any(pair.better is not None for pair in measure.differences)
    # As many or more come up with a probability of 0.001 if the rate is 5 %.
    assert false_ones <= scipy.stats.binom.isf(0.001, experiments, 0.05)


def test_all_comparisons_are_one_family() -> None:
    drawn = list(simulated(np.random.default_rng(5), 15, {"ot": 0.12}))
    alone = summarize(drawn, ["ot"], ["delete"])[0].methods[0].controls[0].p_value
    noise = list(simulated(np.random.default_rng(6), 15, {"ot": 0.0}, absence="mask"))
    together = summarize([*drawn, *noise], ["ot"], ["delete", "mask"])
    assert [measure.absence for measure in together] == ["delete", "mask"]
    assert together[0].methods[0].controls[0].p_value > alone


def test_few_samples_make_no_claims() -> None:
    measure = one_measure(4, {"ot": 5.0, "kl": -5.0})
    for method in measure.methods:
        assert method.area.low is None
        assert not any(control.beaten for control in method.controls)
    assert [pair.better for pair in measure.differences] == [None]
    assert list(measure_lines(measure, 9)) == [
        "ot: no claim from 4 samples; with 9 comparisons, 9 are needed.",
        "kl: no claim from 4 samples; with 9 comparisons, 9 are needed.",
    ]


def test_what_is_not_told_apart_is_beaten_neither_way() -> None:
    measure = one_measure(20, {"ot": 0.3, "kl": 0.3})
    assert list(measure_lines(measure, 9)) == [
        f"{method} beats random, first_to_last, last_to_first and reversed; is not shown to differ from "
        f"{other}."
        for method, other in (("ot", "kl"), ("kl", "ot"))
    ]


def test_methods_are_compared_on_samples_that_both_have() -> None:
    drawn = [
        one
        for one in simulated(np.random.default_rng(0), 10, {"ot": 0.0, "kl": 0.0})
        if one.ranking != "kl" or one.key.doc_id < 7
    ]
    (measure,) = summarize(drawn, ["ot", "kl"], ["delete"])
    assert [method.samples for method in measure.methods] == [10, 7]
    assert [pair.samples for pair in measure.differences] == [7]


def test_quantities_and_samples_may_come_in_any_order() -> None:
    drawn = list(simulated(np.random.default_rng(0), 8, {"ot": 0.1}))
    flat = Curves((0.0,) * 11, (0.0,) * 11)
    both = [
        SampleCurves(one.key, one.absence, one.ranking, {LOGPROB.name: flat, **one.quantities})
        for one in drawn
    ]
    found = summarize(both, ["ot"], ["delete"])
    assert [measure.quantity for measure in found] == [SIMILARITY.name, LOGPROB.name]
    assert summarize(both[::-1], ["ot"], ["delete"]) == found
    # Nothing moves: no area, no claim, no division by 0.
    assert found[1].methods[0].area.mean == 0
    assert {control.p_value for control in found[1].methods[0].controls} == {1.0}


def test_seconds_are_means_of_the_samples_that_have_them() -> None:
    assert mean_seconds([{"ot": 1.0, "kl": 2.0}, {"ot": 3.0}]) == {"ot": 2.0, "kl": 2.0}
