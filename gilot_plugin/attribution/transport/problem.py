"""A transport problem, its solution, and what a solver is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from gilot_plugin.backends.scoring.transfer import HostCopy

FloatArray = NDArray[np.float64]
Indices = NDArray[np.intp]
#: Costs on the host, float32 or float64.
Costs = NDArray[np.floating[Any]]


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


class Coupling(NamedTuple):
    """A transport plan: what it moves from where to where, each pair at most once.

    Attributes:
        rows: Where it comes from, ``[k]``.
        columns: Where it goes to, ``[k]``.
        masses: How much, ``[k]``.
    """

    rows: Indices
    columns: Indices
    masses: FloatArray

    @classmethod
    def of(cls, plan: FloatArray) -> Coupling:
        """What a plan ``[n, n]`` moves."""
        rows, columns = np.nonzero(plan)
        return cls(rows, columns, plan[rows, columns])


#: Flows of a problem that solvers give: a plan, which is as large as the costs, stays where it is made.
MOST_FLOWS = 16


class Flows(NamedTuple):
    """The largest entries of a plan off its diagonal, largest first.

    Attributes:
        rows: Where mass comes from, ``[k]``.
        columns: Where it goes to, ``[k]``.
        masses: How much, ``[k]``, above 0.
        costs: Ground cost of each, ``[k]``.
    """

    rows: Indices
    columns: Indices
    masses: FloatArray
    costs: FloatArray

    @classmethod
    def of(cls, plan: Coupling, costs: Costs, most: int) -> Flows:
        """Those of a coupling; equal ones in the order of their places."""
        moves = plan.rows != plan.columns
        rows, columns, masses = (part[moves] for part in plan)
        chosen = np.lexsort((columns, rows, -masses))[:most]
        rows, columns = rows[chosen], columns[chosen]
        return cls(rows, columns, masses[chosen], costs[rows, columns].astype(np.float64))


class TransportResult(NamedTuple):
    """Solution of a transport problem.

    Attributes:
        cost: Value that the solver reports, between ``lower`` and ``upper`` if the solver certifies it.
        flows: The largest entries off the diagonal of its plan.
        lower: Certified lower bound of the optimal cost: value of feasible dual potentials.
        upper: Certified upper bound: cost of a feasible plan, that of the flows if it is feasible.
        largest_cost: The problem's largest cost.
        left_over: Whether a first solver left it to the exact one.
    """

    cost: float
    flows: Flows
    lower: float
    upper: float
    largest_cost: float
    left_over: bool = False

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

    def peak_bytes(self, outcomes: int) -> int:
        """Upper bound of the memory that solving takes for each problem of a call, its result included.

        The problem itself, given by the caller, is not counted. A call with several problems takes at most
        the sum over them.

        Args:
            outcomes: Outcomes of the problem (of the largest one in the call, where sizes differ).
        """
        ...

    def host_bytes(self, outcomes: int) -> int:
        """What of that is on the host, wherever the costs are."""
        ...

    def __call__(self, problems: Sequence[TransportProblem]) -> list[TransportResult]:
        """One result a problem, in their order."""
        ...


class HostProblem(NamedTuple):
    """A transport problem on the host.

    Attributes:
        source: ``[n]``.
        target: ``[n]``.
        costs: ``[n, n]`` in C order, as precise as they are.
    """

    source: FloatArray
    target: FloatArray
    costs: Costs


def on_host(problems: Sequence[TransportProblem]) -> list[HostProblem]:
    """The problems on the host; costs of a device come in one transfer."""
    costs = HostCopy([problem.costs.detach().contiguous() for problem in problems]).arrays()
    return [
        HostProblem(problem.source, problem.target, of_problem)
        for problem, of_problem in zip(problems, costs, strict=True)
    ]
