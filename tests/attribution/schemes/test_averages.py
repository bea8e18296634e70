"""Shapley and Banzhaf values against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from gilot_plugin.attribution.schemes.averages import make_banzhaf, make_shapley
from gilot_plugin.attribution.schemes.protocol import SchemeOptions
from gilot_plugin.errors import PromptError
from tests.attribution.schemes.tables import (
    TableGame,
    any_game,
    banzhaf,
    pair_index,
    play,
    second_order,
    shapley,
)

MAKERS = {"shapley": (make_shapley, shapley), "banzhaf": (make_banzhaf, banzhaf)}
EVERYBODY = frozenset(range(6))


@pytest.mark.parametrize("name", MAKERS)
def test_a_game_that_is_read_whole_has_the_values_of_the_definition(name):
    make, definition = MAKERS[name]
    worth = any_game(6, seed=1)
    game = TableGame(6, worth)
    found = play(make(SchemeOptions()), game)
    np.testing.assert_allclose(found.scores["v"], definition(worth, 6))
    np.testing.assert_allclose(found.scores["w"], 2 * definition(worth, 6))
    assert len(set(game.asked)) == len(game.asked) == found.coalitions == 2**6 - 1
    assert found.interactions
    for pair in found.interactions:
        factor = 2 if pair.measure == "w" else 1
        expected = pair_index(worth, 6, pair.units, of_shapley=name == "shapley")
        assert pair.value == pytest.approx(factor * expected)
    of_v = [abs(pair.value) for pair in found.interactions if pair.measure == "v"]
    assert of_v == sorted(of_v, reverse=True)


@pytest.mark.parametrize("coalitions", [12, 20, 40, None])
def test_shapley_values_add_up_whatever_is_read(coalitions):
    worth = any_game(9, seed=2)
    found = play(make_shapley(SchemeOptions(coalitions=coalitions)), TableGame(9, worth))
    assert sum(found.scores["v"]) == pytest.approx(worth(frozenset(range(9))))
    assert found.coalitions <= (coalitions or 136)


@pytest.mark.parametrize("name", MAKERS)
def test_games_of_second_order_take_no_more_pairs_of_complements_than_units(name):
    """The interactions of two players are the same for a coalition and for that of all others."""
    make, definition = MAKERS[name]
    worth, _ = second_order(9, seed=3)
    found = play(make(SchemeOptions(coalitions=60)), TableGame(9, worth))
    np.testing.assert_allclose(found.scores["v"], definition(worth, 9), atol=1e-5)
    for (lower, upper), exact in zip(found.intervals["v"], definition(worth, 9), strict=True):
        assert lower - 1e-5 <= exact <= upper + 1e-5


def test_pairs_of_a_game_that_was_read_in_part():
    def worth(absent):
        return 0.1 * len(absent) + 1.0 * ({1, 4} <= absent) - 0.6 * ({0, 3} <= absent)

    found = play(make_shapley(SchemeOptions(coalitions=200)), TableGame(9, worth))
    first, second = [pair for pair in found.interactions if pair.measure == "v"][:2]
    assert (first.units, second.units) == ((1, 4), (0, 3))
    assert first.value == pytest.approx(-1.0, abs=0.1)
    assert second.value == pytest.approx(0.6, abs=0.1)


def test_intervals_hold_what_more_coalitions_find():
    inside = total = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        weights = generator.normal(size=10)
        worth = lambda absent, weights=weights: float(np.tanh(weights[sorted(absent)].sum()))  # noqa: E731
        found = play(make_shapley(SchemeOptions(coalitions=60, seed=seed)), TableGame(10, worth))
        exact = play(make_shapley(SchemeOptions(coalitions=1023)), TableGame(10, worth)).scores["v"]
        inside += sum(
            low <= one <= high for (low, high), one in zip(found.intervals["v"], exact, strict=True)
        )
        total += 10
    assert inside >= 0.9 * total


def test_how_well_scores_predict_is_told_of_coalitions_that_were_drawn():
    additive = TableGame(12, lambda absent: float(sum(absent)))
    assert play(make_shapley(SchemeOptions(coalitions=60)), additive).lds["v"] > 0.99
    noise = TableGame(12, any_game(12, seed=7))
    found = play(make_banzhaf(SchemeOptions(coalitions=200)), noise)
    assert abs(found.lds["v"]) < 0.3
    assert found.held_out >= 100


def test_coalitions_without_a_value_are_left_out_and_counted():
    worth, _ = second_order(9, seed=4)
    broken = TableGame(
        9, lambda absent: float("nan") if {0, 1, 2} <= absent < frozenset(range(9)) else worth(absent)
    )
    found = play(make_shapley(SchemeOptions(coalitions=130)), broken)
    assert found.left_out > 0
    np.testing.assert_allclose(found.scores["v"], shapley(worth, 9), atol=1e-5)
    whole = TableGame(5, lambda absent: float("nan") if absent == {1, 2} else float(len(absent)))
    assert play(make_shapley(SchemeOptions()), whole).left_out == 1


@pytest.mark.parametrize("name", MAKERS)
def test_one_unit_and_a_game_that_is_constant(name):
    make, _ = MAKERS[name]
    assert play(make(SchemeOptions()), TableGame(1, lambda absent: 0.7 * len(absent))).scores["v"] == (0.7,)
    still = play(make(SchemeOptions(coalitions=30)), TableGame(9, lambda absent: 0.0))
    assert not any(still.scores["v"])
    assert not still.tied
    assert not still.interactions
    assert not still.lds


def test_a_budget_that_says_nothing_is_an_error():
    with pytest.raises(PromptError, match="1 coalitions were read, 0 of them without a finite value"):
        play(make_shapley(SchemeOptions(coalitions=1)), TableGame(9, lambda absent: 1.0))
    with pytest.raises(PromptError, match="nothing of 9 units"):
        play(make_banzhaf(SchemeOptions(token_budget=5)), TableGame(9, lambda absent: 1.0))


def test_a_token_budget_is_kept():
    worth, _ = second_order(12, seed=5)
    game = TableGame(12, worth, tokens=7)
    found = play(make_shapley(SchemeOptions(token_budget=350)), game)
    assert 40 <= found.coalitions <= 50
    assert sum(found.scores["v"]) == pytest.approx(worth(frozenset(range(12))))


def test_what_is_known_when_somebody_interrupts():
    worth, _ = second_order(20, seed=6)
    whole = play(make_shapley(SchemeOptions(coalitions=400)), TableGame(20, worth))
    part = play(make_shapley(SchemeOptions(coalitions=400)), TableGame(20, worth), interrupted_round=4)
    assert part.interrupted
    assert not whole.interrupted
    assert part.coalitions < whole.coalitions
    widths = [np.mean([high - low for low, high in one.intervals["v"]]) for one in (part, whole)]
    assert widths[0] >= widths[1]


def test_a_hundred_thousand_units_are_too_many_unless_coalitions_are_few():
    game = TableGame(100_000, lambda absent: float(7 in absent))
    with pytest.raises(PromptError, match="200000 coalitions of 100000 units are too many"):
        play(make_shapley(SchemeOptions()), game)
    found = play(make_shapley(SchemeOptions(coalitions=8)), game)
    assert sum(found.scores["v"]) == pytest.approx(1.0)
