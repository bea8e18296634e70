"""Targets that are read from the log-likelihoods of given continuations, and of those the answer alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from gilot_plugin.attribution.builtins import LOGPROB
from gilot_plugin.attribution.logprobs import IMPOSSIBLE
from gilot_plugin.attribution.methods import OutcomeMethod
from gilot_plugin.attribution.prediction.answers import Answer, Candidates
from gilot_plugin.attribution.prediction.targets import Asked, Description, Outcomes, PromptRows, joined
from gilot_plugin.attribution.prediction.trie import AnswerReading, Prefix, sequences_read
from gilot_plugin.attribution.types import Absent
from gilot_plugin.backends.protocol import Backend, Load


class SequencesTarget(ABC):
    """Reads the same continuations after each prompt.

    Args:
        backend: The model.
        rows: The prompt with and without units.
        candidates: The continuations.
    """

    def __init__(self, backend: Backend, rows: PromptRows, candidates: Candidates) -> None:
        self._backend, self._rows, self._candidates = backend, rows, candidates

    @property
    def kind(self) -> Hashable:
        """See :attr:`gilot_plugin.attribution.prediction.targets.Target.kind`."""
        return (type(self), id(self._backend)) if self._backend.shares_prompts else None

    def load(self, absent: Absent) -> Load:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.load`."""
        nodes = self._candidates.node_count
        return self._rows.load(absent, nodes, nodes, len(self._candidates.read))

    def compute(self, asked: Sequence[Asked]) -> list[Outcomes]:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.compute`."""
        pairs = [(cast("SequencesTarget", one.target), one.absent) for one in asked]
        batch = joined([target._rows.batch(absent) for target, absent in pairs])
        room = max(target._candidates.node_count for target, _ in pairs)
        most = max(len(target._candidates.read) for target, _ in pairs)
        # Targets with fewer continuations are filled up with the empty one, which is certain.
        sequences = [
            [*target._candidates.read, *((),) * (most - len(target._candidates.read))]
            for target, absent in pairs
            for _ in absent
        ]
        lone = [target._lone_answer for target, absent in pairs for _ in absent]
        odds = any(one.odds for one in asked) and any(lone)
        reading = sequences_read(
            self._backend.prefill(batch, room), sequences, self._backend.device, lone if odds else None
        )
        sums, answers = reading.totals(sequences).double(), reading.along(lone)
        outcomes, start = [], 0
        for target, absent in pairs:
            rows = slice(start, start + len(absent))
            read = sums[rows, : len(target._candidates.read)]
            outcomes.append(target._outcomes(read, answers.of(rows, len(target._lone_answer)), absent))
            start = rows.stop
        return outcomes

    @property
    def _lone_answer(self) -> Prefix:
        """The only continuation, which is looked at token by token; empty where there are several."""
        return self._candidates.read[0] if len(self._candidates.read) == 1 else ()

    @abstractmethod
    def _outcomes(self, read: torch.Tensor, lone: AnswerReading, absent: Sequence[Absent]) -> Outcomes:
        """Outcomes from what was read.

        Args:
            read: Log-likelihoods of the sequences, ``[rows, sequences]``.
            lone: The only continuation, token by token.
            absent: What is taken away in each row.
        """


class AnswerTarget(SequencesTarget):
    """How likely a given answer is, and nothing else: its only outcome is certain.

    Args:
        backend: The model.
        rows: The prompt with and without units.
        answer: The answer.
    """

    answer_measure = LOGPROB
    along: tuple[OutcomeMethod, ...] = ()
    outcome_count = 1

    def __init__(self, backend: Backend, rows: PromptRows, answer: Answer) -> None:
        super().__init__(backend, rows, answer.candidates)
        self.answer = answer
        self.geometry = _Point()
        self.outcome_bytes = 8 * len(answer.candidates.read)

    def answer_alone(self) -> AnswerTarget:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.answer_alone`."""
        return self

    def description(self, logprobs: torch.Tensor) -> Description:
        """Nothing but the answer, which was given."""
        return Description()

    def _outcomes(self, read: torch.Tensor, lone: AnswerReading, absent: Sequence[Absent]) -> Outcomes:
        certain = torch.zeros(len(read), 1, 1, device=read.device)
        if self._lone_answer:
            return Outcomes(certain, lone.logprobs.double(), lone.logodds)
        possible = read.clamp(min=IMPOSSIBLE)
        logprobs, odds = self.answer.logprobs(possible), self.answer.logodds(possible)
        return Outcomes(certain, logprobs[:, None], odds[:, None])


class _Point:
    """Where a single outcome lies."""

    largest_cost = 0.0

    def costs(self, outcomes: Sequence[NDArray[np.int64]], shared: Sequence[int]) -> list[torch.Tensor]:
        return [torch.zeros(len(some), len(some)) for some in outcomes]

    def kept_bytes(self, shared: int) -> int:
        return 0

    def label(self, outcome: int) -> str:
        return ""
