"""Ground costs between outcomes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from gilot_plugin.backends.protocol import Backend

#: Memory of the costs of a problem while they are made, in bytes for each pair of outcomes.
COST_BYTES = 12

#: That of vectors which point in opposite directions.
LARGEST_COSINE_COST = 2.0

#: Directions that a prompt's geometry keeps, in bytes: 30 steps of 1,000 tokens each.
_KEPT_BYTES = 2**28


class Geometry(Protocol):
    """Where outcomes lie with respect to each other.

    Attributes:
        largest_cost: No ground cost between any two outcomes is above it.
    """

    largest_cost: float

    def costs(self, outcomes: NDArray[np.int64], shared: int) -> torch.Tensor:
        """Ground cost between each two of the given outcomes, ``[n, n]``, zero on the diagonal.

        Args:
            outcomes: ``[n]``.
            shared: So many of them, the first ones, are likely the first ones in other calls too.
        """
        ...

    def kept_bytes(self, shared: int) -> int:
        """Memory that is kept between calls in which so many outcomes are likely the same."""
        ...

    def label(self, outcome: int) -> str:
        """Readable name of an outcome."""
        ...


class Directions(NamedTuple):
    """Vectors without their lengths, and the costs between them.

    Attributes:
        units: ``[n, dim]``, float32.
        costs: ``[n, n]``, float32.
    """

    units: torch.Tensor
    costs: torch.Tensor

    @classmethod
    def of(cls, vectors: torch.Tensor) -> Directions:
        """Those of the vectors, ``[n, dim]``."""
        units = torch.nn.functional.normalize(vectors.float(), dim=1)
        return cls(units, _to_costs(units @ units.T).fill_diagonal_(0.0))

    def costs_with(self, vectors: torch.Tensor) -> torch.Tensor:
        """Costs between these and more vectors ``[m, dim]``, ``[n + m, n + m]``, these first.

        Takes the product of the new vectors with all, instead of all with all.
        """
        units = torch.nn.functional.normalize(vectors.float(), dim=1)
        added = _to_costs(units @ torch.cat((self.units, units)).T)
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


def _to_costs(cosines: torch.Tensor) -> torch.Tensor:
    """1 - cosine, in place, against round-off in ``[0, 2]``."""
    return cosines.neg_().add_(1.0).clamp_(0.0, LARGEST_COSINE_COST)


def cosine_costs(vectors: torch.Tensor) -> torch.Tensor:
    """``C_uv = 1 - cos(E_u, E_v)`` (GiLOT, section 3.3), exactly 0 on the diagonal, never negative.

    Args:
        vectors: ``[n, dim]``.

    Returns:
        ``[n, n]``, float32, in ``[0, 2]``, where the vectors are.
    """
    return Directions.of(vectors).costs


class VocabularyGeometry:
    """Tokens, by the cosine between their input embeddings.

    The costs between the tokens that calls share are kept, for a bounded number of bytes. Whether they were
    kept or not changes no bit of the costs: results do not depend on the order of calls, nor on threads.

    Args:
        backend: The model whose embeddings are the geometry.
        labels: Text of a token id.
        distributions: Outcome distributions that others are compared to.
    """

    largest_cost = LARGEST_COSINE_COST

    def __init__(self, backend: Backend, labels: Labels, distributions: int = 1) -> None:
        self._backend, self._distributions = backend, distributions
        self._labels = labels
        self._kept: dict[bytes, Directions] = {}
        self._lock = threading.Lock()

    def costs(self, outcomes: NDArray[np.int64], shared: int) -> torch.Tensor:
        """Cosine costs between the embeddings of the given token ids."""
        directions = self._directions(outcomes[:shared])
        return directions.costs_with(self._embeddings(outcomes[shared:]))

    def kept_bytes(self, shared: int) -> int:
        """Memory of the directions that are kept, of as many distributions as a prompt has."""
        (dim,) = self._backend.embeddings(torch.zeros(1, dtype=torch.long)).shape[1:]
        return min(_KEPT_BYTES, self._distributions * 4 * shared * (shared + dim))

    def label(self, outcome: int) -> str:
        """Text of the token."""
        return self._labels(outcome)

    def _directions(self, tokens: NDArray[np.int64]) -> Directions:
        name = tokens.tobytes()
        # Threads that ask for the same tokens wait for the first of them.
        with self._lock:
            kept = self._kept.get(name)
            if kept is None:
                kept = Directions.of(self._embeddings(tokens))
                if sum(others.nbytes for others in self._kept.values()) + kept.nbytes <= _KEPT_BYTES:
                    self._kept[name] = kept
            return kept

    def _embeddings(self, tokens: NDArray[np.int64]) -> torch.Tensor:
        return self._backend.embeddings(torch.from_numpy(tokens))


class ChoiceGeometry:
    """A task's choices, by the cosine between the mean embeddings of their tokens.

    Args:
        backend: The model whose embeddings are the geometry.
        token_ids: Tokens of each choice.
        texts: Text of each choice.
    """

    largest_cost = LARGEST_COSINE_COST

    def __init__(self, backend: Backend, token_ids: Sequence[Sequence[int]], texts: Sequence[str]) -> None:
        means = [backend.embeddings(torch.tensor(ids, dtype=torch.long)).mean(dim=0) for ids in token_ids]
        self._costs = cosine_costs(torch.stack(means))
        self._texts = tuple(texts)

    def costs(self, outcomes: NDArray[np.int64], shared: int) -> torch.Tensor:
        """Cosine costs between the given choices."""
        places = torch.from_numpy(outcomes).to(self._costs.device)
        return self._costs[places][:, places]

    def kept_bytes(self, shared: int) -> int:
        """None: the costs are those of all choices."""
        return 0

    def label(self, outcome: int) -> str:
        """Text of the choice."""
        return self._texts[outcome]


class Labels(Protocol):
    """Text of a token id."""

    def __call__(self, token_id: int, /) -> str:
        """Text of the token."""
        ...
