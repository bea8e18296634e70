"""Two outcome distributions, and all that distances between them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from gilot_plugin.attribution.geometry import Geometry
from gilot_plugin.attribution.support import Support, joint_support
from gilot_plugin.attribution.transport import Solver, TransportProblem, TransportResult

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ground:
    """What is the same for all outcome distributions of a prompt.

    Attributes:
        geometry: Ground costs between outcomes.
        solver: Solves the transport problems.
        top_p: Cumulative mass of the support.
        top_k: Largest support of each distribution.
        gold: Outcomes that are right, where the task says so.
    """

    geometry: Geometry
    solver: Solver
    top_p: float
    top_k: int
    gold: tuple[int, ...] = ()


@dataclass(frozen=True)
class OutcomePair:
    """Outcome distributions with a unit present and absent, and what distances between them need.

    Attributes:
        log_present: log P(v | x), ``[outcomes]``, float64.
        log_absent: log P(v | x without the unit), ``[outcomes]``, float64.
        ground: What is the same for all pairs of a prompt.
        answer_drop: By how much the absence of the unit lowers the log-probability of the model's own answer,
            in nats; NaN where nobody asked for it.
    """

    log_present: FloatArray
    log_absent: FloatArray
    ground: Ground
    answer_drop: float = float("nan")

    @cached_property
    def present(self) -> FloatArray:
        """P(v | x), ``[outcomes]``."""
        return np.exp(self.log_present)

    @cached_property
    def absent(self) -> FloatArray:
        """P(v | x without the unit), ``[outcomes]``."""
        return np.exp(self.log_absent)

    @cached_property
    def support(self) -> Support:
        """The outcomes that take part in transport."""
        return joint_support(self.present, self.absent, self.ground.top_p, self.ground.top_k)

    @cached_property
    def costs(self) -> torch.Tensor:
        """Ground costs on the support, ``[n, n]``."""
        return self.ground.geometry.costs(self.support.outcomes, self.support.shared)

    @cached_property
    def problem(self) -> TransportProblem:
        """The transport problem on the support."""
        return TransportProblem(self.support.source, self.support.target, self.costs)

    @cached_property
    def transport(self) -> TransportResult:
        """Solution of the transport problem."""
        (result,) = self.ground.solver([self.problem])
        return result


def solve_together(pairs: Sequence[OutcomePair]) -> None:
    """Solve the transport problems of several pairs of one prompt in one call of the solver."""
    if pairs:
        results = pairs[0].ground.solver([pair.problem for pair in pairs])
        for pair, result in zip(pairs, results, strict=True):
            vars(pair)["transport"] = result
