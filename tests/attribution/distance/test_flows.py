"""Moves of probability: part of the transport cost, largest first, added up without loss."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gilot_plugin.attribution.distance.flows import Move, mean_moves, moves_of, readable_flows, total_flows
from gilot_plugin.attribution.distances import optimal_transport
from gilot_plugin.attribution.transport import Coupling, Flows
from gilot_plugin.attribution.transport.problem import MOST_FLOWS
from tests.attribution.outcome_pairs import (
    MatrixGeometry,
    cosine_costs,
    distributions,
    solved_pair,
    wild_costs,
)

GEOMETRY = MatrixGeometry(np.zeros((30, 30)))

#: Moves between a few outcomes, each pair at most once in a step, with the cost that the pair has everywhere.
STEP = st.dictionaries(st.tuples(st.integers(0, 3), st.integers(4, 7)), st.floats(1e-3, 0.2), max_size=6).map(
    lambda masses: [Move(*pair, mass, pair[0] / 7 + pair[1]) for pair, mass in masses.items()]
)


def masses_of(moves):
    total: Counter[tuple[int, int]] = Counter()
    for move in moves:
        total[move.source, move.target] += move.mass
    return total


@settings(deadline=None)
@given(distributions(), st.sampled_from([cosine_costs, wild_costs]))
def test_moves_are_part_of_the_cost(drawn, make_costs):
    rng, (present, absent) = drawn
    costs = make_costs(rng, len(present))
    measured = optimal_transport(solved_pair(present, absent, MatrixGeometry(costs)))
    moves = measured.moves
    assert sum(move.mass * move.cost for move in moves) <= measured.score + 1e-9
    # What is not listed: at most as many entries as a vertex of the polytope has, each below 0.001, or where
    # as many are listed as solvers give, no larger than the last one.
    assert len(moves) <= MOST_FLOWS
    largest = moves[-1].mass if len(moves) == MOST_FLOWS else 1e-3
    assert measured.score - sum(move.mass * move.cost for move in moves) <= 2 * len(present) * largest * 2.0
    assert [move.mass for move in moves] == sorted((move.mass for move in moves), reverse=True)
    assert all(move.source != move.target and move.mass >= 1e-3 for move in moves)
    assert all(move.cost == pytest.approx(costs[move.source, move.target]) for move in moves)
    assert len({(move.source, move.target) for move in moves}) == len(moves)
    for outcome in range(len(present)):
        assert sum(move.mass for move in moves if move.source == outcome) <= present[outcome] + 1e-9
        assert sum(move.mass for move in moves if move.target == outcome) <= absent[outcome] + 1e-9


def test_rows_of_the_plan_are_sources():
    plan = np.array([[0.5, 0.2, 0.0], [0.0, 0.0, 0.3], [0.0005, 0.0, 0.0]])
    costs = np.array([[0.0, 0.1, 0.2], [0.3, 0.0, 0.4], [0.5, 0.6, 0.0]])
    moves = moves_of(Flows.of(Coupling.of(plan), costs, 16), np.array([7, 8, 9]))
    assert [(move.source, move.target, move.mass) for move in moves] == [(8, 9, 0.3), (7, 8, 0.2)]
    assert [move.cost for move in moves] == pytest.approx([0.4, 0.1])


@settings(deadline=None)
@given(st.lists(STEP, min_size=1, max_size=4))
def test_mean_moves(steps):
    expected = masses_of(move for step in steps for move in step)
    moves = mean_moves(steps)
    kept = {pair: mass / len(steps) for pair, mass in expected.items() if mass / len(steps) >= 1.0001e-3}
    found = masses_of(moves)
    assert len(moves) == len(found)
    assert kept.keys() <= found.keys()
    for move in moves:
        assert move.mass == pytest.approx(expected[move.source, move.target] / len(steps))
        assert move.mass >= 1e-3
        assert move.cost == move.source / 7 + move.target
    assert [move.mass for move in moves] == sorted((move.mass for move in moves), reverse=True)


def test_mean_moves_of_steps_where_nothing_moves():
    assert mean_moves([[], []]) == ()
    assert mean_moves([[Move(0, 1, 0.0015, 1.0)], []]) == ()


@settings(deadline=None)
@given(st.lists(STEP, max_size=6))
def test_total_flows(units):
    expected = masses_of(move for unit in units for move in unit)
    flows = total_flows(units, GEOMETRY)
    assert len(flows) == min(20, len(expected))
    assert [flow.mass for flow in flows] == sorted((flow.mass for flow in flows), reverse=True)
    for flow in flows:
        pair = int(flow.from_token), int(flow.to_token)
        assert flow.mass == pytest.approx(expected[pair])
        assert flow.units == sum(any(move[:2] == pair for move in unit) for unit in units)
        assert flow.cost == pair[0] / 7 + pair[1]
    if len(expected) <= 20:
        assert sum(flow.mass for flow in flows) == pytest.approx(sum(expected.values()))


def test_no_more_totals_than_readers_take():
    unit = [Move(0, target, 0.1 - target / 1000, 1.0) for target in range(1, 30)]
    flows = total_flows([unit, unit[:3]], GEOMETRY)
    assert len(flows) == 20
    assert [flow.to_token for flow in flows] == [str(target) for target in range(1, 21)]
    assert [flow.units for flow in flows[:4]] == [2, 2, 2, 1]


def test_flows_are_the_first_moves_with_names():
    moves = [Move(3, 5, 0.2, 0.7), Move(4, 5, 0.1, 0.6)]
    assert readable_flows(moves, GEOMETRY) == (("3", "5", 0.2, 0.7), ("4", "5", 0.1, 0.6))
