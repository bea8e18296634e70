"""The solvers against POT and against the textbook."""

from __future__ import annotations

import math

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gilot_plugin.attribution import transport
from gilot_plugin.attribution.transport import SOLVERS, exact, ipot


def random_problem(size, seed, *, sparse=False):
    """Two peaked distributions and the cosine costs of random vectors."""
    generator = np.random.default_rng(seed)
    source, target = generator.dirichlet(np.full(size, 0.2), size=2)
    if sparse:
        source[: size // 2] = 0.0
        source /= source.sum()
    vectors = generator.normal(size=(size, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    costs = np.maximum(1.0 - vectors @ vectors.T, 0.0)
    np.fill_diagonal(costs, 0.0)
    return source, target, costs


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 17, 60, 200])
def test_exact_is_pots_value(size, sparse):
    source, target, costs = random_problem(size, seed=size, sparse=sparse and size > 2)
    result = exact(source, target, costs)
    assert result.cost == pytest.approx(ot.emd2(source, target, costs), abs=1e-12)
    np.testing.assert_allclose(result.plan.sum(axis=1), source, atol=1e-12)
    np.testing.assert_allclose(result.plan.sum(axis=0), target, atol=1e-12)
    assert result.lower <= result.cost <= result.upper
    assert result.gap < 1e-10


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 25), st.integers(0, 10_000), st.booleans())
def test_exact_is_certified(size, seed, sparse):
    source, target, costs = random_problem(size, seed, sparse=sparse and size > 2)
    result = exact(source, target, costs)
    assert 0.0 <= result.cost <= costs.max()
    assert result.lower <= ot.emd2(source, target, costs) + 1e-12
    assert result.upper >= ot.emd2(source, target, costs) - 1e-12
    assert result.gap < 1e-10


def test_distributions_that_do_not_meet():
    # 0.7 at the first outcome, 0.3 at the second; all of it to the third or fourth.
    costs = np.array([[0, 9, 1, 2], [9, 0, 3, 1], [1, 3, 0, 9], [2, 1, 9, 0]], dtype=np.float64)
    result = exact(np.array([0.7, 0.3, 0, 0]), np.array([0, 0, 0.5, 0.5]), costs)
    assert result.cost == pytest.approx(0.5 * 1 + 0.2 * 2 + 0.3 * 1)
    assert result.plan[0, 3] == pytest.approx(0.2)


@pytest.mark.parametrize("size", [1, 2, 50])
def test_same_distribution_costs_nothing(size):
    source, _, costs = random_problem(size, seed=1)
    result = exact(source, source.copy(), costs)
    assert result.cost == pytest.approx(0.0, abs=1e-15)
    np.testing.assert_allclose(result.plan, np.diag(source), atol=1e-15)


def test_outcomes_of_the_same_place_cost_nothing():
    source, target, _ = random_problem(5, seed=2)
    assert exact(source, target, np.zeros((5, 5))).cost == 0.0


@pytest.mark.filterwarnings("ignore:numItermax reached:UserWarning")
@pytest.mark.parametrize("pivots", [1, 20, 200])
def test_exact_that_stops_early_says_so_and_its_bounds_hold(monkeypatch, pivots):
    source, target, costs = random_problem(60, seed=3)
    value = ot.emd2(source, target, costs)
    monkeypatch.setattr(transport, "_MAX_PIVOTS", pivots)
    with pytest.warns(RuntimeWarning, match="did not finish"):
        result = exact(source, target, costs)
    np.testing.assert_allclose(result.plan.sum(axis=1), source, atol=1e-12)
    np.testing.assert_allclose(result.plan.sum(axis=0), target, atol=1e-12)
    assert 0.0 <= result.lower <= value <= result.cost == result.upper
    assert result.gap > 1e-6


def textbook_ipot(source, target, costs):
    """Xie et al. 2020, algorithm 1, with the published code's constants."""
    size = len(source)
    mu, nu = source + 1e-4, target + 1e-4
    plan = np.ones((size, size)) / size**2
    kernel = np.exp(-costs / 2.0)
    b = np.ones(size) / size
    for _ in range(1000):
        q = kernel * plan
        a = mu / (q @ b)
        b = nu / (q.T @ a)
        plan = a[:, None] * q * b[None, :]
    return plan, float((plan * costs).sum())


@pytest.mark.parametrize("size", [1, 2, 5, 40, 120])
def test_ipot_is_the_textbooks(size):
    source, target, costs = random_problem(size, seed=size)
    plan, cost = textbook_ipot(source, target, costs)
    result = ipot(source, target, costs)
    assert result.cost == pytest.approx(cost, abs=1e-9)
    np.testing.assert_allclose(result.plan, plan, atol=1e-9)


def test_ipot_bounds_are_those_of_the_exact_value():
    source, target, costs = random_problem(40, seed=4)
    result, best = ipot(source, target, costs), exact(source, target, costs)
    assert (result.lower, result.upper) == (best.lower, best.upper)
    # Its own value is of vectors to which 1e-4 an entry was added.
    assert result.cost == pytest.approx(best.cost, abs=40 * 1e-4 * costs.max())


def test_ipot_with_large_costs_stays_finite():
    source, target, costs = random_problem(20, seed=5)
    result = ipot(source, target, 2.0 * costs / costs.max())
    assert math.isfinite(result.cost)
    assert np.isfinite(result.plan).all()


def test_auto_is_exact():
    assert SOLVERS["auto"] is SOLVERS["exact"] is exact
