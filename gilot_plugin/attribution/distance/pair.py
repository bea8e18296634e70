"""Two outcome distributions, and all that distances between them share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from gilot_plugin.attribution.distance.geometry import Geometry
from gilot_plugin.attribution.distance.support import Support, joint_support
from gilot_plugin.attribution.transport import Solver, TransportProblem, TransportResult

FloatArray = NDArray[np.float64]
Value = TypeVar("Value")


class computed_once(Generic[Value]):  # noqa: N801, as functools.cached_property
    """``functools.cached_property`` without its lock.

    Before Python 3.12 that lock is one for all instances, so that threads would measure one pair at a time.
    """

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    def __get__(self, instance: object, owner: type) -> Value:
        """The value, computed at the first time; afterwards the instance's own attribute is found first."""
        value = vars(instance)[self._name] = self._compute(instance)
        return value


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

    @computed_once
    def present(self) -> FloatArray:
        """P(v | x), ``[outcomes]``."""
        return np.exp(self.log_present)

    @computed_once
    def absent(self) -> FloatArray:
        """P(v | x without the unit), ``[outcomes]``."""
        return np.exp(self.log_absent)

    @computed_once
    def support(self) -> Support:
        """The outcomes that take part in transport."""
        return joint_support(self.present, self.absent, self.ground.top_p, self.ground.top_k)

    @computed_once
    def costs(self) -> torch.Tensor:
        """Ground costs on the support, ``[n, n]``."""
        return self.ground.geometry.costs(self.support.outcomes, self.support.shared)

    @computed_once
    def problem(self) -> TransportProblem:
        """The transport problem on the support."""
        return TransportProblem(self.support.source, self.support.target, self.costs)

    @computed_once
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
