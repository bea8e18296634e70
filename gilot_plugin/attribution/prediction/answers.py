"""The one number that methods without an outcome distribution explain: the log-probability of an answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gilot_plugin.backends.scoring.logprobs import log_odds
from gilot_plugin.backends.wanted import TokenIds


@dataclass(frozen=True, eq=False)
class Candidates:
    """Continuations whose log-likelihoods are compared.

    Attributes:
        token_ids: Tokens of each, as fed after the prompt.
        leads: The beginning of each that is fed and not scored; empty if everything is scored.
        lengths: What the log-likelihood of each is divided by before they are compared; None for nothing.
    """

    token_ids: tuple[TokenIds, ...]
    leads: tuple[TokenIds, ...] = ()
    lengths: tuple[int, ...] | None = None

    @property
    def read(self) -> tuple[TokenIds, ...]:
        """Sequences whose log-probabilities are asked of the model."""
        return (*self.token_ids, *self.leads)

    def sums(self, read: torch.Tensor) -> torch.Tensor:
        """Log-likelihoods ``[rows, candidates]``, in nats, from those of what was read."""
        count = len(self.token_ids)
        # That of what is scored is that of all less that of the lead, which is read on the way.
        return read[:, :count] - read[:, count:] if self.leads else read

    def compared(self, sums: torch.Tensor) -> torch.Tensor:
        """Log-likelihoods as they are compared, ``[rows, candidates]``."""
        if self.lengths is None:
            return sums
        return sums / torch.tensor(self.lengths, dtype=sums.dtype, device=sums.device)


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model answers to the full prompt.

    Attributes:
        candidates: The answer alone, or all of the task's choices.
        chosen: Which of them it is.
    """

    candidates: Candidates
    chosen: int = 0

    @property
    def token_ids(self) -> TokenIds:
        """Tokens of the answer."""
        return self.candidates.token_ids[self.chosen]

    def logprobs(self, read: torch.Tensor) -> torch.Tensor:
        """Log-probability of the answer, ``[rows]``, in nats: among the choices, where there are any.

        Args:
            read: ``[rows, sequences]``, log-probabilities of :attr:`Candidates.read`. May carry a gradient.
        """
        sums = self.candidates.sums(read)
        if sums.shape[1] == 1:
            return sums[:, 0]
        return self.candidates.compared(sums).log_softmax(dim=1)[:, self.chosen]

    def logodds(self, read: torch.Tensor) -> torch.Tensor:
        """Log-odds of the answer against all other candidates, ``[rows]``, in nats; 0 without any.

        Args:
            read: See :meth:`logprobs`.
        """
        compared = self.candidates.compared(self.candidates.sums(read))
        if compared.shape[1] == 1:
            return torch.zeros_like(compared[:, 0])
        return log_odds(compared, torch.full((len(read),), self.chosen, device=read.device))
