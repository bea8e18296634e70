"""The likeliest token each time, until an end."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scoring.predictions import Predictions
from gilot_plugin.backends.scoring.sessions import SessionRuntime
from gilot_plugin.backends.wanted import Continuation, Hypotheses
from gilot_plugin.errors import NonFiniteLogitsError

#: Part of a batch's rows that must have ended before they leave it: what is left is copied then.
_ENDED_PART = 8


def greedy(
    runtime: SessionRuntime, rows: Sequence[Row], tokens: int, beside: Sequence[Row | None]
) -> list[Hypotheses]:
    """One hypothesis a row, as transformers' ``generate(do_sample=False)`` answers each prompt by itself.

    Rows whose answers have ended leave the batch.

    Args:
        runtime: Reads the rows.
        rows: The prompts.
        tokens: Most tokens of an answer.
        beside: See :meth:`gilot_plugin.backends.scoring.sessions.SessionRuntime.prefill`.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    session, device = runtime.prefill(rows, tokens - 1, beside), runtime.device
    ends = torch.tensor(runtime.limits.eos_token_ids, dtype=torch.long, device=device)
    chosen = torch.zeros(len(rows), tokens, dtype=torch.long, device=device)
    lengths = torch.zeros(len(rows), dtype=torch.long, device=device)
    logprobs = torch.zeros(len(rows), device=device)
    # Of the rows that are in the session: which they are, and whether their answers go on.
    members = torch.arange(len(rows), device=device)
    running = torch.ones_like(members, dtype=torch.bool)
    ended = torch.zeros_like(running)
    predictions = session.prompt
    for step in range(tokens):
        likeliest, gained = _likeliest(predictions)
        chosen[members, step] = likeliest
        lengths[members[running]] = step + 1
        logprobs[members[running]] += gained[running]
        closes = running & torch.isin(likeliest, ends)
        ended[members[closes]] = True
        running = running & ~closes
        left = int(running.sum())
        if not left or step + 1 == tokens:
            break
        if len(members) - left >= max(1, len(members) // _ENDED_PART):
            kept = running.nonzero()[:, 0]
            session.keep(kept)
            members, likeliest, running = members[kept], likeliest[kept], running[kept]
        predictions = session.advance(torch.zeros_like(likeliest)[:, None], likeliest[:, None])
    columns = zip(chosen.tolist(), lengths.tolist(), ended.tolist(), logprobs.tolist(), strict=True)
    return [
        Hypotheses((Continuation(tuple(row[:length]), over),), (logprob,))
        for row, length, over, logprob in columns
    ]


def _likeliest(predictions: Predictions) -> tuple[torch.Tensor, torch.Tensor]:
    """The likeliest next token at each place, and its log-probability."""
    tokens, logprobs = [], []
    for _, logits in predictions.parts():
        largest, places = logits.max(dim=1)
        if not torch.isfinite(largest).all():
            raise NonFiniteLogitsError("the model returned NaN or infinite logits")
        tokens.append(places)
        logprobs.append(largest - logits.logsumexp(dim=1))
    return torch.cat(tokens), torch.cat(logprobs)
