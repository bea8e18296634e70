"""The network simplex: the optimum, and bounds that say so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from gilot_plugin.attribution.transport import TransportProblem, exact
from tests.attribution.transport.problems import (
    assert_certified,
    problems,
    random_problem,
    realistic_problem,
    solver_of,
    true_cost,
)

EXACT = solver_of("exact")


def solve(problem):
    (result,) = EXACT([problem])
    return result


@settings(max_examples=100, deadline=None)
@given(problems)
def test_value_and_bounds_are_pots_value(problem):
    result = solve(problem)
    assert_certified(problem, result)
    assert result.cost == pytest.approx(true_cost(problem), abs=1e-12)
    assert result.gap < 1e-10


def test_large_problem():
    problem = realistic_problem(500, seed=0)
    result = solve(problem)
    assert_certified(problem, result)
    assert result.gap < 1e-10


def test_distributions_that_do_not_meet():
    # 0.7 at the first outcome, 0.3 at the second; all of it to the third or fourth.
    costs = torch.tensor([[0, 9, 1, 2], [9, 0, 3, 1], [1, 3, 0, 9], [2, 1, 9, 0]], dtype=torch.float64)
    result = solve(TransportProblem(np.array([0.7, 0.3, 0, 0]), np.array([0, 0, 0.5, 0.5]), costs))
    assert result.cost == pytest.approx(0.5 * 1 + 0.2 * 2 + 0.3 * 1)
    assert list(zip(*result.flows, strict=True)) == [
        (0, 2, pytest.approx(0.5), 1.0),
        (1, 3, pytest.approx(0.3), 1.0),
        (0, 3, pytest.approx(0.2), 2.0),
    ]


@pytest.mark.parametrize("size", [1, 2, 50])
def test_same_distribution_stays_where_it_is(size):
    problem = random_problem(size, seed=1)
    result = solve(problem._replace(target=problem.source.copy()))
    assert result.flows.masses.sum() == pytest.approx(0.0, abs=1e-15)


@pytest.mark.filterwarnings("ignore:numItermax reached:UserWarning")
@pytest.mark.parametrize("pivots", [1, 20, 200])
def test_simplex_that_stops_early_says_so_and_its_bounds_hold(monkeypatch, pivots):
    problem = random_problem(60, seed=3, masses="dense")
    monkeypatch.setattr(exact, "_MAX_PIVOTS", pivots)
    with pytest.warns(RuntimeWarning, match="did not finish"):
        result = solve(problem)
    assert_certified(problem, result)
    assert result.gap > 1e-6


def test_costs_are_left_alone():
    problem = random_problem(30, seed=4)
    before = problem.costs.clone()
    solve(problem)
    assert torch.equal(problem.costs, before)
