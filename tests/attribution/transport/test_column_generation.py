"""The optimum over few arcs is the optimum over all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from gilot_plugin.attribution.transport import TransportProblem, column_generation, exact
from gilot_plugin.attribution.transport.column_generation import generate_columns
from gilot_plugin.attribution.transport.problem import on_host
from tests.attribution.transport.problems import (
    MASSES,
    assert_certified,
    problems,
    random_problem,
    realistic_problem,
    solver_of,
    true_cost,
)

PIVOTS = 10**6


def generate(problem):
    return generate_columns(problem.source, problem.target, problem.costs.double().numpy(), PIVOTS)


def assert_optimal(problem, optimum):
    plan = np.zeros((len(problem.source), len(problem.source)))
    plan[optimum.plan.rows, optimum.plan.columns] = optimum.plan.masses
    np.testing.assert_allclose(plan.sum(axis=1), problem.source, atol=1e-12)
    np.testing.assert_allclose(plan.sum(axis=0), problem.target, atol=1e-12)
    assert plan.min() >= 0.0
    value = true_cost(problem)
    assert (plan * problem.costs.double().numpy()).sum() == pytest.approx(value, abs=1e-11)
    assert value - 1e-10 <= optimum.lower <= value + 1e-12


@pytest.fixture
def no_hubs(monkeypatch):
    """Every arc that is not on the diagonal or the path must be found by its reduced cost."""
    monkeypatch.setattr(column_generation, "_HUBS", 0)


@settings(max_examples=100, deadline=None)
@given(problems)
def test_small_problems(problem):
    optimum = generate(problem)
    # Costs of 0 leave nothing to tell a negative reduced cost by.
    if optimum is None:
        assert problem.costs.max() == 0.0
    else:
        assert_optimal(problem, optimum)


@pytest.mark.parametrize(
    ("name", "value"), [("_DROPPING_ROUNDS", 0), ("_KEPT", 0.0), ("_MOST_ARCS", 3), ("_BLOCK", 500)]
)
@pytest.mark.parametrize("uniform_costs", [False, True])
def test_what_is_kept_and_looked_at_does_not_change_the_optimum(monkeypatch, name, value, uniform_costs):
    monkeypatch.setattr(column_generation, name, value)
    monkeypatch.setattr(column_generation, "_ALL_ARCS", 2)
    monkeypatch.setattr(column_generation, "_MAX_ROUNDS", 1000)
    problem = random_problem(120, 3, "dense", uniform_costs=uniform_costs)
    optimum = generate(problem)
    assert optimum is not None
    assert_optimal(problem, optimum)


@pytest.mark.parametrize("masses", MASSES)
def test_single_precision_costs_are_taken_as_they_are(masses):
    problem = random_problem(90, 2, masses, dtype=torch.float32)
    single = generate_columns(problem.source, problem.target, problem.costs.numpy(), PIVOTS)
    double = generate(problem)
    assert single is not None
    assert double is not None
    assert_optimal(problem, single)
    assert all(np.array_equal(*parts) for parts in zip(single.plan, double.plan, strict=True))


@pytest.mark.usefixtures("no_hubs")
@pytest.mark.parametrize("uniform_costs", [False, True])
@pytest.mark.parametrize("masses", MASSES)
def test_arcs_are_found_without_hubs(masses, uniform_costs):
    problem = random_problem(70, 5, masses, uniform_costs=uniform_costs)
    optimum = generate(problem)
    assert optimum is not None
    assert_optimal(problem, optimum)


@pytest.mark.parametrize("most", [0, 40])
def test_realistic_problems(monkeypatch, most):
    monkeypatch.setattr(column_generation, "_ALL_ARCS", most)
    for seed in range(3):
        problem = realistic_problem(400, seed)
        optimum = generate(problem)
        assert optimum is not None
        assert_optimal(problem, optimum)


@pytest.mark.usefixtures("no_hubs")
def test_too_few_rounds_find_nothing_and_the_dense_simplex_takes_over(monkeypatch):
    monkeypatch.setattr(column_generation, "_MAX_ROUNDS", 1)
    problem = realistic_problem(320, seed=0)
    assert generate(problem) is None
    (result,) = solver_of("exact")([problem])
    assert_certified(problem, result)
    assert result.gap < 1e-10


@pytest.mark.filterwarnings("ignore:numItermax reached:UserWarning")
def test_too_few_pivots_find_nothing():
    problem = realistic_problem(320, seed=0)
    assert generate_columns(problem.source, problem.target, problem.costs.double().numpy(), 1) is None


def test_large_problems_are_solved_this_way(monkeypatch):
    sizes = []

    def spy(source, *others):
        sizes.append(len(source))
        return generate_columns(source, *others)

    monkeypatch.setattr(exact, "generate_columns", spy)
    batch = [realistic_problem(size, seed=1) for size in (199, 200)]
    for problem, result in zip(batch, solver_of("exact")(batch), strict=True):
        assert_certified(problem, result)
        assert result.gap < 1e-10
    assert sizes == [200]


@pytest.mark.parametrize("masses", MASSES)
def test_certified_in_large_problems_of_every_kind(masses):
    problem = random_problem(330, 7, masses)
    (result,) = solver_of("exact")([problem])
    assert_certified(problem, result)
    assert result.gap < 1e-10


def test_masses_that_sums_cannot_tell_apart():
    generator = np.random.default_rng(0)
    source, target = 10.0 ** generator.uniform(-40, 0, size=(2, 300))
    problem = random_problem(300, seed=9)
    problem = TransportProblem(source / source.sum(), target / target.sum(), problem.costs)
    (result,) = solver_of("exact")([problem])
    assert_certified(problem, result)
    assert result.gap < 1e-10


def test_a_gap_that_is_allowed_saves_rounds(monkeypatch):
    rounds = []

    def spy(*arguments, **settings):
        rounds.append(arguments)
        return emd(*arguments, **settings)

    emd = column_generation.ot.emd
    monkeypatch.setattr(column_generation.ot, "emd", spy)
    taken = {}
    for allowed in (0.0, 1e-6, 1e-2):
        rounds.clear()
        for seed in range(6):
            problem = realistic_problem(500, seed)
            (host,) = on_host([problem])
            optimum = generate_columns(*host, 10**7, allowed)
            cost = float(optimum.plan.masses @ host.costs[optimum.plan.rows, optimum.plan.columns])
            value = true_cost(problem)
            assert optimum.lower - 1e-9 <= value <= cost + 1e-9
            assert cost - optimum.lower <= allowed + 1e-12
        taken[allowed] = len(rounds)
    assert taken[1e-2] < taken[1e-6] <= taken[0.0]
