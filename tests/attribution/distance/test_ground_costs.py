"""Ground costs: exactly 0 between an outcome and itself, never above their largest."""

from __future__ import annotations

from typing import get_args

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.spatial.distance import cdist

from gilot_plugin.attribution.distance.ground_costs import (
    ANGULAR,
    COSINE,
    Directions,
    ground_cost,
    truncated,
)
from gilot_plugin.attribution.names import DEFAULT_COST_LIMIT, SOLVER_NAMES
from gilot_plugin.attribution.transport import TransportProblem, make_solver
from gilot_plugin.settings.config import GilotConfig

NAMES = get_args(GilotConfig.model_fields["ground_cost"].annotation)
GROUNDS = [ground_cost(name) for name in NAMES]

every_ground = pytest.mark.parametrize("ground", GROUNDS, ids=NAMES)


def between(vectors, ground=COSINE):
    return Directions.of(vectors, ground).costs


def normal(count, dim, seed=0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def test_cosine_costs_are_scipys():
    vectors = normal(30, 8)
    costs = between(vectors)
    np.testing.assert_allclose(costs, cdist(vectors.double(), vectors.double(), "cosine"), atol=1e-6)
    assert costs.dtype == torch.float32


@pytest.mark.parametrize(
    ("ground", "opposite", "orthogonal"), [(COSINE, 2, 1), (ANGULAR, 1, 0.5), (truncated(0.75), 0.75, 0.75)]
)
def test_extremes(ground, opposite, orthogonal):
    vectors = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-3.0, 0.0], [0.0, 0.5], [0.0, 0.0]])
    o, x = opposite, orthogonal
    expected = [[0, 0, o, x, x], [0, 0, o, x, x], [o, o, 0, x, x], [x, x, x, 0, x], [x, x, x, x, 0]]
    assert between(vectors, ground).tolist() == expected


@every_ground
def test_vectors_of_one_direction_are_no_distance_apart(ground):
    costs = between(normal(1, 64, seed=1) * torch.logspace(-6, 6, 50).unsqueeze(1), ground)
    assert costs.min() >= 0.0
    assert costs.max() < 1e-6
    assert costs.diag().tolist() == [0.0] * 50


@pytest.mark.parametrize("dim", [3, 64, 4096])
def test_angle_within_one_direction_is_exactly_0(dim):
    vectors = normal(20, dim, seed=2)
    costs = between(torch.cat((vectors, 3.7 * vectors)), ANGULAR)
    assert costs[:20, 20:].diag().tolist() == [0.0] * 20
    assert (costs[:20, :20] + torch.eye(20)).min() > 0.01


@every_ground
def test_half_precision_is_computed_in_single(ground):
    vectors = normal(10, 16, seed=2).bfloat16()
    np.testing.assert_allclose(between(vectors, ground), between(vectors.float(), ground), atol=1e-7)


@every_ground
@pytest.mark.parametrize("shared", [0, 1, 5, 8])
def test_costs_with_more_vectors_are_those_of_all(shared, ground):
    vectors = normal(8, 16, seed=3)
    costs = Directions.of(vectors[:shared], ground).costs_with(vectors[shared:])
    np.testing.assert_allclose(costs, between(vectors, ground), atol=1e-6)
    assert costs.diag().tolist() == [0.0] * 8


@every_ground
@pytest.mark.parametrize("spread", [1e-4, 0.1, 1.0])
def test_no_cost_is_above_the_largest(ground, spread):
    vectors = normal(1, 5, seed=4) + spread * normal(60, 5, seed=5)
    costs = between(torch.cat((vectors, -vectors)), ground)
    assert float(costs.min()) >= 0.0
    # With opposite vectors, every cost comes near its largest value.
    assert 0.999 * ground.largest < float(costs.max()) <= ground.largest


def breach(costs):
    """By how much the worst detour is shorter than the direct way."""
    return float((costs[:, None, :] - costs[:, :, None] - costs[None]).max())


def test_angle_obeys_the_triangle_inequality_and_the_cosine_does_not():
    vectors = torch.cat((normal(30, 3, seed=6), torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 0]])))
    assert breach(between(vectors, ANGULAR)) < 1e-6
    assert breach(between(vectors, COSINE)) > 0.1


def test_transport_by_angle_obeys_the_triangle_inequality():
    costs = between(normal(12, 4, seed=7), ANGULAR).double().numpy()
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b, c = rng.dirichlet(np.full(12, 0.3), size=3)
        assert ot.emd2(a, c, costs) <= ot.emd2(a, b, costs) + ot.emd2(b, c, costs) + 1e-6


def unbalanced(source, target, costs, penalty):
    """Least of <T, C> + penalty (|T 1 - source|_1 + |T' 1 - target|_1) over all T >= 0.

    As a linear program: what a marginal has too much or too little are variables of their own.
    """
    size = len(source)
    marginals = np.concatenate(
        (np.kron(np.eye(size), np.ones(size)), np.kron(np.ones(size), np.eye(size))), axis=0
    )
    slack = np.eye(2 * size)
    prices = np.concatenate((costs.ravel(), np.full(4 * size, penalty)))
    solved = linprog(
        prices,
        A_eq=np.concatenate((marginals, slack, -slack), axis=1),
        b_eq=np.concatenate((source, target)),
        method="highs",
    )
    assert solved.success
    return float(solved.fun)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(2, 7), st.floats(0.05, 1.9), st.sampled_from([0.1, 0.5, 3.0]))
def test_truncation_is_unbalanced_transport(seed, size, limit, concentration):
    rng = np.random.default_rng(seed)
    vectors = torch.from_numpy(rng.normal(size=(size, 3)))
    source, target = rng.dirichlet(np.full(size, concentration), size=2)
    problem = TransportProblem(source, target, between(vectors, truncated(limit)))
    (result,) = make_solver("exact", 1e-3, torch.device("cpu"))([problem])
    whole = between(vectors, COSINE).double().numpy()
    assert result.cost == pytest.approx(unbalanced(source, target, whole, limit / 2), abs=1e-6)


def test_truncation_is_partial_transport_of_the_best_mass():
    rng, limit = np.random.default_rng(3), 0.6
    vectors = torch.from_numpy(rng.normal(size=(8, 3)))
    source, target = rng.dirichlet(np.full(8, 0.5), size=2)
    whole = between(vectors, COSINE).double().numpy()
    masses = np.linspace(0.01, 1.0, 400)
    costs = [
        ot.partial.partial_wasserstein2(source, target, whole, m=mass) + limit * (1 - mass) for mass in masses
    ]
    balanced = ot.emd2(source, target, between(vectors, truncated(limit)).double().numpy())
    assert min(costs) == pytest.approx(balanced, abs=limit * (masses[1] - masses[0]))
    assert min(costs) >= balanced - 1e-6


def test_limit_of_truncation():
    assert ground_cost("truncated").largest == DEFAULT_COST_LIMIT
    vectors = normal(20, 4, seed=8)
    for limit in (0.1, 0.2, 0.3, 0.7):
        ground = ground_cost("truncated", limit)
        assert ground.largest == pytest.approx(limit)
        assert float(between(vectors, ground).max()) == ground.largest
    assert torch.equal(between(vectors, truncated(2.0)), between(vectors, COSINE))


@every_ground
@pytest.mark.parametrize("solver", [name for name in SOLVER_NAMES if name != "ipot"])
def test_every_solver_keeps_its_tolerance_with_every_cost(ground, solver):
    rng = np.random.default_rng(11)
    # Near duplicates, so that costs of 0 and, truncated, ties are many.
    vectors = torch.from_numpy(rng.normal(size=(20, 6))).repeat(3, 1)
    vectors += 0.01 * torch.from_numpy(rng.normal(size=(60, 6)))
    costs = between(vectors, ground)
    problems = [TransportProblem(*rng.dirichlet(np.full(60, 0.2), size=2), costs) for _ in range(3)]
    results = make_solver(solver, 1e-3, torch.device("cpu"))(problems)
    for problem, result in zip(problems, results, strict=True):
        expected = ot.emd2(problem.source, problem.target, costs.double().numpy())
        assert result.gap <= 1e-3 * costs.max()
        assert result.lower - 1e-9 <= expected <= result.upper + 1e-9
        assert result.cost == pytest.approx(expected, abs=1e-3 * float(costs.max()))


@pytest.mark.parametrize("name", ["cosine", "angular"])
def test_products_that_may_be_rounded_are_not_those_of_costs(monkeypatch, name):
    """TF32 and the like: who allows it for the model does not mean costs, and the setting stays."""
    vectors = torch.randn(60, 48, generator=torch.Generator().manual_seed(0))
    exact = Directions.of(vectors[:40], ground_cost(name)).costs_with(vectors[40:])
    seen = []
    multiply = torch.Tensor.__matmul__

    def spy(one, other):
        seen.append(one.dtype)
        return multiply(one, other)

    monkeypatch.setattr(torch.Tensor, "__matmul__", spy)
    torch.set_float32_matmul_precision("medium")
    try:
        found = Directions.of(vectors[:40], ground_cost(name)).costs_with(vectors[40:])
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen == [torch.float64] * 2
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=2e-6)
