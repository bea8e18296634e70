"""Mixtures of what follows several continuations."""

from __future__ import annotations

import torch

from gilot_plugin.backends.scoring.logprobs import finite_log_softmax
from gilot_plugin.backends.scoring.predictions import Predictions


class Mixture:
    """P(v | x) = sum_k w_k p(v | x, y_k) / sum_k w_k (GiLOT, section 3.2), for many prompts x at once.

    Probabilities are added as they are: those below the smallest that float32 has become 0.

    Args:
        rows: Number of mixtures.
        vocab_size: Length of a distribution.
        device: Where they are.
    """

    def __init__(self, rows: int, vocab_size: int, device: torch.device) -> None:
        self._sums = torch.zeros(rows, vocab_size, device=device)

    def add(self, rows: torch.Tensor, logprobs: torch.Tensor, shares: torch.Tensor) -> None:
        """Add distributions.

        Args:
            rows: ``[n]``, the mixture that each belongs to.
            logprobs: ``[n, vocab]``, overwritten.
            shares: ``[n]``, their weights.
        """
        self._sums.index_add_(0, rows, logprobs.exp_().mul_(shares.unsqueeze(1)))

    def add_predictions(self, rows: torch.Tensor, predictions: Predictions, shares: torch.Tensor) -> None:
        """Add distributions whose logits are made a few at a time.

        Raises:
            NonFiniteLogitsError: The model returned NaN.
        """
        for part, logits in predictions.parts():
            self.add(rows[part], finite_log_softmax(logits), shares[part])

    def add_certain(self, rows: torch.Tensor, tokens: torch.Tensor, shares: torch.Tensor) -> None:
        """Add distributions with all mass on one token each, ``[n]``."""
        self._sums.index_put_((rows, tokens), shares, accumulate=True)

    def logprobs(self) -> torch.Tensor:
        """Log P(v | x), ``[rows, vocab]``, normalised; the mixture itself is gone afterwards."""
        return self._sums.div_(self._sums.sum(dim=1, keepdim=True)).log_()
