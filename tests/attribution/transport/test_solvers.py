"""What holds for every solver that certifies its own plan, whatever its algorithm."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gilot_plugin.attribution.names import SOLVER_NAMES
from gilot_plugin.attribution.transport import TransportProblem, entropic, make_solver
from gilot_plugin.attribution.transport.auto import Auto
from gilot_plugin.attribution.transport.residual import Residual
from gilot_plugin.attribution.transport.tolerance import Tolerance
from tests.attribution.transport.problems import (
    MASSES,
    allowed_gap,
    assert_certified,
    cost_range,
    problems,
    random_problem,
    realistic_problem,
    solver_of,
    swapped,
    true_cost,
)

TOLERANCE = 1e-3
#: Flows of a plan: all there are.
EVERY = 10**9
CPU = torch.device("cpu")

CERTIFIED = {
    "exact": solver_of("exact", TOLERANCE),
    "sinkhorn": solver_of("sinkhorn", TOLERANCE),
    "proximal": solver_of("proximal", TOLERANCE),
    "auto": solver_of("auto", TOLERANCE),
    "auto beside the CPU": solver_of("auto", TOLERANCE, "cuda"),
    "auto with nothing small": Auto(
        Residual(Tolerance(TOLERANCE), EVERY), Tolerance(TOLERANCE), most_flows=EVERY, small=0
    ),
}
#: What stops at a number of iterations, which small costs need more of than large ones.
LIMITED = (CERTIFIED["sinkhorn"], CERTIFIED["proximal"])


@pytest.fixture(autouse=True)
def few_iterations(monkeypatch):
    monkeypatch.setattr(entropic, "MAX_ITERATIONS", 120)


def widest_gap(solver, problem):
    if solver in LIMITED:
        return 0.05 * cost_range(problem)
    return allowed_gap(true_cost(problem)) + 1e-9


every_solver = pytest.mark.parametrize("solver", CERTIFIED.values(), ids=CERTIFIED.keys())
every_name = pytest.mark.parametrize("name", SOLVER_NAMES)


@every_solver
@settings(max_examples=10, deadline=None)
@given(batch=st.lists(problems, max_size=5))
def test_results_are_certified_couplings_within_the_tolerance(solver, batch):
    results = solver(batch)
    assert len(results) == len(batch)
    for problem, result in zip(batch, results, strict=True):
        assert_certified(problem, result)
        assert result.gap <= widest_gap(solver, problem)


@every_solver
@pytest.mark.parametrize("masses", MASSES)
def test_every_kind_of_distribution(solver, masses):
    batch = [random_problem(size, size, masses, uniform_costs=size % 2 == 1) for size in (2, 3, 30, 81)]
    for problem, result in zip(batch, solver(batch), strict=True):
        assert_certified(problem, result)
        assert result.gap <= widest_gap(solver, problem)


@every_solver
def test_company_does_not_matter(solver):
    batch = [random_problem(size, size, masses) for size, masses in zip((40, 3, 1, 25), MASSES, strict=False)]
    together = solver(batch)
    for problem, result in zip(batch, together, strict=True):
        (alone,) = solver([problem])
        assert result.cost == pytest.approx(alone.cost, abs=TOLERANCE * cost_range(problem))
        # Padding adds outcomes without mass: the iterations are the same, up to round-off that grows.
        assert result.cost == pytest.approx(alone.cost, abs=1e-6)


@every_solver
@settings(max_examples=6, deadline=None)
@given(problem=problems)
def test_the_way_back_costs_the_same(solver, problem):
    there, back = solver([problem, swapped(problem)])
    # The two intervals hold the same value.
    assert there.lower <= back.upper + 1e-9
    assert back.lower <= there.upper + 1e-9
    if solver not in LIMITED:
        assert there.cost == pytest.approx(back.cost, abs=TOLERANCE * cost_range(problem) + 1e-9)


@every_solver
@pytest.mark.parametrize("factor", [1e-2, 1e4])
def test_costs_of_any_unit(solver, factor):
    problem = random_problem(30, seed=8)
    scaled = problem._replace(costs=problem.costs * factor)
    (result,), (expected,) = solver([scaled]), solver([problem])
    assert result.cost == pytest.approx(expected.cost * factor, rel=1e-6)
    assert result.lower <= true_cost(scaled) + 1e-9 * factor
    assert result.upper >= true_cost(scaled) - 1e-9 * factor


@every_name
def test_no_problems(name):
    assert make_solver(name, TOLERANCE, CPU)([]) == []


@every_solver
def test_single_outcome(solver):
    (result,) = solver([TransportProblem(np.ones(1), np.ones(1), torch.zeros(1, 1))])
    assert (result.cost, result.lower, result.upper) == (0.0, 0.0, 0.0)
    assert len(result.flows.masses) == 0


@every_solver
@pytest.mark.parametrize("masses", ["dense", "with zeros", "point"])
def test_same_distribution_costs_nothing(solver, masses):
    problem = random_problem(20, 2, masses)
    (result,) = solver([problem._replace(target=problem.source.copy())])
    assert result.upper == pytest.approx(0.0, abs=1e-15)
    assert result.flows.masses.sum() == pytest.approx(0.0, abs=1e-15)


@every_solver
def test_outcomes_of_the_same_place_cost_nothing(solver):
    problem = random_problem(5, seed=2)._replace(costs=torch.zeros(5, 5))
    (result,) = solver([problem])
    assert_certified(problem, result)
    assert result.upper == 0.0


@every_solver
def test_masses_that_hardly_exist(solver):
    source, target = np.full(6, 1e-300), np.full(6, 1e-30)
    source[0], target[5] = 1.0, 1.0
    problem = random_problem(6, seed=3)._replace(source=source, target=target)
    (result,) = solver([problem])
    assert_certified(problem, result)
    assert result.cost == pytest.approx(float(problem.costs[0, 5]), rel=2e-3)


@every_solver
def test_realistic_problems_of_different_sizes(solver):
    batch = [realistic_problem(size, seed) for seed, size in enumerate((300, 300, 260, 320))]
    for problem, result in zip(batch, solver(batch), strict=True):
        assert_certified(problem, result)
        assert result.gap <= widest_gap(solver, problem)


@every_name
def test_only_what_gains_from_batches_asks_for_them(name):
    assert make_solver(name, TOLERANCE, CPU).batched == (name in ("sinkhorn", "proximal"))


def test_auto_takes_batches_beside_the_cpu():
    assert make_solver("auto", TOLERANCE, torch.device("cuda")).batched


def test_unknown_name():
    with pytest.raises(KeyError):
        make_solver("emd", TOLERANCE, CPU)


def test_every_name_that_settings_know_has_a_solver() -> None:
    for name in SOLVER_NAMES:
        assert make_solver(name, 1e-3, torch.device("cpu")) is not None
    with pytest.raises(KeyError):
        make_solver("another", 1e-3, torch.device("cpu"))
