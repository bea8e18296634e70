"""What it costs to move probability between outcomes, from the vectors that stand for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from gilot_plugin.attribution.names import DEFAULT_COST_LIMIT
from gilot_plugin.backends.scorer import EmbeddingTable

#: Vectors of token ids, ``[n, dim]``, float32.
Vectors = Callable[[torch.Tensor], torch.Tensor]

#: Angles, in half-turns, that are taken for 0: float32 leaves cosines of the same direction up to 1e-6 below
#: 1, of which arccos makes 5e-4.
_SAME_DIRECTION = 5e-4


@dataclass(frozen=True, slots=True)
class GroundCost:
    """A ground cost: a function of the cosine between the vectors that a model has for outcomes.

    Costs are never negative and, exactly, 0 between an outcome and itself, which solvers and bounds rely on.
    The triangle inequality may fail, and does for ``1 - cos``.

    Attributes:
        vectors_of: What a model's vectors are. Raises ``UnsupportedModelError`` where it has none.
        of_cosines: Costs from cosines, in place; cosines may exceed 1 by round-off.
        largest: No cost is above it.
    """

    vectors_of: Callable[[EmbeddingTable], Vectors]
    of_cosines: Callable[[torch.Tensor], torch.Tensor]
    largest: float


class Directions(NamedTuple):
    """Vectors without their lengths, and the costs between them.

    Attributes:
        units: ``[n, dim]``, float32.
        costs: ``[n, n]``, float32, exactly 0 on the diagonal, never negative.
        ground: Where the costs come from.
    """

    units: torch.Tensor
    costs: torch.Tensor
    ground: GroundCost

    @classmethod
    def of(cls, vectors: torch.Tensor, ground: GroundCost) -> Directions:
        """Those of the vectors, ``[n, dim]``."""
        units = torch.nn.functional.normalize(vectors.float(), dim=1)
        return cls(units, ground.of_cosines(_cosines(units, units)).fill_diagonal_(0.0), ground)

    def costs_with(self, vectors: torch.Tensor) -> torch.Tensor:
        """Costs between these and more vectors ``[m, dim]``, ``[n + m, n + m]``, these first.

        Takes the product of the new vectors with all, instead of all with all.
        """
        units = torch.nn.functional.normalize(vectors.float(), dim=1)
        added = self.ground.of_cosines(_cosines(units, torch.cat((self.units, units))))
        known, size = len(self.units), len(self.units) + len(units)
        costs = self.costs.new_empty(size, size)
        costs[:known, :known] = self.costs
        costs[known:] = added
        costs[:known, known:] = added[:, :known].T
        return costs.fill_diagonal_(0.0)

    @property
    def nbytes(self) -> int:
        """Memory, in bytes."""
        return self.units.nbytes + self.costs.nbytes


def truncated(limit: float) -> GroundCost:
    """``min(1 - cos, limit)`` of input embeddings.

    This is unbalanced transport: both marginals may be missed, each at limit/2 for every unit of probability
    by which it is (a penalty of limit/2 times the L1 distance between what is asked and what a plan gives).
    Reason: moving mass farther than the limit costs more than giving it up at one end and making it up at the
    other, which costs limit/2 + limit/2. So an optimal unbalanced plan uses pairs within the limit only, and
    what it gives up and makes up, which is equally much, can be paired anyhow at the limit. The other way
    round, dropping all that a balanced plan moves at the limit costs the same.

    Args:
        limit: Largest cost, above 0; from 2 on it has no effect.
    """
    # As float32 has it, which may be above the given number.
    exact = float(torch.tensor(limit, dtype=torch.float32))
    return GroundCost(_input, lambda cosines: _distances(cosines, exact), exact)


def ground_cost(name: str, limit: float | None = None) -> GroundCost:
    """The ground cost of the settings.

    Args:
        name: Its name.
        limit: For ``"truncated"``; None for :data:`DEFAULT_COST_LIMIT`.
    """
    if name == "truncated":
        return truncated(DEFAULT_COST_LIMIT if limit is None else limit)
    return _UNLIMITED[name]


def _cosines(units: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Products of directions, float32.

    Who lets products of a model round to fewer bits (TF32) does not ask for costs that are wrong by 1e-3; the
    setting is the process's, and stays as it is.
    """
    if torch.get_float32_matmul_precision() == "highest":
        return units @ others.T
    return (units.double() @ others.double().T).float()


def _distances(cosines: torch.Tensor, limit: float = 2.0) -> torch.Tensor:
    """1 - cosine, in place, against round-off in ``[0, limit]``; 2 is that of opposite directions."""
    return cosines.neg_().add_(1.0).clamp_(0.0, limit)


def _angles(cosines: torch.Tensor) -> torch.Tensor:
    """Angles in half-turns, in place, in ``[0, 1]``."""
    # The last half-turn that float32 knows may come out a little above 1.
    half_turns = cosines.clamp_(-1.0, 1.0).acos_().div_(math.pi).clamp_(max=1.0)
    return half_turns.masked_fill_(half_turns < _SAME_DIRECTION, 0.0)


def _input(table: EmbeddingTable) -> Vectors:
    return table.input


def _input_centered(table: EmbeddingTable) -> Vectors:
    mean = table.mean
    return lambda token_ids: table.input(token_ids) - mean


def _output(table: EmbeddingTable) -> Vectors:
    # Whether there are any is to be known before the first batch.
    table.output(torch.zeros(1, dtype=torch.long))
    return table.output


#: ``1 - cos(E_u, E_v)`` of input embeddings E (GiLOT, section 3.3).
COSINE = GroundCost(_input, _distances, 2.0)

#: The same after the mean embedding of the vocabulary is taken away, which embeddings of language models
#: have in common to such a degree that all of them are alike.
CENTERED = GroundCost(_input_centered, _distances, 2.0)

#: The same of output embeddings: the rows of the matrix that logits come from.
OUTPUT = GroundCost(_output, _distances, 2.0)

#: ``arccos(cos(E_u, E_v)) / pi``, the angle between input embeddings in half-turns, which is a metric on
#: directions; so the transport cost is a metric on distributions (Wasserstein-1).
ANGULAR = GroundCost(_input, _angles, 1.0)

_UNLIMITED = {"cosine": COSINE, "centered": CENTERED, "output": OUTPUT, "angular": ANGULAR}
