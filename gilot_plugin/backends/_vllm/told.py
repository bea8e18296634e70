"""The likeliest tokens of a distribution, all that an engine tells of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Told(NamedTuple):
    """Some tokens of a distribution with their probabilities; all others are its tail.

    >>> told = Told.of([7, 3, 9], [-0.5, -1.5, -3.0], vocab_size=100)
    >>> told.token_ids.tolist(), round(told.tail, 3)
    ([3, 7, 9], 0.121)
    >>> told.at(np.array([9, 8])).tolist()
    [-3.0, -inf]

    Attributes:
        token_ids: Ascending, ``[k]``.
        logprobs: In nats, ``[k]``.
        tail: Mass of all other tokens.
    """

    token_ids: IntArray
    logprobs: FloatArray
    tail: float

    @classmethod
    def of(cls, token_ids: Sequence[int], logprobs: Sequence[float], vocab_size: int) -> Told:
        """From the likeliest tokens, in any order.

        What they lack of 1 is round-off where they have nearly everything. None of the others is likelier
        than the least likely one of them, which bounds the mass of the tail, too.
        """
        ids, first = np.unique(np.asarray(token_ids, dtype=np.int64), return_index=True)
        values = np.asarray(logprobs, dtype=np.float64)[first]
        masses = np.exp(values)
        most = (vocab_size - len(ids)) * float(masses.min())
        return cls(ids, values, min(max(0.0, 1.0 - float(masses.sum())), most))

    @classmethod
    def certain(cls, token_id: int) -> Told:
        """All mass on one token."""
        return cls(np.array([token_id]), np.zeros(1), 0.0)

    def at(self, token_ids: IntArray) -> FloatArray:
        """Log-probabilities of the tokens ``[n]``; minus infinity for those of the tail."""
        places = np.searchsorted(self.token_ids, token_ids).clip(max=len(self.token_ids) - 1)
        found: FloatArray = np.where(self.token_ids[places] == token_ids, self.logprobs[places], -np.inf)
        return found

    def nucleus(self, top_p: float, top_k: int) -> IntArray:
        """The smallest set of told tokens with so much mass, ascending, or all of them; at most ``top_k``.

        The token that makes the mass reach ``top_p`` belongs to it.
        """
        order = np.argsort(-self.logprobs, kind="stable")[:top_k]
        masses = np.cumsum(np.exp(self.logprobs[order]))
        return self.token_ids[np.sort(order[: int((masses < top_p).sum()) + 1])]

    @property
    def entropy(self) -> float:
        """In nats, with the tail as one outcome: no more than that of the whole distribution."""
        masses = np.append(np.exp(self.logprobs), self.tail)
        masses = masses[masses > 0.0]
        return float(-(masses * np.log(masses)).sum())

    def logodds(self, token_id: int, logprob: float) -> float:
        """Log-odds of a token against all others, in nats; the token may be one of the tail.

        Args:
            token_id: The token.
            logprob: Its log-probability, in nats.
        """
        told = self.token_ids == token_id
        others = float(np.exp(self.logprobs[~told]).sum())
        tail = self.tail if told.any() else max(0.0, self.tail - float(np.exp(logprob)))
        return logprob - float(np.log(max(others + tail, np.finfo(np.float64).tiny)))


def mixture(parts: Iterable[tuple[Told, float]]) -> Told:
    """P(v) = sum_k w_k p_k(v) / sum_k w_k of the told tokens (GiLOT, section 3.2).

    Where a part does not tell of a token of another one, its share of it stays in the tail.

    Args:
        parts: Distributions, each with the logarithm of its weight, at least one of them possible.
    """
    told, weights = zip(*parts, strict=True)
    shares = np.exp(np.array(weights) - max(weights))
    shares /= shares.sum()
    ids = np.unique(np.concatenate([part.token_ids for part in told]))
    masses = np.zeros(len(ids))
    for part, share in zip(told, shares.tolist(), strict=True):
        masses += share * np.exp(part.at(ids))
    possible = masses > 0.0
    tail = sum(share * part.tail for part, share in zip(told, shares.tolist(), strict=True))
    return Told(ids[possible], np.log(masses[possible]), tail)
