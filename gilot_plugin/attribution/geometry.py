"""Ground costs between outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from gilot_plugin.backends.protocol import Backend

#: That of vectors which point in opposite directions.
LARGEST_COSINE_COST = 2.0


class Geometry(Protocol):
    """Where outcomes lie with respect to each other.

    Attributes:
        largest_cost: No ground cost between any two outcomes is above it.
    """

    largest_cost: float

    def costs(self, outcomes: NDArray[np.int64]) -> torch.Tensor:
        """Ground cost between each two of the given outcomes, ``[n, n]``, zero on the diagonal."""
        ...

    def label(self, outcome: int) -> str:
        """Readable name of an outcome."""
        ...


def cosine_costs(vectors: torch.Tensor) -> torch.Tensor:
    """``C_uv = 1 - cos(E_u, E_v)`` (GiLOT, section 3.3), exactly 0 on the diagonal, never negative.

    Args:
        vectors: ``[n, dim]``.

    Returns:
        ``[n, n]``, float32, in ``[0, 2]``, where the vectors are.
    """
    unit = torch.nn.functional.normalize(vectors.float(), dim=1)
    return (1.0 - unit @ unit.T).clamp_(0.0, LARGEST_COSINE_COST).fill_diagonal_(0.0)


class VocabularyGeometry:
    """Tokens, by the cosine between their input embeddings.

    Args:
        backend: The model whose embeddings are the geometry.
        labels: Text of a token id.
    """

    largest_cost = LARGEST_COSINE_COST

    def __init__(self, backend: Backend, labels: Labels) -> None:
        self._backend = backend
        self._labels = labels

    def costs(self, outcomes: NDArray[np.int64]) -> torch.Tensor:
        """Cosine costs between the embeddings of the given token ids."""
        return cosine_costs(self._backend.embeddings(torch.from_numpy(outcomes)))

    def label(self, outcome: int) -> str:
        """Text of the token."""
        return self._labels(outcome)


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

    def costs(self, outcomes: NDArray[np.int64]) -> torch.Tensor:
        """Cosine costs between the given choices."""
        places = torch.from_numpy(outcomes).to(self._costs.device)
        return self._costs[places][:, places]

    def label(self, outcome: int) -> str:
        """Text of the choice."""
        return self._texts[outcome]


class Labels(Protocol):
    """Text of a token id."""

    def __call__(self, token_id: int, /) -> str:
        """Text of the token."""
        ...
