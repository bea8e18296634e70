"""Sinkhorn and the proximal point method: the path they follow, their cap, their memory."""

from __future__ import annotations

from itertools import chain, pairwise

import numpy as np
import pytest
import torch

from gilot_plugin.attribution.transport import entropic, padding
from gilot_plugin.attribution.transport.padding import in_chunks, padded
from gilot_plugin.attribution.transport.proximal import Proximal
from gilot_plugin.attribution.transport.scaling import scale, unscaled
from gilot_plugin.attribution.transport.sinkhorn import Sinkhorn
from gilot_plugin.attribution.transport.tolerance import Tolerance
from tests.attribution.transport.problems import (
    allowed_gap,
    assert_certified,
    random_problem,
    realistic_problem,
    true_cost,
)

EXACT = Tolerance(0.0, 0.0)
#: Flows of a plan: all there are.
EVERY = 10**9

both = pytest.mark.parametrize("solver", [Sinkhorn, Proximal])


@pytest.fixture
def sharpnesses(monkeypatch):
    """Sharpness at each call of the iterations, of the first problem."""
    seen = []

    def spy(batch, start, relaxation, sweeps):
        seen.append(float(start.sharpness[0]))
        return scale(batch, start, relaxation, sweeps)

    monkeypatch.setattr(entropic, "scale", spy)
    return seen


@both
@pytest.mark.parametrize("seed", range(6))
def test_a_hundredth_of_the_cost_is_reached_long_before_the_cap(monkeypatch, solver, seed):
    monkeypatch.setattr(entropic, "MAX_ITERATIONS", 1500)
    problem = realistic_problem(300, seed)
    (result,) = solver(Tolerance(1e-2), EVERY)([problem])
    assert_certified(problem, result)
    assert result.gap <= allowed_gap(true_cost(problem), 1e-2)


@pytest.mark.parametrize(
    # The regularisation of proximal points vanishes too slowly for less than that.
    ("solver", "tolerances"),
    [(Sinkhorn, (1e-1, 1e-2, 1e-3)), (Proximal, (1e-1, 1e-2, 5e-3))],
)
def test_smaller_tolerances_come_closer(solver, tolerances):
    problem = realistic_problem(120, seed=1)
    value = true_cost(problem)
    for tolerance in tolerances:
        (result,) = solver(Tolerance(tolerance), EVERY)([problem])
        assert_certified(problem, result)
        assert result.gap <= allowed_gap(value, tolerance)
        # The middle of the interval is at most half of it away.
        assert abs(result.cost - value) <= allowed_gap(value, tolerance) / 2 + 1e-9


@both
@pytest.mark.parametrize("cap", [1, 40, 100])
def test_bounds_hold_at_the_cap(monkeypatch, solver, cap, sharpnesses):
    monkeypatch.setattr(entropic, "MAX_ITERATIONS", cap)
    batch = [realistic_problem(150, seed=2), random_problem(40, 3, "with zeros", uniform_costs=True)]
    for problem, result in zip(batch, solver(EXACT, EVERY)(batch), strict=True):
        assert_certified(problem, result)
        assert result.gap > 0.0
    assert cap / 21 <= len(sharpnesses) < cap / 21 + 1


@both
def test_sharpness_that_float64_cannot_resolve_is_not_asked_for(monkeypatch, solver, sharpnesses):
    monkeypatch.setattr(entropic, "_SHARPEST", 100.0)
    problem = random_problem(20, seed=6)
    (result,) = solver(EXACT, EVERY)([problem])
    assert_certified(problem, result)
    assert 100.0 <= max(sharpnesses) <= 200.0


def test_sinkhorn_halves_the_regularisation(sharpnesses):
    Sinkhorn(Tolerance(1e-4))([realistic_problem(60, seed=0)])
    ratios = {now / last for last, now in pairwise(sharpnesses)}
    assert ratios <= {1.0, 2.0}
    assert 2.0 in ratios


def test_proximal_adds_one_kernel_a_step(sharpnesses):
    Proximal(Tolerance(1e-3))([realistic_problem(60, seed=0)])
    steps = {now - last for last, now in pairwise(sharpnesses)}
    assert steps <= {0.0, sharpnesses[0]}
    assert sharpnesses[0] in steps


def test_scaled_plans_are_the_entropic_ones():
    problem = random_problem(15, 4, "with zeros")
    batch = padded([problem])
    start = unscaled(batch)._replace(sharpness=torch.tensor([20.0], dtype=torch.float64))
    scalings, plan = scale(batch, start, relaxation=1.0, sweeps=300)
    torch.testing.assert_close(plan.sum(2), batch.source)
    torch.testing.assert_close(plan.sum(1), batch.target)
    of_scalings = (
        batch.source[:, :, None]
        * batch.target[:, None, :]
        * (scalings.rows[:, :, None] + scalings.columns[:, None, :] - 20.0 * batch.costs).exp()
    )
    torch.testing.assert_close(plan, of_scalings)
    assert all(torch.isfinite(field).all() for field in scalings)


def test_proximal_plans_are_those_of_the_definition():
    # T_k minimises <T, C> + beta KL(T || T_(k-1)), textbook iterations without any stabilisation.
    problem = random_problem(15, 4, "dense")
    batch = padded([problem])
    source, target = problem.source, problem.target
    plan = np.outer(source, target)
    for _ in range(3):
        kernel = plan * np.exp(-32.0 * batch.costs[0].numpy())
        a, b = np.ones(15), np.ones(15)
        for _ in range(3000):
            a = source / (kernel @ b)
            b = target / (a @ kernel)
        plan = a[:, None] * kernel * b
    start = unscaled(batch)._replace(sharpness=torch.tensor([96.0], dtype=torch.float64))
    _, direct = scale(batch, start, relaxation=1.0, sweeps=3000)
    np.testing.assert_allclose(direct[0].numpy(), plan, atol=1e-9)


@both
def test_memory_bound_splits_the_work_and_changes_nothing(monkeypatch, solver):
    batch = [random_problem(size, seed=size) for size in (30, 5, 30, 17, 1, 24)]
    expected = solver(Tolerance(1e-2), EVERY)(batch)
    monkeypatch.setattr(padding, "WORKING_BYTES", 80_000)
    for problem, result, whole in zip(batch, solver(Tolerance(1e-2), EVERY)(batch), expected, strict=True):
        assert_certified(problem, result)
        assert result.cost == pytest.approx(whole.cost, abs=1e-8)


def test_chunks_keep_to_the_bound():
    batch = [random_problem(size, seed=0) for size in (30, 5, 30, 17, 1, 24, 30)]
    chunks = list(in_chunks(batch, working_bytes=80_000))
    assert sorted(chain.from_iterable(chunks)) == list(range(7))
    assert len(chunks) > 1
    for chunk in chunks:
        largest = max(len(batch[index].source) for index in chunk)
        assert len(chunk) == 1 or len(chunk) * largest**2 * 5 * 8 <= 80_000


def test_a_problem_beyond_the_bound_is_solved_alone():
    batch = [random_problem(30, seed=0) for _ in range(3)]
    assert list(in_chunks(batch, working_bytes=1)) == [[0], [1], [2]]


def test_devices_are_not_mixed():
    here, there = random_problem(3, seed=0), random_problem(3, seed=1)
    there = there._replace(costs=there.costs.to("meta"))
    chunks = list(in_chunks([here, there, here, there], working_bytes=2**30))
    assert sorted(map(sorted, chunks)) == [[0, 2], [1, 3]]


def test_a_device_takes_what_it_is_given_unless_half_were_padding():
    sizes = [30, 5, 30, 17, 1, 24, 30]
    batch = [random_problem(size, seed=0) for size in sizes]
    batch = [problem._replace(costs=problem.costs.to("meta")) for problem in batch]
    chunks = list(in_chunks(batch, working_bytes=1))
    assert [sorted(sizes[index] for index in chunk) for chunk in chunks] == [[1, 5], [17, 24, 30, 30, 30]]
