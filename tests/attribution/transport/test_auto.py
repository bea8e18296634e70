"""The exact solver takes over where the first one leaves too wide a gap."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from gilot_plugin.attribution.transport import Coupling, Flows, TransportResult, exact, make_solver
from gilot_plugin.attribution.transport.auto import Auto
from gilot_plugin.attribution.transport.problem import on_host
from gilot_plugin.attribution.transport.tolerance import Tolerance
from tests.attribution.transport.problems import cost_range, random_problem, realistic_problem

EXACT = make_solver("exact", 1e-3, torch.device("cpu"))


def product_flows(problem):
    costs = problem.costs.double().numpy()
    return Flows.of(Coupling.of(np.outer(problem.source, problem.target)), costs, 10**9)


class Sloppy:
    """Answers with the product of source and target, and an interval of ``gaps`` below the cost 1."""

    batched = True

    def __init__(self, gaps):
        self.gaps = gaps

    def peak_bytes(self, outcomes):
        return 8 * outcomes**2

    def host_bytes(self, outcomes):
        return 0

    def __call__(self, problems):
        assert len(problems) == len(self.gaps)
        return [
            TransportResult(-1.0, product_flows(problem), 1.0 - gap, 1.0, cost_range(problem))
            for problem, gap in zip(problems, self.gaps, strict=True)
        ]


def test_wide_gaps_are_closed_and_narrow_ones_left():
    batch = [random_problem(size, seed=size) for size in (10, 20, 30, 40)]
    results = Auto(Sloppy([0.5, 0.9e-3, 1.1e-3, float("nan")]), tolerance=Tolerance(1e-3), small=0)(batch)
    assert [result.cost == -1.0 for result in results] == [False, True, False, False]
    assert [result.left_over for result in results] == [True, False, True, True]
    for index in (0, 2, 3):
        (best,) = EXACT([batch[index]])
        assert (results[index].cost, results[index].lower) == (best.cost, best.lower)


@pytest.mark.filterwarnings("ignore:numItermax reached:UserWarning", "ignore:network simplex:RuntimeWarning")
def test_the_narrower_of_two_gaps_is_kept(monkeypatch):
    monkeypatch.setattr(exact, "_MAX_PIVOTS", 1)
    problem = random_problem(60, seed=3, masses="dense")
    (unfinished,) = EXACT([problem])
    strict = Tolerance(0.0, 0.0)
    (kept,) = Auto(Sloppy([0.9 * unfinished.gap]), strict, small=0)([problem])
    assert kept.cost == -1.0
    (replaced,) = Auto(Sloppy([1.1 * unfinished.gap]), strict, small=0)([problem])
    assert replaced.cost == unfinished.cost


@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_left_is_solved_in_threads_with_the_same_result(monkeypatch, threads):
    seen = set()

    def spy(problem, **settings):
        seen.add(threading.current_thread())
        time.sleep(0.01)
        return exact_solve(problem, **settings)

    exact_solve = exact._solve
    monkeypatch.setattr(exact, "_solve", spy)
    batch = [realistic_problem(200 + size, seed=size) for size in range(6)]
    results = Auto(Sloppy([0.9, 1e-4, 0.9, 0.9, 0.9, 0.9]), Tolerance(1e-3), threads, small=0)(batch)
    assert len(seen) == threads
    assert results[1].cost == -1.0
    for index in (0, 2, 3, 4, 5):
        expected = exact_solve(on_host([batch[index]])[0], most_flows=16, allowed_gap=1e-6)
        assert (results[index].cost, results[index].lower) == (expected.cost, expected.lower)
        for ours, theirs in zip(results[index].flows, expected.flows, strict=True):
            assert np.array_equal(ours, theirs)


def test_without_a_first_solver_all_is_exact():
    batch = [random_problem(size, seed=size) for size in (10, 20)]
    solver = Auto(None, Tolerance(0.5))
    assert not solver.batched
    for result in solver(batch):
        assert result.gap < 1e-10


def test_small_problems_are_the_exact_solvers_and_large_ones_the_first_ones():
    sizes = (30, 300, 256, 257, 10)
    batch = [random_problem(size, seed=size) for size in sizes]
    results = Auto(Sloppy([1e-4, 1e-4]), Tolerance(1e-3))(batch)
    assert [result.cost == -1.0 for result in results] == [False, True, False, True, False]
    assert not any(result.left_over for result in results)
    for problem, result in zip(batch, results, strict=True):
        if result.cost != -1.0:
            (expected,) = EXACT([problem])
            assert (result.cost, result.lower) == (expected.cost, expected.lower)
