"""Hypotheses: the continuations that stand for everything the model might say.

Beam search as transformers' ``generate(num_beams=K)`` does it (version 5: ``early_stopping=False``,
``length_penalty=1``), over many prompts at once, with two differences: the distributions along each
hypothesis come out of the same pass, and a hypothesis that cannot exist (fewer than K distinct ones do) has
probability 0 instead of repeating another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from gilot_plugin.attribution.logprobs import finite_log_softmax
from gilot_plugin.backends.protocol import Backend, Row


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


class StepOutcome(NamedTuple):
    """What the model would say after the first tokens of each hypothesis.

    Attributes:
        weights: ``[rows, beams]``, log-probability of those tokens, in nats; ``-inf`` where another
            hypothesis begins with the same ones and stands for both, and where no hypothesis exists.
        next_logprobs: ``[rows, beams, vocab]``, the distribution of the token after them; for a hypothesis
            that has ended, all mass on the end-of-sequence token it closed with.
    """

    weights: torch.Tensor
    next_logprobs: torch.Tensor


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hypotheses and what the model would say along them.

    Attributes:
        hypotheses: The K hypotheses of each row.
        steps: The outcome after J tokens; if every step was asked for, after 1, 2, ..., J.
    """

    hypotheses: Hypotheses
    steps: tuple[StepOutcome, ...]


class _Beams:
    """A fixed number of the best sequences of each row; slots that are not filled have score ``-inf``.

    ``lineage[..., j]`` is the place that the sequence's first j tokens had among the running ones.
    """

    def __init__(self, rows: int, beams: int, steps: int, device: torch.device) -> None:
        shape = (rows, beams)
        self.tokens = torch.zeros(*shape, steps, dtype=torch.long, device=device)
        self.lineage = torch.zeros(*shape, steps, dtype=torch.long, device=device)
        self.lengths = torch.zeros(shape, dtype=torch.long, device=device)
        self.scores = torch.full(shape, float("-inf"), device=device)
        self.logprobs = torch.full(shape, float("-inf"), device=device)
        self.ended = torch.zeros(shape, dtype=torch.bool, device=device)

    _FIELDS = ("tokens", "lineage", "lengths", "scores", "logprobs", "ended")

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


def beam_search(
    backend: Backend, rows: Sequence[Row], num_beams: int, max_new_tokens: int, every_step: bool = False
) -> SearchResult:
    """Search the hypotheses of every row, all rows and beams in one batch a step.

    Args:
        backend: The model.
        rows: The prompts.
        num_beams: K.
        max_new_tokens: J.
        every_step: Whether the outcomes after 1, ..., J - 1 tokens are wanted, too.

    Returns:
        The hypotheses of each row and the outcomes along them.

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
    running = _Beams(len(rows), 1, max_new_tokens, device)
    running.logprobs.fill_(0.0)
    logits = session.prompt_logits.unsqueeze(1)
    passed: list[StepOutcome] = []
    for step in range(max_new_tokens):
        following = finite_log_softmax(logits)
        if every_step and step > 0:
            passed.append(StepOutcome(running.logprobs, following))
        total = running.logprobs.unsqueeze(-1) + following
        vocab = total.shape[-1]
        logprobs, flat = total.flatten(1).topk(min(candidates, total[0].numel()), dim=1)
        parents, tokens = flat // vocab, flat % vocab
        ended = torch.isin(tokens, eos)
        closes = ended if step + 1 < max_new_tokens else torch.ones_like(ended)
        may_close = closes & open_rows & (torch.arange(flat.shape[1], device=device) < num_beams)

        reached = _Beams(len(rows), flat.shape[1], max_new_tokens, device)
        reached.tokens, reached.lineage = _take(running.tokens, parents), _take(running.lineage, parents)
        reached.tokens[:, :, step], reached.lineage[:, :, step] = tokens, parents
        reached.lengths.fill_(step + 1)
        reached.logprobs, reached.ended = logprobs, ended
        reached.scores = (logprobs / (step + 1)).masked_fill(~may_close, float("-inf"))
        finished.best_with(reached)

        still = logprobs.masked_fill(closes, float("-inf"))
        running.logprobs, kept = still.topk(min(num_beams, still.shape[1]), dim=1)
        running.tokens, running.lineage = _take(reached.tokens, kept), _take(reached.lineage, kept)
        open_rows = open_rows & _can_improve(finished.scores, running.logprobs[:, :1] / (step + 1))
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
        after = following.new_full((*last.shape, following.shape[-1]), float("-inf"))
    else:
        # Ended hypotheses ride along on a parent that exists; what comes after them is not read.
        parents = finished.lineage[:, :, -1].masked_fill(hypotheses.ended, 0)
        after = finite_log_softmax(session.advance(parents, last.unsqueeze(-1)).squeeze(2))
    steps: list[StepOutcome] = []
    while passed:  # what was read is let go, for it is large
        depth = len(steps) + 1
        steps.append(_along(passed.pop(0), finished.lineage[:, :, depth], hypotheses, last, depth))
    # Where all rows were closed early, every hypothesis had ended by then.
    missing = max_new_tokens - len(steps) if every_step else 1
    final = StepOutcome(hypotheses.logprobs, _stay_ended(after, last, hypotheses.ended))
    return SearchResult(hypotheses, (*steps, *(final,) * missing))


def _can_improve(finished_scores: torch.Tensor, best_running: torch.Tensor) -> torch.Tensor:
    """Whether a row has free slots, or a running beam better than its worst finished one, ``[rows, 1]``."""
    worst = finished_scores.min(dim=1, keepdim=True).values
    return (worst == float("-inf")) | (best_running > worst)


def _along(
    running: StepOutcome, ancestors: torch.Tensor, hypotheses: Hypotheses, last: torch.Tensor, depth: int
) -> StepOutcome:
    """The outcome after ``depth`` tokens of the hypotheses, from that of all beams that ran then."""
    done = hypotheses.ended & (hypotheses.lengths <= depth)
    ancestors = ancestors.masked_fill(done, 0)
    same = ancestors.unsqueeze(2) == ancestors.unsqueeze(1)
    exists = hypotheses.logprobs > float("-inf")
    runs = exists & ~done
    stands_for_both = same & runs.unsqueeze(1) & runs.unsqueeze(2)
    repeated = stands_for_both.tril(diagonal=-1).any(dim=2)
    weights = torch.where(done, hypotheses.logprobs, _take(running.weights, ancestors))
    weights = weights.masked_fill(repeated | ~exists, float("-inf"))
    return StepOutcome(weights, _stay_ended(_take(running.next_logprobs, ancestors), last, done))


def _stay_ended(after: torch.Tensor, last: torch.Tensor, ended: torch.Tensor) -> torch.Tensor:
    """Put all mass of what follows an ended hypothesis on its end-of-sequence token."""
    certain = torch.full_like(after, float("-inf")).scatter(-1, last.unsqueeze(-1), 0.0)
    return torch.where(ended.unsqueeze(-1), certain, after)
