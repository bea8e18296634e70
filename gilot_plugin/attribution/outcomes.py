"""Outcome distributions: what the model would say after J tokens, over all likely continuations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from gilot_plugin.attribution.hypotheses import Hypotheses, beam_search
from gilot_plugin.attribution.logprobs import finite_log_softmax
from gilot_plugin.attribution.trie import Prefix, walk
from gilot_plugin.backends.protocol import Backend, Row

#: The published code's padding id: it counts a token of this id as certain.
_PUBLISHED_PAD_ID = 0


class Continuation(NamedTuple):
    """A text that the model may say after the prompt.

    Attributes:
        token_ids: Its tokens, with the end-of-sequence token if it ends.
        ended: Whether it ends with one.
    """

    token_ids: Prefix
    ended: bool


def mixture(weights: torch.Tensor, next_logprobs: torch.Tensor) -> torch.Tensor:
    """Mix the distributions after each hypothesis by the hypotheses' probabilities.

    P(v | x) = sum_k w_k p(v | x, y_k) / sum_k w_k (GiLOT, section 3.2).

    Args:
        weights: log w_k, ``[rows, beams]``; ``-inf`` for a hypothesis that does not exist.
        next_logprobs: ``[rows, beams, vocab]``.

    Returns:
        log P, ``[rows, vocab]``.
    """
    shares = weights.log_softmax(dim=1)
    return (next_logprobs + shares.unsqueeze(-1)).logsumexp(dim=1)


def regenerated_outcomes(
    backend: Backend, rows: Sequence[Row], num_beams: int, max_new_tokens: int, every_step: bool = False
) -> tuple[torch.Tensor, Hypotheses]:
    """Search each row's own hypotheses and mix what follows them.

    The outcome after j < J tokens mixes over what the hypotheses begin with, each beginning once.

    Returns:
        log P(v | x) after J tokens, or after 1, ..., J tokens if every step is asked for, ``[rows, steps,
        vocab]``, and the hypotheses.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    found = beam_search(backend, rows, num_beams, max_new_tokens, every_step)
    return torch.stack([mixture(*step) for step in found.steps], dim=1), found.hypotheses


def shared_outcomes(
    backend: Backend,
    rows: Sequence[Row],
    hypotheses: Sequence[Continuation],
    depths: Sequence[int],
    answer: Prefix | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Score the same hypotheses under every row, as a trie whose nodes are read once, and mix what follows.

    Args:
        backend: The model.
        rows: The prompts.
        hypotheses: Different continuations; those that have not ended are as long as the largest depth.
        depths: Numbers of tokens after which the outcomes are wanted.
        answer: A continuation whose own log-probability is wanted as well.

    Returns:
        log P(v | x) after each depth, ``[rows, depths, vocab]``, and the log-probability of the answer,
        ``[rows]``, None without one.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    going_on = {
        known.token_ids[:depth] for known in hypotheses for depth in depths if not _over(known, depth)
    }
    ended = [known.token_ids for known in hypotheses if known.ended]
    fed = [known.token_ids[:-1] if known.ended else known.token_ids for known in hypotheses]
    read = [*ended, *([answer] if answer else [])]
    mixed: dict[int, _Mixing] = {}
    logprobs: dict[Prefix, torch.Tensor] = {}
    for node, logprob, following in walk(backend, rows, [*fed, *(known[:-1] for known in read)]):
        if not mixed:
            mixed = {depth: _Mixing(following) for depth in depths}
            logprobs[()] = logprob
        if node in going_on:
            mixed[len(node)].add(logprob, following)
        for known in read:
            if known[:-1] == node:
                logprobs[known] = logprob + following[:, known[-1]]
    for depth, outcome in mixed.items():
        for known in ended:
            if len(known) <= depth:
                certain = torch.full_like(outcome.sums, float("-inf"))
                certain[:, known[-1]] = 0.0
                outcome.add(logprobs[known], certain)
    outcomes = torch.stack([mixed[depth].sums.log_softmax(dim=1) for depth in depths], dim=1)
    return outcomes, None if answer is None else logprobs[answer]


class _Mixing:
    """A mixture that distributions are added to one by one.

    Weights count from the largest so far: sums of large logarithms would cost precision.

    Attributes:
        sums: ``[rows, vocab]``, logarithm of the weighted sum, but for a constant of each row.
    """

    def __init__(self, like: torch.Tensor) -> None:
        self.sums = torch.full_like(like, float("-inf"))
        self._largest = like.new_full((len(like), 1), float("-inf"))

    def add(self, weight: torch.Tensor, following: torch.Tensor) -> None:
        """Add a distribution, ``[rows, vocab]``, of log-weight ``[rows]``.

        An impossible one counts if all are: what follows it is the only answer there is.
        """
        weights = weight.unsqueeze(1).clamp(min=torch.finfo(weight.dtype).min)
        largest = torch.maximum(self._largest, weights)
        self.sums = torch.logaddexp(self.sums + (self._largest - largest), following + (weights - largest))
        self._largest = largest


def _over(hypothesis: Continuation, depth: int) -> bool:
    return hypothesis.ended and len(hypothesis.token_ids) <= depth


def rescored_outcomes(
    backend: Backend,
    search_rows: Sequence[Row],
    score_rows: Sequence[Row],
    num_beams: int,
    max_new_tokens: int,
) -> tuple[torch.Tensor, Hypotheses]:
    """Search under one set of rows and read probabilities in a second pass under another.

    The published code does so, and its quirks are kept. It asks ``generate`` to pad with id 0 and counts id 0
    as certain; but ``generate`` (transformers 5) takes 0 for "no padding id given" and pads with the
    end-of-sequence token, whose probability is then counted like any other's. The distribution is read at
    the last position even where the hypothesis ended earlier.

    Returns:
        log P(v | x), ``[rows, 1, vocab]``, and the hypotheses.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    hypotheses = beam_search(backend, search_rows, num_beams, max_new_tokens).hypotheses
    fill = backend.eos_token_ids[:1] or (_PUBLISHED_PAD_ID,)
    rows: list[torch.Tensor] = []
    for index, row in enumerate(score_rows):
        found = hypotheses.of_row(index)
        longest = max(map(len, found))
        padded = [tokens + fill * (longest - len(tokens)) for tokens in found]
        weights, lasts = [], []
        for tokens, logits in zip(
            padded, backend.continuation_logits([row] * len(found), padded), strict=True
        ):
            logprobs = finite_log_softmax(logits)
            ids = torch.tensor(tokens, dtype=torch.long, device=logprobs.device)
            read = logprobs[:-1].gather(1, ids.unsqueeze(1)).squeeze(1)
            weights.append(read.masked_fill(ids == _PUBLISHED_PAD_ID, 0.0).sum())
            lasts.append(logprobs[-1])
        rows.append(mixture(torch.stack(weights).unsqueeze(0), torch.stack(lasts).unsqueeze(0))[0])
    return torch.stack(rows).unsqueeze(1), hypotheses
