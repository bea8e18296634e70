"""The published solver against the textbook."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.attribution.transport.problems import cost_range, random_problem, solver_of

CPU = torch.device("cpu")
EXACT, IPOT = solver_of("exact"), solver_of("ipot")


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
    problem = random_problem(size, seed=size)
    plan, cost = textbook_ipot(problem.source, problem.target, problem.costs.numpy())
    (result,) = IPOT([problem])
    assert result.cost == pytest.approx(cost, abs=1e-9)
    np.fill_diagonal(plan, 0.0)
    moved = np.zeros_like(plan)
    moved[result.flows.rows, result.flows.columns] = result.flows.masses
    np.testing.assert_allclose(moved, plan, atol=1e-9)


def test_bounds_are_those_of_the_exact_value():
    problem = random_problem(40, seed=4)
    (result,), (best,) = IPOT([problem]), EXACT([problem])
    assert (result.lower, result.upper) == (best.lower, best.upper)
    # Its own value is of vectors to which 1e-4 an entry was added.
    assert result.cost == pytest.approx(best.cost, abs=40 * 1e-4 * cost_range(problem))


def test_large_costs_stay_finite():
    problem = random_problem(20, seed=5)
    (result,) = IPOT([problem._replace(costs=2.0 * problem.costs / problem.costs.max())])
    assert math.isfinite(result.cost)
    assert np.isfinite(result.flows.masses).all()
