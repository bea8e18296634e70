from __future__ import annotations

import math

import numpy as np
import ot
import pytest

from gilot_plugin.artifacts.models import RecordedTarget
from gilot_plugin.artifacts.typed import Record
from gilot_plugin.attribution.types import Choice, Hypothesis, TotalFlow
from gilot_plugin.comparison.measures import Measures, dissimilarities, measure_pair
from gilot_plugin.comparison.pairs import Pair
from gilot_plugin.comparison.pieces import common_pieces
from tests.comparison.simulated import make_record, two_choices

FOUR = (("A", "first"), (" b", "first"), (" c", "second"), (" d", "second"))


def measured(base: Record, tuned: Record) -> Measures:
    pieces = common_pieces([base, tuned], "ot")
    return measure_pair(Pair(base, tuned, pieces.paired(1), pieces.coverage), "ot")


def four(*scores: float) -> Record:
    return make_record(scores, words=FOUR)


def test_nothing_changed_measures_nothing() -> None:
    same = four(0.1, 0.4, 0.2, 0.3)
    found = measured(same, same)
    assert found.rank_correlation == pytest.approx(1)
    assert found.top_overlap == 1
    assert found.segment_shift == {"first": 0, "second": 0}
    assert found.flip is None
    assert found.flows == ()
    assert {name: value[0] for name, value in dissimilarities([found]).items()} == pytest.approx(
        dict.fromkeys(("moved", "distance", "outcome_change", "top_lost", "rank_change"), 0)
    )


def test_shares_and_ranks_by_hand() -> None:
    # Shares 0.1 0.2 0.3 0.4 and the reverse: 0.3 + 0.1 lie elsewhere.
    found = measured(four(1, 2, 3, 4), four(4, 3, 2, 1))
    assert found.rank_correlation == pytest.approx(-1)
    assert found.moved == pytest.approx(0.4)
    assert found.segment_shift == pytest.approx({"first": 0.4, "second": -0.4})


def test_the_distance_is_optimal_transport_along_the_prompt() -> None:
    generator = np.random.default_rng(3)
    base, tuned = generator.random((2, 10))
    records = make_record(base), make_record(tuned)
    places = np.array([piece.position for piece in common_pieces(records, "ot").spots])
    oracle = ot.emd2(base / base.sum(), tuned / tuned.sum(), np.abs(places[:, None] - places))
    assert measured(*records).distance == pytest.approx(oracle, abs=1e-12)


def test_negative_scores_count_by_their_size() -> None:
    assert measured(four(1, -2, 3, 4), four(-1, 2, 3, 4)).moved == 0


def test_the_top_is_a_set() -> None:
    base, tuned = np.arange(10), np.arange(10)
    tuned = np.where(tuned == 9, -1.5, tuned)  # the highest falls to the sixth place
    assert measured(make_record(base), make_record(tuned)).top_overlap == pytest.approx(4 / 5)


def test_scores_that_are_all_alike_have_no_order() -> None:
    assert measured(four(1, 1, 1, 1), four(1, 2, 3, 4)).rank_correlation is None


def test_a_model_that_attends_to_nothing_moves_no_distance() -> None:
    found = measured(four(0, 0, 0, 0), four(1, 2, 3, 4))
    assert found.distance == 0
    assert found.segment_shift == {}


def test_outcomes_are_compared_by_their_text() -> None:
    base = make_record([1] * 10, target=two_choices(0.7))
    tuned = make_record([1] * 10, target=two_choices(0.2))
    assert measured(base, tuned).outcome_change == pytest.approx(0.5)


def test_what_no_recorded_continuation_has_is_one_more_outcome() -> None:
    def said(**probabilities: float) -> Record:
        return make_record(
            [1] * 10,
            target=RecordedTarget(
                "generation",
                hypotheses=tuple(
                    Hypothesis((1,), text, math.log(probability), 1 / len(probabilities), True)
                    for text, probability in probabilities.items()
                ),
            ),
        )

    # yes loses 0.3, no gains 0.1, the rest gains 0.2.
    assert measured(said(yes=0.6, no=0.2), said(yes=0.3, no=0.3)).outcome_change == pytest.approx(0.3)


def test_an_impossible_choice_has_no_probability() -> None:
    impossible = Choice(" yes", (1,), -math.inf, -math.inf, 0.0)
    sure = Choice(" no", (2,), 0.0, 0.0, 1.0)
    tuned = make_record([1] * 10, target=RecordedTarget("choices", choices=(impossible, sure)))
    assert measured(make_record([1] * 10, target=two_choices(0.5)), tuned).outcome_change == 0.5


@pytest.mark.parametrize(
    ("base", "tuned", "flip"),
    [
        (True, False, "right to wrong"),
        (False, True, "wrong to right"),
        (True, True, None),
        (None, True, None),
    ],
)
def test_flips(base: bool | None, tuned: bool | None, flip: str | None) -> None:
    records = (make_record([1] * 10, correct=correct) for correct in (base, tuned))
    assert measured(*records).flip == flip


def test_flows_that_appeared_or_vanished() -> None:
    def flow(source: str, target: str, mass: float) -> TotalFlow:
        return TotalFlow(source, target, mass, 0.5, 3)

    base = make_record([1] * 10, flows=(flow("a", "b", 0.4), flow("b", "c", 0.2), flow("c", "d", 0.01)))
    tuned = make_record([1] * 10, flows=(flow("b", "c", 0.3), flow("x", "y", 0.7), flow("c", "d", 0.04)))
    found = measured(base, tuned).flows
    # b to c stayed much the same, and c to d is too small to name.
    assert [(change.source, change.target, change.base, change.tuned) for change in found] == [
        ("x", "y", 0.0, 0.7),
        ("a", "b", 0.4, 0.0),
    ]
