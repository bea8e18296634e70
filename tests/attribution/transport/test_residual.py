"""Small costs on a device: as exact, as a share of themselves, as large ones."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch
from scipy.stats import spearmanr

from gilot_plugin.attribution.transport import TransportProblem, make_solver
from gilot_plugin.attribution.transport.auto import Auto
from gilot_plugin.attribution.transport.residual import Residual
from gilot_plugin.attribution.transport.tolerance import Tolerance
from tests.attribution.transport.problems import (
    allowed_gap,
    assert_certified,
    cosine,
    plan_of,
    random_problem,
    realistic_problem,
    true_cost,
)

# Without a device: ``auto`` takes the costs from wherever they are.
FIRST = Residual(Tolerance(1e-3), most_flows=10**9)
AUTO = Auto(FIRST, Tolerance(1e-3), small=0)


def nearly_equal(size, seed, shift):
    """Distributions of a given total variation; the embeddings stay, other tokens' mass goes elsewhere."""
    problem = realistic_problem(size, seed)
    target = (1.0 - shift) * problem.source + shift * np.roll(problem.source, seed + 1)
    return problem._replace(target=target / target.sum())


SMALL = [(50, 1e-2), (50, 1e-3), (200, 1e-2), (200, 1e-3), (450, 3e-3), (1000, 5e-3)]


@pytest.mark.parametrize(("size", "shift"), SMALL)
def test_small_costs_are_those_of_the_simplex(size, shift):
    batch = [nearly_equal(size, seed, shift) for seed in range(2 if size < 400 else 1)]
    for problem, result in zip(batch, AUTO(batch), strict=True):
        value = float(
            ot.emd2(problem.source, problem.target, problem.costs.double().numpy(), numItermax=10**7)
        )
        assert 1e-5 < value < 2e-2
        assert result.lower - 1e-12 <= value <= result.upper + 1e-12
        assert abs(result.cost - value) <= allowed_gap(value)
        assert result.gap <= allowed_gap(value)


def test_ranks_among_equal_total_variations():
    batch = [nearly_equal(60, seed, 1e-3) for seed in range(12)]
    variations = [np.abs(problem.source - problem.target).sum() / 2 for problem in batch]
    batch = [
        problem._replace(target=problem.source + (problem.target - problem.source) * (3e-4 / variation))
        for problem, variation in zip(batch, variations, strict=True)
    ]
    exact = make_solver("exact", 1e-3, torch.device("cpu"))(batch)
    correlation = spearmanr([r.cost for r in AUTO(batch)], [r.cost for r in exact]).statistic
    assert correlation > 0.99


def test_most_problems_like_a_language_models_are_not_left_to_the_simplex():
    batch = [nearly_equal(120, seed, shift) for seed in range(4) for shift in (1e-3, 1e-2, 0.1)]
    batch += [realistic_problem(120, seed) for seed in range(4)]
    left = [result.left_over for result in AUTO(batch)]
    assert sum(left) <= len(left) / 3


def line(source, target):
    """Four places on a line, each a step from the next, at the squares of the distances, over 9."""
    places = np.arange(4.0)
    costs = torch.from_numpy((places[:, None] - places) ** 2 / 9.0)
    return TransportProblem(np.array(source), np.array(target), costs)


def test_common_mass_moves_where_that_is_cheaper():
    # 0.1 goes from 0 to 2. Directly that costs 4/9 of it; by way of 1, where 0.5 wait, twice 1/9.
    problem = line([0.3, 0.5, 0.2, 0.0], [0.2, 0.5, 0.3, 0.0])
    (result,) = FIRST([problem])
    assert result.upper == pytest.approx(0.1 * 2 / 9, rel=1e-3)
    plan = plan_of(problem, result.flows)
    assert plan[0, 1] == pytest.approx(0.1, rel=1e-2)
    assert plan[1, 2] == pytest.approx(0.1, rel=1e-2)
    assert plan[1, 1] == pytest.approx(0.4, rel=1e-2)


def test_no_more_passes_than_there_is():
    # Only 0.04 wait at 1: the other 0.06 go directly.
    problem = line([0.4, 0.04, 0.56, 0.0], [0.3, 0.04, 0.66, 0.0])
    (result,) = FIRST([problem])
    assert_certified(problem, result)
    assert result.upper == pytest.approx(0.04 * 2 / 9 + 0.06 * 4 / 9, rel=1e-3)
    (certain,) = AUTO([problem])
    assert certain.gap <= allowed_gap(true_cost(problem))


def test_mass_that_differs_by_round_off_only():
    source = np.full(30, 1 / 30)
    target = source * (1.0 + 1e-15 * np.arange(-15, 15))
    costs = torch.from_numpy(cosine(np.random.default_rng(0).normal(size=(30, 5))))
    (result,) = FIRST([TransportProblem(source, target, costs)])
    assert 0.0 <= result.lower <= result.cost <= result.upper < 1e-12


def test_equal_and_unequal_distributions_in_one_batch():
    problem = random_problem(30, 3)
    same, other = FIRST([problem._replace(target=problem.source), problem])
    assert (same.lower, same.cost, same.upper) == (0.0, 0.0, 0.0)
    assert other.cost == pytest.approx(true_cost(problem), rel=1e-2)


def test_tolerance_is_a_share_of_the_cost_and_a_millionth_at_least():
    tolerance = Tolerance(1e-3)
    assert tolerance.allows(0.1, 0.1 + 0.9e-4)
    assert not tolerance.allows(0.1, 0.1 + 1.1e-4)
    assert tolerance.allows(0.0, 0.9e-6)
    assert not tolerance.allows(1e-4, 1e-4 + 1.1e-6)
    assert not tolerance.allows(float("nan"), 1.0)
