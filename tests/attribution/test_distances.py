"""The built-in distances, and the flows that come with the transport."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import rel_entr

from gilot_plugin.attribution.builtins import BUILTIN_METHODS
from gilot_plugin.attribution.distance.flows import Move, readable_flows
from gilot_plugin.attribution.distances import optimal_transport
from tests.attribution.outcome_pairs import score, solved_pair

BY_NAME = {method.name: method for method in BUILTIN_METHODS}
KL, L2 = BY_NAME["kl"], BY_NAME["l2"]

#: Distances between four outcomes on a line.
LINE = torch.arange(4.0).sub(torch.arange(4.0).unsqueeze(1)).abs().double()


class LineGeometry:
    """Four outcomes on a line, one apart."""

    largest_cost = 3.0

    def costs(self, outcomes, shared):
        return [LINE[chosen][:, chosen] for chosen in outcomes]

    def label(self, outcome):
        return "abcd"[outcome]


def transport(present, absent, **nucleus):
    return optimal_transport(solved_pair(present, absent, LineGeometry(), **nucleus))


def random_pair(seed):
    return np.random.default_rng(seed).dirichlet(np.full(4, 0.5), size=2)


@pytest.mark.parametrize("seed", range(5))
def test_kl_is_scipys_and_torchs(seed):
    present, absent = random_pair(seed)
    kl = score(KL, present, absent)
    assert kl == pytest.approx(rel_entr(present, absent).sum(), rel=1e-12)
    torchs = torch.nn.functional.kl_div(
        torch.tensor(absent).log(), torch.tensor(present), reduction="sum"
    ).item()
    assert kl == pytest.approx(torchs, rel=1e-12)
    assert kl > 0.0


@pytest.mark.parametrize("seed", range(5))
def test_l2_is_the_norm_of_the_difference(seed):
    present, absent = random_pair(seed)
    assert score(L2, present, absent) == pytest.approx(math.dist(present, absent), rel=1e-12)


def test_kl_of_what_became_impossible_is_large_but_finite():
    least = math.log(np.finfo(np.float32).tiny)
    assert score(KL, [0.5, 0.5, 0, 0], [0, 1, 0, 0]) == pytest.approx(
        0.5 * (math.log(0.5) - least) + 0.5 * math.log(0.5)
    )
    assert score(KL, [1, 0, 0, 0], [0, 0, 0, 1]) == pytest.approx(87.3365, abs=1e-4)


def test_kl_does_not_see_what_was_impossible_before():
    assert score(KL, [0, 1, 0, 0], [0.5, 0.5, 0, 0]) == pytest.approx(math.log(2))


def test_ot_on_a_line_is_the_area_between_cumulative_distributions():
    present, absent = random_pair(7)
    expected = np.abs(np.cumsum(present) - np.cumsum(absent))[:-1].sum()
    measured = transport(present, absent)
    assert measured.score == pytest.approx(expected, abs=1e-12)
    assert measured.gap < 1e-12
    assert measured.support_size == 4
    assert measured.outside_support == 0.0


def test_same_outcomes_score_0():
    for method in BUILTIN_METHODS[:-2]:
        assert score(method, [0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4]) == pytest.approx(0.0, abs=1e-15)
    assert transport([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4]).moves == ()


def test_moves():
    # From a, 0.3 must go to b and 0.2 to d; c stays.
    measured = transport([0.6, 0.0, 0.4, 0.0], [0.1, 0.3, 0.4, 0.2])
    total = sum(move.mass * move.cost for move in measured.moves)
    assert total == pytest.approx(measured.score) == pytest.approx(0.3 * 1 + 0.2 * 3)
    first, *_ = measured.moves
    assert (first.source, first.target) == (0, 1)
    (flow, *_) = readable_flows(measured.moves, LineGeometry())
    assert (flow.from_token, flow.to_token, flow.mass, flow.cost) == ("a", "b", first.mass, 1.0)
    assert first.mass == pytest.approx(0.3)
    assert first.cost == 1.0
    masses = [move.mass for move in measured.moves]
    assert masses == sorted(masses, reverse=True)


def test_flow_of_one_move():
    (move,) = transport([0.7, 0.3, 0, 0], [0.39, 0.3, 0, 0.31]).moves[:1]
    assert move.mass == pytest.approx(0.31)


def test_tiny_flows_are_left_out():
    assert transport([0.5, 0.5, 0, 0], [0.5005, 0.4995, 0, 0]).moves == ()


def test_no_more_flows_than_readers_take():
    moves = [Move(0, 1, 0.1 - place / 1000, 1.0) for place in range(30)]
    assert len(readable_flows(moves, LineGeometry())) == 8


def test_outside_support_is_reported():
    measured = transport([0.9, 0.1, 0, 0], [0.8, 0.0, 0.0, 0.2], top_k=1)
    assert measured.support_size == 1
    assert measured.score == 0.0
    assert measured.outside_support == pytest.approx(0.2)


def test_names():
    assert [method.name for method in BUILTIN_METHODS] == ["ot", "kl", "l2", "js", "tv", "logprob", "logodds"]
