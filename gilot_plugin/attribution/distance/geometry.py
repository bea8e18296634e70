"""Outcomes of a prompt, and ground costs between them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from gilot_plugin.attribution.distance.ground_costs import Directions, GroundCost
from gilot_plugin.backends.scorer import EmbeddingTable

#: Memory of the costs of a problem while they are made, in bytes for each pair of outcomes.
COST_BYTES = 12

#: Directions that a prompt's geometry keeps, in bytes: 30 steps of 1,000 tokens each.
_KEPT_BYTES = 2**28


#: Numbers of outcomes, on the host.
Outcomes = NDArray[np.int64]


class Geometry(Protocol):
    """Where outcomes lie with respect to each other.

    Attributes:
        largest_cost: No ground cost between any two outcomes is above it.
    """

    largest_cost: float

    def costs(self, outcomes: Sequence[Outcomes], shared: Sequence[int]) -> list[torch.Tensor]:
        """For each problem, ground costs between any two of its outcomes, ``[n, n]``, 0 on the diagonal.

        What is asked for in one call takes one transfer to the device.

        Args:
            outcomes: Of each problem, ``[n]``.
            shared: So many of them, the first ones, are likely the first ones of other problems too.
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
        table: The model's embeddings, which are the geometry.
        ground: Cost between two tokens.
        labels: Text of a token id.
        distributions: Outcome distributions that others are compared to.

    Raises:
        UnsupportedModelError: The model lacks the embeddings that the cost is made of.
    """

    def __init__(
        self, table: EmbeddingTable, ground: GroundCost, labels: Labels, distributions: int = 1
    ) -> None:
        self.largest_cost = ground.largest
        self._ground, self._vectors = ground, ground.vectors_of(table)
        self._labels, self._distributions = labels, distributions
        self._kept: dict[bytes, Directions] = {}
        self._lock = threading.Lock()

    def costs(self, outcomes: Sequence[Outcomes], shared: Sequence[int]) -> list[torch.Tensor]:
        """Costs between the given token ids."""
        beginnings = [tokens[:count] for tokens, count in zip(outcomes, shared, strict=True)]
        added = [tokens[count:] for tokens, count in zip(outcomes, shared, strict=True)]
        directions, vectors = self._directions(beginnings, added)
        return [
            directions[beginning.tobytes()].costs_with(of_added)
            for beginning, of_added in zip(beginnings, vectors, strict=True)
        ]

    def kept_bytes(self, shared: int) -> int:
        """Memory of the directions that are kept, of as many distributions as a prompt has."""
        (dim,) = self._vectors(torch.zeros(1, dtype=torch.long)).shape[1:]
        return min(_KEPT_BYTES, self._distributions * 4 * shared * (shared + dim))

    def label(self, outcome: int) -> str:
        """Text of the token."""
        return self._labels(outcome)

    def _directions(
        self, beginnings: Sequence[Outcomes], added: Sequence[Outcomes]
    ) -> tuple[dict[bytes, Directions], list[torch.Tensor]]:
        """Directions of what problems begin with, by these tokens, and vectors of what they add."""
        # Threads that ask for the same tokens wait for the first of them.
        with self._lock:
            wanted = {tokens.tobytes(): tokens for tokens in beginnings}
            found = {name: self._kept[name] for name in wanted if name in self._kept}
            unknown = {name: tokens for name, tokens in wanted.items() if name not in found}
            if unknown:
                vectors = self._vectors_of([*unknown.values(), *added])
                for name, of_tokens in zip(unknown, vectors, strict=False):
                    made = found[name] = Directions.of(of_tokens, self._ground)
                    if sum(others.nbytes for others in self._kept.values()) + made.nbytes <= _KEPT_BYTES:
                        self._kept[name] = made
                return found, vectors[len(unknown) :]
        return found, self._vectors_of(added)

    def _vectors_of(self, tokens: Sequence[Outcomes]) -> list[torch.Tensor]:
        """Vectors of several lists of tokens, looked up at once."""
        vectors = self._vectors(torch.from_numpy(np.concatenate(tokens)))
        return list(torch.split(vectors, [len(some) for some in tokens]))


class ChoiceGeometry:
    """A task's choices, by the mean of the vectors that the model has for their tokens.

    Args:
        table: The model's embeddings, which are the geometry.
        ground: Cost between two choices.
        token_ids: Tokens of each choice.
        texts: Text of each choice.

    Raises:
        UnsupportedModelError: The model lacks the embeddings that the cost is made of.
    """

    def __init__(
        self,
        table: EmbeddingTable,
        ground: GroundCost,
        token_ids: Sequence[Sequence[int]],
        texts: Sequence[str],
    ) -> None:
        self.largest_cost = ground.largest
        vectors = ground.vectors_of(table)
        means = [vectors(torch.tensor(ids, dtype=torch.long)).mean(dim=0) for ids in token_ids]
        self._costs = Directions.of(torch.stack(means), ground).costs
        self._texts = tuple(texts)

    def costs(self, outcomes: Sequence[Outcomes], shared: Sequence[int]) -> list[torch.Tensor]:
        """Costs between the given choices."""
        every = torch.from_numpy(np.concatenate(outcomes)).to(self._costs.device)
        parts = torch.split(every, [len(some) for some in outcomes])
        return [self._costs[places][:, places] for places in parts]

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
