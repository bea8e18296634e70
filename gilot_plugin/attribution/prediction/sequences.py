"""Targets that are read from the log-likelihoods of given continuations, and of those the answer alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from gilot_plugin.attribution.builtins import LOGPROB
from gilot_plugin.attribution.methods import OutcomeMethod
from gilot_plugin.attribution.prediction.answers import Answer, Candidates
from gilot_plugin.attribution.prediction.directions import answer_change
from gilot_plugin.attribution.prediction.targets import AnswerChange, Description, PromptRows
from gilot_plugin.attribution.types import Absent
from gilot_plugin.backends.scorer import Outcomes, Query, Reference
from gilot_plugin.backends.scoring.distributions import Distributions
from gilot_plugin.backends.scoring.logprobs import IMPOSSIBLE
from gilot_plugin.backends.scoring.reducing import DenseReference, reduce, to_host
from gilot_plugin.backends.scoring.trie import SequenceReading
from gilot_plugin.backends.wanted import FixedHypotheses, Want


class SequencesTarget(ABC):
    """Reads the same continuations after each prompt; its outcomes are made of how likely these are.

    Args:
        rows: The prompt with and without units.
        candidates: The continuations.
    """

    #: Whether each token of the answer is looked at, which is compared with no other one.
    _by_token = False

    def __init__(self, rows: PromptRows, candidates: Candidates) -> None:
        self._rows, self._candidates = rows, candidates

    def query(self, absent: Sequence[Absent], want: Want, known: Reference | None = None) -> Query:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.query`."""
        full, rows = known or self._rows.full, [self._rows.without(units) for units in absent]
        asked = Want(logodds=want.logodds and self._by_token)
        return Query(full, rows, FixedHypotheses(), self._candidates.read, asked)

    def reference(self, known: Reference, want: Want) -> Reference:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.reference`."""
        read = known.token_logprobs[None]
        sequences = SequenceReading(torch.from_numpy(read), None)
        outcomes = _distributions(self._outcomes(_log_likelihoods(read)), sequences)
        return DenseReference.of(outcomes, want.nucleus)

    def outcomes(self, found: Outcomes, reference: Reference, want: Want) -> Outcomes:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.outcomes`."""
        assert isinstance(reference, DenseReference)  # made above
        sequences = SequenceReading(torch.from_numpy(found.token_logprobs), None)
        distributions = _distributions(self._outcomes(_log_likelihoods(found.token_logprobs)), sequences)
        (arrived,) = to_host([reduce(distributions, reference, want)])
        return arrived()

    def answer_change(self, found: Outcomes, known: Reference, positions: int) -> AnswerChange:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.answer_change`."""
        rows, full = found.token_logprobs, known.token_logprobs[None]
        odds: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        if self._by_token:
            if found.token_logodds is not None and known.token_logodds is not None:
                odds = found.token_logodds[:, 0], known.token_logodds
            return answer_change((rows[:, 0], full[:, 0]), odds, positions)
        read, of_full = (_log_likelihoods(part).clamp(min=IMPOSSIBLE) for part in (rows, full))
        return answer_change(
            (_column(self._answer_logprobs(read)), _column(self._answer_logprobs(of_full))),
            (_column(self.answer.logodds(read)), _column(self.answer.logodds(of_full))),
            positions,
        )

    @property
    @abstractmethod
    def answer(self) -> Answer:
        """See :attr:`gilot_plugin.attribution.prediction.targets.Target.answer`."""

    def _answer_logprobs(self, read: torch.Tensor) -> torch.Tensor:
        """Log-probability of the answer, ``[rows]``, from log-likelihoods of the sequences."""
        return self.answer.logprobs(read)

    @abstractmethod
    def _outcomes(self, read: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of the outcomes, ``[rows, outcomes]``, from log-likelihoods of the sequences."""


class AnswerTarget(SequencesTarget):
    """How likely a given answer is, and nothing else: its only outcome is certain.

    Args:
        rows: The prompt with and without units.
        answer: The answer.
    """

    answer_measure = LOGPROB
    along: tuple[OutcomeMethod, ...] = ()
    outcome_count = 1

    def __init__(self, rows: PromptRows, answer: Answer) -> None:
        super().__init__(rows, answer.candidates)
        self._answer, self._by_token = answer, len(answer.candidates.read) == 1
        self.geometry = _Point()

    @property
    def answer(self) -> Answer:
        """As given."""
        return self._answer

    def answer_alone(self) -> AnswerTarget:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.answer_alone`."""
        return self

    def description(self, reference: Reference) -> Description:
        """Nothing but the answer, which was given."""
        return Description()

    def _outcomes(self, read: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(read), 1, dtype=torch.float64)


def _log_likelihoods(token_logprobs: NDArray[np.float64]) -> torch.Tensor:
    """Of sequences, ``[rows, sequences]``, from those of their tokens."""
    return torch.from_numpy(token_logprobs.sum(axis=2))


def _column(numbers: torch.Tensor) -> NDArray[np.float64]:
    """Numbers of rows, at the one position that there is."""
    found: NDArray[np.float64] = numbers[:, None].numpy()
    return found


def _distributions(logprobs: torch.Tensor, sequences: SequenceReading) -> Distributions:
    """Distributions over outcomes ``[rows, outcomes]`` at the one position that there is."""
    return Distributions(logprobs.unsqueeze(1), sequences)


class _Point:
    """Where a single outcome lies."""

    largest_cost = 0.0

    def costs(self, outcomes: Sequence[NDArray[np.int64]], shared: Sequence[int]) -> list[torch.Tensor]:
        return [torch.zeros(len(some), len(some)) for some in outcomes]

    def kept_bytes(self, shared: int) -> int:
        return 0

    def label(self, outcome: int) -> str:
        return ""
