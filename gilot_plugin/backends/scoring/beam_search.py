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

from gilot_plugin.backends.scoring.logprobs import finite_log_softmax
from gilot_plugin.backends.scoring.predictions import Predictions
from gilot_plugin.backends.scoring.sessions import DecodingSession
from gilot_plugin.backends.wanted import BeamSearch


@dataclass(frozen=True, slots=True)
class Beams:
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
        over: ``[rows, beams]``, whether the hypothesis has ended by then.
        after: What follows those tokens, ``rows * beams`` places; not to be read where the hypothesis has
            ended. None if all have.
    """

    weights: torch.Tensor
    over: torch.Tensor
    after: Predictions | None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hypotheses and what the model would say along them.

    Attributes:
        beams: The K hypotheses of each row.
        last_tokens: ``[rows, beams]``, the last token of each.
        steps: The outcome at each depth that was asked for.
    """

    beams: Beams
    last_tokens: torch.Tensor
    steps: tuple[StepOutcome, ...]


class _Slots:
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

    def best_with(self, other: _Slots) -> None:
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


def beam_search(session: DecodingSession, eos_token_ids: Sequence[int], search: BeamSearch) -> SearchResult:
    """Search the hypotheses of every row, all rows and beams in one batch a step.

    Args:
        session: The prompts; there must be room for :func:`tokens_fed` tokens after each.
        eos_token_ids: Ids that end a hypothesis.
        search: Size of the search, and the depths at which outcomes are wanted.

    Returns:
        The hypotheses of each row and the outcomes along them.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    num_beams, max_new_tokens = search.beams, search.tokens
    after = session.prompt
    rows, device = len(after), after.device
    eos = torch.tensor(eos_token_ids, dtype=torch.long, device=device)
    # As many candidates as leave num_beams open ones even if each beam's ends are all among them.
    candidates = max(2, 1 + len(eos)) * num_beams
    finished = _Slots(rows, num_beams, max_new_tokens, device)
    open_rows = torch.ones(rows, 1, dtype=torch.bool, device=device)
    running = _Slots(rows, 1, max_new_tokens, device)
    running.logprobs.fill_(0.0)
    passed: dict[int, tuple[torch.Tensor, Predictions]] = {}
    for step in range(max_new_tokens):
        if step in search.depths:
            passed[step] = running.logprobs, after
        logprobs, parents, tokens = _likeliest(running.logprobs, after, candidates)
        ended = torch.isin(tokens, eos)
        closes = ended if step + 1 < max_new_tokens else torch.ones_like(ended)
        may_close = closes & open_rows & (torch.arange(tokens.shape[1], device=device) < num_beams)

        reached = _Slots(rows, tokens.shape[1], max_new_tokens, device)
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
        after = session.advance(_take(parents, kept), _take(tokens, kept))
    beams = Beams(
        finished.tokens,
        finished.lengths,
        finished.logprobs.masked_fill(finished.scores == float("-inf"), float("-inf")),
        finished.ended,
    )
    last = finished.tokens.gather(2, (finished.lengths - 1).clamp(min=0).unsqueeze(-1)).squeeze(-1)
    # Where all rows were closed early, every hypothesis had ended by then.
    over = StepOutcome(beams.logprobs, beams.ended, None)
    steps = {
        depth: _along(*at_depth, finished.lineage[:, :, depth], beams, depth)
        for depth, at_depth in passed.items()
    }
    if max_new_tokens in search.depths and not bool(beams.ended.all()):
        # Ended hypotheses ride along on a parent that exists; what comes after them is not read.
        following = session.advance(finished.lineage[:, :, -1].masked_fill(beams.ended, 0), last)
        steps[max_new_tokens] = over._replace(after=following)
    return SearchResult(beams, last, tuple(steps.get(depth, over) for depth in search.depths))


def tokens_fed(search: BeamSearch) -> int:
    """Most tokens that a beam search feeds after each prompt.

    The last token of a hypothesis is read only for what comes after it.
    """
    return search.beams * (search.tokens if search.tokens in search.depths else search.tokens - 1)


def _likeliest(
    running: torch.Tensor, after: Predictions, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The likeliest continuations of each row by one token, best first.

    Args:
        running: ``[rows, beams]``, log-probability of each beam.
        after: What follows each, ``rows * beams`` places.
        count: How many are wanted, if there are as many.

    Returns:
        Their log-probabilities, the beams that they continue and their tokens, ``[rows, count]``.
    """
    rows, beams = running.shape
    found = [_largest(finite_log_softmax(logits), count) for _, logits in after.parts()]
    values, tokens = (torch.cat(columns).view(rows, beams, -1) for columns in zip(*found, strict=True))
    total = (running.unsqueeze(-1) + values).flatten(1)
    best, places = total.topk(min(count, total.shape[1]), dim=1)
    return best, places // tokens.shape[2], tokens.flatten(1).gather(1, places)


#: Entries of a distribution that are compared by their maximum first.
_CHUNK = 128


def _largest(logprobs: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest entries of each row and their places, ``[n, count]``, largest first.

    They lie in the chunks with the largest maxima; sorting whole vocabularies takes a CPU as long as a small
    model's head.
    """
    n, vocab = logprobs.shape
    count = min(count, vocab)
    chunks = vocab // _CHUNK
    if chunks <= count:
        top = logprobs.topk(count, dim=1)
        return top.values, top.indices
    whole = logprobs[:, : chunks * _CHUNK].view(n, chunks, _CHUNK)
    best = whole.amax(dim=2).topk(count, dim=1).indices
    offsets = torch.arange(_CHUNK, device=logprobs.device)
    places = (best.unsqueeze(2) * _CHUNK + offsets).flatten(1)
    rest = torch.arange(chunks * _CHUNK, vocab, device=logprobs.device).expand(n, -1)
    places = torch.cat((places, rest), dim=1)
    top = logprobs.gather(1, places).topk(count, dim=1)
    return top.values, places.gather(1, top.indices)


def _can_improve(finished_scores: torch.Tensor, best_running: torch.Tensor) -> torch.Tensor:
    """Whether a row has free slots, or a running beam better than its worst finished one, ``[rows, 1]``."""
    worst = finished_scores.min(dim=1, keepdim=True).values
    return (worst == float("-inf")) | (best_running > worst)


def _along(
    running: torch.Tensor, after: Predictions, ancestors: torch.Tensor, beams: Beams, depth: int
) -> StepOutcome:
    """The outcome after ``depth`` tokens of the hypotheses, from that of all beams that ran then.

    Args:
        running: ``[rows, beams]``, log-probability of the beams that ran.
        after: What followed each.
        ancestors: ``[rows, hypotheses]``, the beam that each hypothesis was then.
        beams: The hypotheses.
        depth: Number of tokens.
    """
    over = beams.ended & (beams.lengths <= depth)
    ancestors = ancestors.masked_fill(over, 0)
    same = ancestors.unsqueeze(2) == ancestors.unsqueeze(1)
    exists = beams.logprobs > float("-inf")
    runs = exists & ~over
    stands_for_both = same & runs.unsqueeze(1) & runs.unsqueeze(2)
    repeated = stands_for_both.tril(diagonal=-1).any(dim=2)
    weights = torch.where(over, beams.logprobs, running.gather(1, ancestors))
    weights = weights.masked_fill(repeated | ~exists, float("-inf"))
    rows, width = running.shape
    places = ancestors + torch.arange(rows, device=ancestors.device).unsqueeze(1) * width
    return StepOutcome(weights, over, after.at(places.flatten()))
