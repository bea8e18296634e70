"""Hypotheses: the continuations that stand for everything the model might say.

Beam search as transformers' ``generate(num_beams=K)`` does it (version 5: ``early_stopping=False``,
``length_penalty=1``), over many prompts at once, with two differences: the distribution after each hypothesis
comes out of the same pass, and a hypothesis that cannot exist (fewer than K distinct ones do) has probability
0 instead of repeating another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gilot_plugin.backends.protocol import Backend, Row
from gilot_plugin.errors import NonFiniteLogitsError


@dataclass(frozen=True, slots=True)
class Hypotheses:
    """The K hypotheses of each row of a batch.

    Attributes:
        tokens: ``[rows, beams, steps]``; entries from ``lengths`` on are undefined.
        lengths: ``[rows, beams]``, tokens of each hypothesis, its end-of-sequence token included.
        logprobs: ``[rows, beams]``, summed log-probability in nats; ``-inf`` where no such hypothesis exists.
        ended: ``[rows, beams]``, whether it closed with an end-of-sequence token.
    """

    tokens: torch.Tensor
    lengths: torch.Tensor
    logprobs: torch.Tensor
    ended: torch.Tensor

    def of_row(self, row: int) -> list[tuple[int, ...]]:
        """Token ids of the hypotheses of one row, likeliest per token first, those that exist."""
        return [
            tuple(ids[:length])
            for ids, length, logprob in zip(
                self.tokens[row].tolist(),
                self.lengths[row].tolist(),
                self.logprobs[row].tolist(),
                strict=True,
            )
            if logprob > float("-inf")
        ]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hypotheses and what the model would say after each.

    Attributes:
        hypotheses: The K hypotheses of each row.
        next_logprobs: ``[rows, beams, vocab]``, the distribution of the token after each hypothesis; for an
            ended one, all mass on the end-of-sequence token it closed with.
    """

    hypotheses: Hypotheses
    next_logprobs: torch.Tensor


class _Beams:
    """A fixed number of the best sequences of each row; slots that are not filled have score ``-inf``."""

    def __init__(self, rows: int, beams: int, steps: int, device: torch.device) -> None:
        shape = (rows, beams)
        self.tokens = torch.zeros(*shape, steps, dtype=torch.long, device=device)
        self.lengths = torch.zeros(shape, dtype=torch.long, device=device)
        self.scores = torch.full(shape, float("-inf"), device=device)
        self.logprobs = torch.full(shape, float("-inf"), device=device)
        self.parents = torch.zeros(shape, dtype=torch.long, device=device)
        self.ended = torch.zeros(shape, dtype=torch.bool, device=device)

    _FIELDS = ("tokens", "lengths", "scores", "logprobs", "parents", "ended")

    def best_with(self, other: _Beams) -> None:
        """Keep the best of these and the other ones, as many as there are slots."""
        slots = self.scores.shape[1]
        chosen = torch.cat((self.scores, other.scores), dim=1).topk(slots, dim=1).indices
        for name in self._FIELDS:
            merged = torch.cat((getattr(self, name), getattr(other, name)), dim=1)
            setattr(self, name, _take(merged, chosen))


def _take(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """``values[row, chosen[row]]`` for ``[rows, n, ...]`` values."""
    index = chosen.view(*chosen.shape, *([1] * (values.dim() - 2))).expand(*chosen.shape, *values.shape[2:])
    return values.gather(1, index)


def beam_search(backend: Backend, rows: Sequence[Row], num_beams: int, max_new_tokens: int) -> SearchResult:
    """Search the hypotheses of every row, all rows and beams in one batch a step.

    Args:
        backend: The model.
        rows: The prompts.
        num_beams: K.
        max_new_tokens: J.

    Returns:
        The hypotheses of each row and the distribution after each.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    session = backend.prefill(rows)
    device = session.prompt_logits.device
    eos = torch.tensor(backend.eos_token_ids, dtype=torch.long, device=device)
    # As many candidates as leave num_beams open ones even if each beam's ends are all among them.
    candidates = max(2, 1 + len(eos)) * num_beams
    finished = _Beams(len(rows), num_beams, max_new_tokens, device)
    open_rows = torch.ones(len(rows), 1, dtype=torch.bool, device=device)
    running_tokens = torch.zeros(len(rows), 1, max_new_tokens, dtype=torch.long, device=device)
    running_logprobs = torch.zeros(len(rows), 1, device=device)
    logits = session.prompt_logits.unsqueeze(1)
    for step in range(max_new_tokens):
        total = running_logprobs.unsqueeze(-1) + finite_log_softmax(logits)
        vocab = total.shape[-1]
        logprobs, flat = total.flatten(1).topk(min(candidates, total[0].numel()), dim=1)
        parents, tokens = flat // vocab, flat % vocab
        ended = torch.isin(tokens, eos)
        closes = ended if step + 1 < max_new_tokens else torch.ones_like(ended)
        may_close = closes & open_rows & (torch.arange(flat.shape[1], device=device) < num_beams)

        reached = _Beams(len(rows), flat.shape[1], max_new_tokens, device)
        reached.tokens = _take(running_tokens, parents)
        reached.tokens[:, :, step] = tokens
        reached.lengths.fill_(step + 1)
        reached.logprobs = logprobs
        reached.scores = (logprobs / (step + 1)).masked_fill(~may_close, float("-inf"))
        reached.parents, reached.ended = parents, ended
        finished.best_with(reached)

        still = logprobs.masked_fill(closes, float("-inf"))
        running_logprobs, kept = still.topk(min(num_beams, still.shape[1]), dim=1)
        running_tokens = _take(reached.tokens, kept)
        open_rows = open_rows & _can_improve(finished.scores, running_logprobs[:, :1] / (step + 1))
        if step + 1 == max_new_tokens or not open_rows.any():
            break
        logits = session.advance(_take(parents, kept), _take(tokens, kept).unsqueeze(-1)).squeeze(2)
    hypotheses = Hypotheses(
        finished.tokens,
        finished.lengths,
        finished.logprobs.masked_fill(finished.scores == float("-inf"), float("-inf")),
        finished.ended,
    )
    last = finished.tokens.gather(2, (finished.lengths - 1).clamp(min=0).unsqueeze(-1)).squeeze(-1)
    if bool(hypotheses.ended.all()):
        after = logits.new_full((*last.shape, logits.shape[-1]), float("-inf"))
    else:
        # Ended hypotheses ride along on a parent that exists; what comes after them is not read.
        parents = finished.parents.masked_fill(hypotheses.ended, 0)
        after = finite_log_softmax(session.advance(parents, last.unsqueeze(-1)).squeeze(2))
    return SearchResult(hypotheses, _stay_ended(after, last, hypotheses.ended))


def _can_improve(finished_scores: torch.Tensor, best_running: torch.Tensor) -> torch.Tensor:
    """Whether a row has free slots, or a running beam better than its worst finished one, ``[rows, 1]``."""
    worst = finished_scores.min(dim=1, keepdim=True).values
    return (worst == float("-inf")) | (best_running > worst)


def _stay_ended(after: torch.Tensor, last: torch.Tensor, ended: torch.Tensor) -> torch.Tensor:
    """Put all mass of what follows an ended hypothesis on its end-of-sequence token."""
    certain = torch.full_like(after, float("-inf")).scatter(-1, last.unsqueeze(-1), 0.0)
    return torch.where(ended.unsqueeze(-1), certain, after)


def score_hypotheses(
    backend: Backend, rows: Sequence[Row], hypotheses: Sequence[Sequence[tuple[int, ...]]]
) -> torch.Tensor:
    """Score given hypotheses under each row; their last tokens are predicted, but not fed.

    Args:
        backend: The model.
        rows: The prompts.
        hypotheses: For each row, as many token sequences as for every other row.

    Returns:
        Summed log-probability of each, ``[rows, beams]``.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    beams = len(hypotheses[0])
    flat_rows = [row for row in rows for _ in range(beams)]
    flat = [tokens for row_hypotheses in hypotheses for tokens in row_hypotheses]
    fed = [tokens[:-1] for tokens in flat]
    sums = []
    for logits, tokens in zip(backend.continuation_logits(flat_rows, fed), flat, strict=True):
        logprobs = finite_log_softmax(logits)
        ids = torch.tensor(tokens, dtype=torch.long, device=logprobs.device)
        sums.append(logprobs[: len(tokens)].gather(1, ids.unsqueeze(1)).sum())
    return torch.stack(sums).view(len(rows), beams)


def finite_log_softmax(logits: torch.Tensor) -> torch.Tensor:
    """Log-softmax over the last dimension that refuses NaN and rows without any finite logit."""
    logprobs = logits.float().log_softmax(dim=-1)
    if bool(logprobs.isnan().any()):
        raise NonFiniteLogitsError(
            "the model returned NaN or only infinite logits; half precision that overflows is a common cause "
            "(try dtype=float32 or bfloat16)"
        )
    return logprobs
