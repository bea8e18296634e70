"""Single units first, then coalitions: what stands in for what, when it stops, what it does with little."""

from __future__ import annotations

import numpy as np
import pytest

from gilot_plugin.attribution.schemes.auto import make_auto
from gilot_plugin.attribution.schemes.nested import cut
from gilot_plugin.attribution.schemes.protocol import Interrupted, SchemeOptions
from gilot_plugin.errors import PromptError
from tests.attribution.schemes.tables import TableGame, play, shapley, twins


def auto(game, interrupted_round=None, **options):
    return play(make_auto(SchemeOptions(**options)), game, interrupted_round)


def ranked(scores):
    return np.argsort(-np.asarray(scores), kind="stable").tolist()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("units", [10, 20, 37])
def test_what_is_said_twice_is_found_and_named(units, seed):
    found = auto(TableGame(units, twins), seed=seed)
    assert set(ranked(found.scores["v"])[:3]) == {2, 5, 7}
    (pair,) = [one for one in found.interactions if one.measure == "v"]
    assert (pair.units, pair.value) == ((2, 5), pytest.approx(-1.0))
    assert pair.interval == pytest.approx((-1.0, -1.0))
    assert sum(found.scores["v"]) == pytest.approx(1.4)


def test_what_works_only_together_is_named():
    found = auto(TableGame(20, lambda absent: float(bool(absent & {3, 8})) + 0.2 * (1 in absent)))
    pair = found.interactions[0]
    assert (pair.units, pair.value) == ((3, 8), pytest.approx(1.0))


def test_few_units_are_read_whole():
    game = TableGame(5, lambda absent: float(len(absent) > 2))
    found = auto(game)
    assert found.coalitions == 31
    np.testing.assert_allclose(found.scores["v"], shapley(game.worth, 5))


def test_it_stops_where_the_order_is_settled():
    clear = auto(TableGame(30, lambda absent: sum(2.0**-unit for unit in absent if unit < 4)), coalitions=300)
    assert clear.coalitions < 100
    assert ranked(clear.scores["v"])[:4] == [0, 1, 2, 3]
    assert not clear.tied
    assert clear.lds["v"] > 0.9
    assert clear.held_out >= 16


def test_units_whose_order_stays_open_are_tied():
    found = auto(TableGame(12, lambda absent: float(bool(absent))))
    assert found.tied == (tuple(range(12)),)
    for low, high in found.intervals["v"]:
        assert low - 1e-9 <= 1 / 12 <= high + 1e-9


def test_nothing_matters():
    found = auto(TableGame(12, lambda absent: 0.0))
    assert not any(found.scores["v"])
    assert not found.tied
    assert not found.interactions
    assert not found.lds


@pytest.mark.parametrize("coalitions", [4, 8, 16, 30, 37, 38, 45, 60])
def test_budgets_around_the_number_of_units(coalitions):
    """Of 37 units, one is worth 1 and one 0.2."""
    game = TableGame(37, lambda absent: float(20 in absent) + 0.2 * (3 in absent))
    found = auto(game, coalitions=coalitions)
    assert found.coalitions == len(set(game.asked)) <= coalitions
    assert sum(found.scores["v"]) == pytest.approx(1.2)
    # Units of a group share its value: the one is never behind what lies outside of its group.
    best = max(found.scores["v"])
    group = next((one for one in found.tied if 20 in one), (20,))
    assert coalitions < 16 or found.scores["v"][20] == pytest.approx(best) or 3 in group
    assert coalitions < 30 or ranked(found.scores["v"])[0] == 20


@pytest.mark.parametrize("options", [{"coalitions": 3}, {"token_budget": 5}, {"token_budget": 39}])
def test_a_budget_for_less_than_two_halves_is_an_error(options):
    with pytest.raises(PromptError, match="are needed to tell 2 parts of them apart"):
        auto(TableGame(37, twins), **options)


def test_a_token_budget_is_kept():
    game = TableGame(37, twins, tokens=10)
    found = auto(game, token_budget=800)
    assert found.coalitions <= 80
    assert set(ranked(found.scores["v"])[:3]) == {2, 5, 7}


def test_coalitions_without_a_value_are_left_out_and_counted():
    game = TableGame(12, lambda absent: float("nan") if {3, 4} <= absent else float(7 in absent))
    found = auto(game)
    assert found.left_out == sum({3, 4} <= one for one in game.asked) > 0
    assert ranked(found.scores["v"])[0] == 7
    assert found.scores["v"][7] == pytest.approx(1.0, abs=0.05)
    single = auto(TableGame(12, lambda absent: float("nan") if absent == {7} else float(7 in absent)))
    assert single.left_out == 1
    assert ranked(single.scores["v"])[0] == 7


def test_what_is_known_when_somebody_interrupts():
    game = TableGame(37, twins)
    with pytest.raises(Interrupted):
        auto(game, interrupted_round=1)
    early = auto(TableGame(37, twins), interrupted_round=2)
    assert early.interrupted
    assert early.coalitions == 37
    assert ranked(early.scores["v"])[0] == 7
    later = auto(TableGame(37, twins), interrupted_round=4)
    assert later.interrupted
    assert later.intervals["v"]


def test_a_hundred_thousand_units_are_looked_at_in_parts():
    game = TableGame(100_000, lambda absent: float(77_777 in absent) + 0.2 * (3 in absent))
    found = auto(game, coalitions=90)
    assert found.coalitions <= 90
    assert ranked(found.scores["v"])[0] == 77_777
    assert found.scores["v"][3] > 0
    assert sum(found.scores["v"]) == pytest.approx(1.2)


def test_groups_end_where_sentences_end():
    units = TableGame(20, twins, ends=(6, 12)).units
    assert cut(units, 0, 20, 3) == [(0, 7), (7, 13), (13, 20)]
    assert cut(units, 3, 5, 4) == [(3, 4), (4, 5)]


def test_scores_of_parts_add_up_to_what_they_are_cut_from():
    """A sentence is worth what its words are, also where they are worth more together."""

    def worth(absent):
        return len(absent & {8, 9, 10}) ** 2 + 0.5 * (30 in absent)

    found = auto(TableGame(60, worth, ends=(7, 11, 29, 45)), coalitions=50)
    assert sum(found.scores["v"]) == pytest.approx(9.5)
    assert sum(found.scores["v"][8:12]) == pytest.approx(9.0, abs=0.3)
