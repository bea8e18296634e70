"""LIME on coalitions: the regression that captum and scikit-learn solve."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge

from gilot_plugin.attribution.schemes.lime import KERNEL_WIDTH, make_lime
from gilot_plugin.attribution.schemes.protocol import SchemeOptions
from tests.attribution.schemes.tables import TableGame, any_game, play


def test_it_is_the_weighted_ridge_regression_of_another_library():
    worth = any_game(12, seed=0)
    game = TableGame(12, worth)
    found = play(make_lime(SchemeOptions(coalitions=40, seed=3)), game)
    present = np.array([[unit not in absent for unit in range(12)] for absent in game.asked])
    assert len(present) == 40  # none of 4096 was drawn twice
    weights = np.exp(-((1 - np.sqrt(present.mean(axis=1))) ** 2) / (2 * KERNEL_WIDTH**2))
    values = [-worth(absent) for absent in game.asked]
    expected = Ridge(alpha=1.0).fit(present, values, weights).coef_
    np.testing.assert_allclose(found.scores["v"], expected)
    assert found.held_out == 40


def test_one_unit_is_worth_what_its_absence_is():
    assert play(make_lime(SchemeOptions()), TableGame(1, lambda absent: 0.3 * len(absent))).scores["v"] == (
        0.3,
    )


def test_what_is_drawn_again_counts_again_and_is_read_once():
    game = TableGame(3, lambda absent: float(1 in absent))
    found = play(make_lime(SchemeOptions(coalitions=400)), game)
    assert found.coalitions == len(set(game.asked)) == len(game.asked) == 7
    assert found.scores["v"][1] > 0.9
