"""Outcome distributions: what the model would say after J tokens, over all likely continuations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gilot_plugin.attribution.hypotheses import Hypotheses, beam_search, finite_log_softmax, score_hypotheses
from gilot_plugin.backends.protocol import Backend, Row

#: The published code's padding id: it counts a token of this id as certain.
_PUBLISHED_PAD_ID = 0


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Outcome distributions of a batch of prompts.

    Attributes:
        logprobs: ``[rows, outcomes]``, log P(v | x) in nats, normalised.
        hypotheses: The hypotheses that each row was computed from, None where outcomes are choices.
    """

    logprobs: torch.Tensor
    hypotheses: Hypotheses | None = None


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
    backend: Backend, rows: Sequence[Row], num_beams: int, max_new_tokens: int
) -> Outcomes:
    """Search each row's own hypotheses and mix what follows them.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    found = beam_search(backend, rows, num_beams, max_new_tokens)
    return Outcomes(mixture(found.hypotheses.logprobs, found.next_logprobs), found.hypotheses)


def rescored_outcomes(
    backend: Backend,
    search_rows: Sequence[Row],
    score_rows: Sequence[Row],
    num_beams: int,
    max_new_tokens: int,
) -> Outcomes:
    """Search under one set of rows and read probabilities in a second pass under another.

    The published code does so, and its quirks are kept. It asks ``generate`` to pad with id 0 and counts id 0
    as certain; but ``generate`` (transformers 5) takes 0 for "no padding id given" and pads with the
    end-of-sequence token, whose probability is then counted like any other's. The distribution is read at
    the last position even where the hypothesis ended earlier.

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
    return Outcomes(torch.stack(rows), hypotheses)


def choice_outcomes(
    backend: Backend, rows: Sequence[Row], choices: Sequence[Sequence[int]]
) -> tuple[Outcomes, torch.Tensor]:
    """Distribution over the task's choices: softmax of their summed log-likelihoods.

    Args:
        backend: The model.
        rows: The prompts.
        choices: Token ids of each choice, the same under every row.

    Returns:
        The outcomes, ``[rows, choices]``, and the summed log-likelihoods they come from, in nats.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    logprobs = score_hypotheses(backend, rows, [[tuple(choice) for choice in choices]] * len(rows))
    return Outcomes(logprobs.log_softmax(dim=1)), logprobs
