"""Bounds hold for any plan and any potentials."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gilot_plugin.attribution.transport.certificate import feasible, rounded
from tests.attribution.transport.problems import problems, random_problem, true_cost

SCALES = st.sampled_from([0.0, 1e-12, 1.0, 1e6, 1e12])


def tensors(problem):
    return (
        torch.from_numpy(problem.source)[None],
        torch.from_numpy(problem.target)[None],
        problem.costs.double()[None],
    )


@settings(max_examples=80, deadline=None)
@given(problem=problems, seed=st.integers(0, 1000), scale=SCALES, offset=SCALES)
def test_any_potentials_bound_from_below(problem, seed, scale, offset):
    generator = np.random.default_rng(seed)
    potentials = torch.from_numpy(offset + scale * generator.normal(size=(1, len(problem.source))))
    assert float(feasible(potentials, *tensors(problem)).value) <= true_cost(problem) + 1e-9


@settings(max_examples=80, deadline=None)
@given(problem=problems, seed=st.integers(0, 1000), scale=SCALES)
def test_any_plan_is_rounded_to_a_coupling(problem, seed, scale):
    size = len(problem.source)
    source, target, costs = tensors(problem)
    plan, moved = rounded(
        torch.from_numpy(scale * np.random.default_rng(seed).random((1, size, size))), source, target
    )
    assert plan.min() >= 0.0
    torch.testing.assert_close(plan.sum(2), source, rtol=0, atol=1e-12)
    torch.testing.assert_close(plan.sum(1), target, rtol=0, atol=1e-12)
    assert float((plan * costs).sum()) >= true_cost(problem) - 1e-9
    assert -1e-12 <= float(moved) <= 1.0 + 1e-12


def test_a_coupling_is_left_alone():
    problem = random_problem(12, seed=0)
    source, target, _ = tensors(problem)
    product = source[:, :, None] * target[:, None, :]
    plan, moved = rounded(product, source, target)
    torch.testing.assert_close(plan, product, rtol=0, atol=1e-15)
    assert float(moved) < 1e-15


def test_what_is_missing_is_moved():
    source = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64)
    target = torch.tensor([[0.125, 0.5, 0.375]], dtype=torch.float64)
    plan, moved = rounded(torch.diag_embed(torch.minimum(source, target)), source, target)
    assert float(moved) == 0.375
    assert plan[0].tolist() == [[0.125, 0.0, 0.375], [0.0, 0.5, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_plans_that_are_not_finite(value):
    problem = random_problem(4, seed=1)
    source, target, _ = tensors(problem)
    plan = torch.full((1, 4, 4), 0.01, dtype=torch.float64)
    plan[0, 1, 2] = value
    coupling, _ = rounded(plan, source, target)
    torch.testing.assert_close(coupling.sum(2), source)
    torch.testing.assert_close(coupling.sum(1), target)


def test_potentials_that_are_not_finite_prove_nothing():
    problem = random_problem(4, seed=1)
    for value in (float("nan"), float("inf"), -float("inf")):
        bound = float(feasible(torch.full((1, 4), value, dtype=torch.float64), *tensors(problem)).value)
        assert not bound > -np.inf


def test_potentials_of_outcomes_without_mass_do_not_matter():
    problem = random_problem(20, 5, "with zeros")
    potentials = torch.randn(1, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = feasible(potentials, *tensors(problem)).value
    changed = torch.where(torch.from_numpy(problem.source) == 0.0, 100.0, potentials)
    torch.testing.assert_close(feasible(changed, *tensors(problem)).value, expected)
