"""The exact solver takes over where the first one leaves too wide a gap."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gilot_plugin.attribution.transport import Coupling, TransportResult, exact, make_solver
from gilot_plugin.attribution.transport.auto import Auto
from tests.attribution.transport.problems import cost_range, random_problem

EXACT = make_solver("exact", 1e-3, torch.device("cpu"))


class Sloppy:
    """Answers with the product of source and target, whose bounds are ``gaps`` cost ranges apart."""

    batched = True

    def __init__(self, gaps):
        self.gaps = gaps

    def __call__(self, problems):
        assert len(problems) == len(self.gaps)
        return [
            TransportResult(
                -1.0, Coupling.of(np.outer(problem.source, problem.target)), 0.0, gap * cost_range(problem)
            )
            for problem, gap in zip(problems, self.gaps, strict=True)
        ]


def test_wide_gaps_are_closed_and_narrow_ones_left():
    batch = [random_problem(size, seed=size) for size in (10, 20, 30, 40)]
    results = Auto(Sloppy([0.5, 0.9e-3, 1.1e-3, float("nan")]), tolerance=1e-3)(batch)
    assert [result.cost == -1.0 for result in results] == [False, True, False, False]
    for index in (0, 2, 3):
        (best,) = EXACT([batch[index]])
        assert (results[index].cost, results[index].lower) == (best.cost, best.lower)


@pytest.mark.filterwarnings("ignore:numItermax reached:UserWarning", "ignore:network simplex:RuntimeWarning")
def test_the_narrower_of_two_gaps_is_kept(monkeypatch):
    monkeypatch.setattr(exact, "_MAX_PIVOTS", 1)
    problem = random_problem(60, seed=3, masses="dense")
    (unfinished,) = EXACT([problem])
    share = unfinished.gap / cost_range(problem)
    (kept,) = Auto(Sloppy([0.9 * share]), tolerance=0.1 * share)([problem])
    assert kept.cost == -1.0
    (replaced,) = Auto(Sloppy([1.1 * share]), tolerance=0.1 * share)([problem])
    assert replaced.cost == unfinished.cost


def test_without_a_first_solver_all_is_exact():
    batch = [random_problem(size, seed=size) for size in (10, 20)]
    solver = Auto(None, tolerance=0.5)
    assert not solver.batched
    for result in solver(batch):
        assert result.gap < 1e-10
