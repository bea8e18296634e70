"""A transport problem, its solution, and what a solver is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class TransportProblem(NamedTuple):
    """Two distributions on the same outcomes, and what it costs to move mass between outcomes.

    Attributes:
        source: ``[n]``, sums to 1; entries may be 0.
        target: ``[n]``, sums to 1; entries may be 0.
        costs: ``[n, n]``, float32 or float64, on any device; never negative, 0 on the diagonal.
    """

    source: FloatArray
    target: FloatArray
    costs: torch.Tensor


class TransportResult(NamedTuple):
    """Solution of a transport problem.

    Attributes:
        cost: Value that the solver reports, ``<plan, costs>``.
        plan: Coupling, ``[n, n]``.
        lower: Certified lower bound of the optimal cost: value of feasible dual potentials.
        upper: Certified upper bound: cost of a feasible plan.
    """

    cost: float
    plan: FloatArray
    lower: float
    upper: float

    @property
    def gap(self) -> float:
        """Width of the certified interval, never negative."""
        return self.upper - self.lower


class Solver(Protocol):
    """Solves transport problems, each as if it were alone."""

    @property
    def batched(self) -> bool:
        """Whether many problems at once are faster than one at a time in each of several threads."""
        ...

    def __call__(self, problems: Sequence[TransportProblem]) -> list[TransportResult]:
        """One result a problem, in their order."""
        ...


def host_costs(problem: TransportProblem) -> FloatArray:
    """The costs as numpy sees them, ``[n, n]`` in C order."""
    # To the host before to float64, which some accelerators do not have.
    costs: FloatArray = problem.costs.detach().cpu().double().contiguous().numpy()
    return costs
