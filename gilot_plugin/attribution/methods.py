"""Attribution methods: numbers that say how much the absence of a unit matters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gilot_plugin.attribution.geometry import Geometry
from gilot_plugin.attribution.support import Support, joint_support
from gilot_plugin.attribution.transport import Solver, TransportResult
from gilot_plugin.attribution.types import Flow, Prompt, Unit
from gilot_plugin.backends.protocol import Backend

FloatArray = NDArray[np.float64]

#: Log-probability that stands for zero in KL: the smallest normal float32, so that KL stays finite.
_LOG_FLOOR = float(np.log(np.finfo(np.float32).tiny))

#: Flows kept a unit, and the least mass of one.
_MAX_FLOWS = 8
_MIN_FLOW_MASS = 1e-3


@dataclass(frozen=True)
class OutcomePair:
    """Outcome distributions with a unit present and absent, and what distances between them need.

    Attributes:
        log_present: log P(v | x), ``[outcomes]``, float64.
        log_absent: log P(v | x without the unit), ``[outcomes]``, float64.
        geometry: Ground costs between outcomes.
        solver: Solves the transport problem.
        top_p: Cumulative mass of the support.
        top_k: Largest support of each distribution.
    """

    log_present: FloatArray
    log_absent: FloatArray
    geometry: Geometry
    solver: Solver
    top_p: float
    top_k: int

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
        return joint_support(self.present, self.absent, self.top_p, self.top_k)

    @cached_property
    def costs(self) -> FloatArray:
        """Ground costs on the support, ``[n, n]``."""
        return self.geometry.costs(self.support.outcomes)

    @cached_property
    def transport(self) -> TransportResult:
        """Solution of the transport problem."""
        return self.solver(self.support.source, self.support.target, self.costs)


class Measurement(NamedTuple):
    """What a distance says of one unit.

    Attributes:
        score: The unit's attribution.
        flows: Largest transports, if the distance knows any.
        gap: Width of the certified interval around the score, 0 where it is exact.
        outside_support: Mass that the score does not cover.
        support_size: Outcomes that it covers.
    """

    score: float
    flows: tuple[Flow, ...] = ()
    gap: float = 0.0
    outside_support: float = 0.0
    support_size: int = 0


@dataclass(frozen=True, slots=True)
class Distance:
    """A method that compares the outcome distributions with and without a unit.

    Attributes:
        name: Value in the setting ``methods`` and key in the scores.
        summary: One line for ``gilot methods``.
        measure: The distance; called in a worker thread.
    """

    name: str
    summary: str
    measure: Callable[[OutcomePair], Measurement]


@dataclass(frozen=True, slots=True)
class PromptMethod:
    """A method that looks at the model and the prompt itself, e.g. one of another library.

    Attributes:
        name: Value in the setting ``methods`` and key in the scores.
        summary: One line for ``gilot methods``.
        score: Gives one number a unit; called in the main thread after the distances.
    """

    name: str
    summary: str
    score: Callable[[MethodContext], Sequence[float]]


AttributionMethod = Distance | PromptMethod


@dataclass(frozen=True, slots=True)
class MethodContext:
    """What a :class:`PromptMethod` is given.

    Attributes:
        backend: The model.
        prompt: The prompt as fed.
        units: The units to score.
        seed: For methods that draw random numbers.
    """

    backend: Backend
    prompt: Prompt
    units: tuple[Unit, ...]
    seed: int = field(default=0)


def optimal_transport(pair: OutcomePair) -> Measurement:
    """GiLOT (Li et al. 2024, equation 7): cost of the cheapest coupling, in units of the ground cost."""
    result, support = pair.transport, pair.support
    return Measurement(
        result.cost, _largest_flows(pair), max(0.0, result.gap), support.outside, len(support.outcomes)
    )


def kl_divergence(pair: OutcomePair) -> Measurement:
    """KL(P(.|x) || P(.|x without the unit)) over all outcomes, in nats.

    Probabilities below 1.2e-38 count as that, so that an outcome which became impossible costs at most 87
    nats.
    """
    ratio = np.maximum(pair.log_present, _LOG_FLOOR) - np.maximum(pair.log_absent, _LOG_FLOOR)
    return Measurement(float(pair.present @ ratio))


def l2_norm(pair: OutcomePair) -> Measurement:
    """Euclidean norm of the difference over all outcomes."""
    return Measurement(float(np.linalg.norm(pair.present - pair.absent)))


def _largest_flows(pair: OutcomePair) -> tuple[Flow, ...]:
    """Largest transports off the diagonal, largest first; ties in the order of the outcomes."""
    plan = pair.transport.plan
    sources, targets = np.nonzero(plan >= _MIN_FLOW_MASS)
    moved = sources != targets
    sources, targets = sources[moved], targets[moved]
    order = np.argsort(-plan[sources, targets], kind="stable")[:_MAX_FLOWS]
    outcomes, label = pair.support.outcomes, pair.geometry.label
    return tuple(
        Flow(
            label(int(outcomes[source])),
            label(int(outcomes[target])),
            float(plan[source, target]),
            float(pair.costs[source, target]),
        )
        for source, target in zip(sources[order], targets[order], strict=True)
    )


BUILTIN_METHODS: tuple[AttributionMethod, ...] = (
    Distance(
        "ot",
        "GiLOT: optimal transport between the outcome distributions, embeddings as ground cost",
        optimal_transport,
    ),
    Distance(
        "kl", "KL divergence of the outcome distribution without the unit from the one with it", kl_divergence
    ),
    Distance("l2", "Euclidean distance between the outcome distributions", l2_norm),
)
