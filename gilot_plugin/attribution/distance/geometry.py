"""Outcomes of a prompt, and ground costs between them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from gilot_plugin.attribution.distance.ground_costs import Directions, GroundCost
from gilot_plugin.backends.protocol import Backend

#: Memory of the costs of a problem while they are made, in bytes for each pair of outcomes.
COST_BYTES = 12

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


class VocabularyGeometry:
    """Tokens, by the vectors that the model has for them.

    The costs between the tokens that calls share are kept, for a bounded number of bytes. Whether they were
    kept or not changes no bit of the costs: results do not depend on the order of calls, nor on threads.

    Args:
        backend: The model whose embeddings are the geometry.
        ground: Cost between two tokens.
        labels: Text of a token id.
        distributions: Outcome distributions that others are compared to.

    Raises:
        UnsupportedModelError: The model lacks the embeddings that the cost is made of.
    """

    def __init__(self, backend: Backend, ground: GroundCost, labels: Labels, distributions: int = 1) -> None:
        self.largest_cost = ground.largest
        self._ground, self._vectors = ground, ground.vectors_of(backend)
        self._labels, self._distributions = labels, distributions
        self._kept: dict[bytes, Directions] = {}
        self._lock = threading.Lock()

    def costs(self, outcomes: NDArray[np.int64], shared: int) -> torch.Tensor:
        """Costs between the given token ids."""
        directions = self._directions(outcomes[:shared])
        return directions.costs_with(self._vectors(torch.from_numpy(outcomes[shared:])))

    def kept_bytes(self, shared: int) -> int:
        """Memory of the directions that are kept, of as many distributions as a prompt has."""
        (dim,) = self._vectors(torch.zeros(1, dtype=torch.long)).shape[1:]
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
                kept = Directions.of(self._vectors(torch.from_numpy(tokens)), self._ground)
                if sum(others.nbytes for others in self._kept.values()) + kept.nbytes <= _KEPT_BYTES:
                    self._kept[name] = kept
            return kept


class ChoiceGeometry:
    """A task's choices, by the mean of the vectors that the model has for their tokens.

    Args:
        backend: The model whose embeddings are the geometry.
        ground: Cost between two choices.
        token_ids: Tokens of each choice.
        texts: Text of each choice.

    Raises:
        UnsupportedModelError: The model lacks the embeddings that the cost is made of.
    """

    def __init__(
        self, backend: Backend, ground: GroundCost, token_ids: Sequence[Sequence[int]], texts: Sequence[str]
    ) -> None:
        self.largest_cost = ground.largest
        vectors = ground.vectors_of(backend)
        means = [vectors(torch.tensor(ids, dtype=torch.long)).mean(dim=0) for ids in token_ids]
        self._costs = Directions.of(torch.stack(means), ground).costs
        self._texts = tuple(texts)

    def costs(self, outcomes: NDArray[np.int64], shared: int) -> torch.Tensor:
        """Costs between the given choices."""
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
