"""Transport problems of several kinds, and what they truly cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import ot
import pytest
import torch
from hypothesis import strategies as st

from gilot_plugin.attribution.transport import (
    FloatArray,
    Flows,
    Solver,
    TransportProblem,
    TransportResult,
    make_solver,
)

Generator = np.random.Generator
Masses = tuple[np.ndarray, np.ndarray]


def cosine(vectors: np.ndarray) -> np.ndarray:
    """1 - cosine, ``[n, n]``, symmetric to the last bit."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    costs = np.maximum(1.0 - unit @ unit.T, 0.0)
    np.fill_diagonal(costs, 0.0)
    return (costs + costs.T) / 2


def _dense(size: int, generator: Generator) -> Masses:
    return tuple(generator.dirichlet(np.ones(size), size=2))


def _peaked(size: int, generator: Generator) -> Masses:
    return tuple(generator.dirichlet(np.full(size, 0.1), size=2))


def _near(size: int, generator: Generator) -> Masses:
    source = generator.dirichlet(np.ones(size))
    target = source * np.exp(1e-3 * generator.normal(size=size))
    return source, target / target.sum()


def _with_zeros(size: int, generator: Generator) -> Masses:
    masses = generator.dirichlet(np.ones(size), size=2) * (generator.random((2, size)) < 0.5)
    masses[:, generator.integers(size)] += 0.1
    return tuple(masses / masses.sum(axis=1, keepdims=True))


def _disjoint(size: int, generator: Generator) -> Masses:
    if size == 1:
        return np.ones(1), np.ones(1)
    source, target = np.zeros((2, size))
    half = size // 2
    source[:half], target[half:] = (
        generator.dirichlet(np.ones(half)),
        generator.dirichlet(np.ones(size - half)),
    )
    return source, target


def _point(size: int, generator: Generator) -> Masses:
    source = np.zeros(size)
    source[generator.integers(size)] = 1.0
    return source, generator.dirichlet(np.ones(size))


MASSES: Mapping[str, Callable[[int, Generator], Masses]] = {
    "dense": _dense,
    "peaked": _peaked,
    "near": _near,
    "with zeros": _with_zeros,
    "disjoint": _disjoint,
    "point": _point,
}


def random_problem(
    size: int,
    seed: int,
    masses: str = "peaked",
    *,
    uniform_costs: bool = False,
    dtype: torch.dtype = torch.float64,
) -> TransportProblem:
    """A problem whose costs are cosines of random vectors, or uniform: asymmetric, far from any metric."""
    generator = np.random.default_rng(seed)
    source, target = MASSES[masses](size, generator)
    if uniform_costs:
        costs = 3.0 * generator.random((size, size))
        np.fill_diagonal(costs, 0.0)
    else:
        costs = cosine(generator.normal(size=(size, 6)))
    return TransportProblem(source, target, torch.tensor(costs, dtype=dtype))


def realistic_problem(size: int, seed: int) -> TransportProblem:
    """Like a language model's: anisotropic embeddings, softmax of logits that partly follow from them."""
    generator = np.random.default_rng(seed)
    spectrum = (1.0 + np.arange(64)) ** -0.5
    vectors = (generator.normal(size=(size, 64)) + 0.7 * generator.normal(size=64)) * spectrum
    logits = 2.0 * generator.normal(size=size) + 3.0 * vectors[:, :8] @ generator.normal(size=8)
    moved = logits + 1.2 * generator.normal(size=size)
    source, target = (np.exp(x - x.max()) / np.exp(x - x.max()).sum() for x in (logits, moved))
    return TransportProblem(source, target, torch.tensor(cosine(vectors), dtype=torch.float32))


#: Problems of 1 to 40 outcomes.
problems = st.builds(
    random_problem,
    size=st.integers(1, 40),
    seed=st.integers(0, 10_000),
    masses=st.sampled_from(sorted(MASSES)),
    uniform_costs=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)


def true_cost(problem: TransportProblem) -> float:
    """POT's value in float64."""
    return float(ot.emd2(problem.source, problem.target, problem.costs.double().numpy(), numItermax=10**7))


def cost_range(problem: TransportProblem) -> float:
    """The largest cost."""
    return float(problem.costs.max())


def allowed_gap(value: float, share: float = 1e-3) -> float:
    """The widest gap that a cost may have: a share of it, or 1e-6 where that is more."""
    return max(share * value, 1e-6)


def swapped(problem: TransportProblem) -> TransportProblem:
    """The way back."""
    return TransportProblem(problem.target, problem.source, problem.costs.T.contiguous())


def solver_of(name: str, tolerance: float = 1e-3, device: str = "cpu", threads: int = 1) -> Solver:
    """A solver whose results have every flow, so that the plan is known."""
    return make_solver(name, tolerance, torch.device(device), threads, most_flows=10**9)


def plan_of(problem: TransportProblem, flows: Flows) -> FloatArray:
    """The plan with these flows; what does not move stays."""
    plan = np.zeros((len(problem.source), len(problem.source)))
    plan[flows.rows, flows.columns] = flows.masses
    np.fill_diagonal(plan, problem.source - plan.sum(axis=1))
    return plan


def assert_certified(problem: TransportProblem, result: TransportResult) -> None:
    """The plan is a coupling of the problem, it costs what is said, and the bounds hold."""
    plan, costs = plan_of(problem, result.flows), problem.costs.double().numpy()
    assert result.flows.masses.dtype == np.float64
    assert np.all(result.flows.masses > 0.0)
    assert np.all(np.diff(result.flows.masses) <= 0.0)
    assert np.all(result.flows.rows != result.flows.columns)
    np.testing.assert_allclose(result.flows.costs, costs[result.flows.rows, result.flows.columns], rtol=1e-9)
    assert plan.min() >= -1e-9
    np.testing.assert_allclose(plan.sum(axis=0), problem.target, atol=1e-9)
    assert abs(result.upper - (plan * costs).sum()) <= 1e-9
    value = true_cost(problem)
    assert result.lower - 1e-9 <= value <= result.upper + 1e-9
    assert 0.0 <= result.lower <= result.upper <= cost_range(problem) + 1e-9
    assert result.lower <= result.cost <= result.upper
    assert result.gap >= 0.0
    assert result.largest_cost == pytest.approx(cost_range(problem))
