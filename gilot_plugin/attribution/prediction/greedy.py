"""What the model answers to many prompts: greedy decoding in full batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from gilot_plugin.attribution.batching import BatchPlan, Execution, Size, in_batches
from gilot_plugin.backends.predictions import Predictions
from gilot_plugin.backends.protocol import Backend, Batch, Load, Row
from gilot_plugin.errors import NonFiniteLogitsError

#: Part of a batch's rows that must have ended before they leave it: what is left is copied then.
_ENDED_PART = 8


class Decoding(NamedTuple):
    """How answers are decoded.

    Attributes:
        max_new_tokens: Most tokens of an answer.
        execution: How the work is carried out.
    """

    max_new_tokens: int = 256
    execution: Execution = Execution()


def greedy_answers(
    backend: Backend, rows: Iterable[Row], decoding: Decoding
) -> Iterator[Mapping[Row, tuple[int, ...]]]:
    """The likeliest token each time, until an end.

    As transformers' ``generate(do_sample=False)`` answers each prompt by itself. Prompts of about the same
    length go together; those whose answers have ended leave the batch.

    Args:
        backend: The model.
        rows: The prompts; equal ones are answered once.
        decoding: How.

    Yields:
        For each batch, the tokens of the answers, the end of sequence included where there is one.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
        BudgetError: The memory budget is too small.
    """
    # The longest first: if memory does not suffice, that is known at once.
    ordered = sorted(dict.fromkeys(rows), key=lambda row: -len(row.token_ids))
    if not ordered:
        return
    room = decoding.max_new_tokens - 1
    plan = BatchPlan.beside(backend, decoding.execution)
    sizes = [
        Size(
            backend.memory(Load(0, len(row.token_ids), room, 1, 1)),
            8 * decoding.max_new_tokens,
            backend.fill_tokens,
        )
        for row in ordered
    ]

    def answer(batch: Sequence[Row]) -> list[tuple[int, ...]]:
        return _answer(backend, batch, decoding.max_new_tokens)

    for batch, answers in in_batches(ordered, sizes, answer, plan):
        yield dict(zip(batch, answers, strict=True))


def _answer(backend: Backend, rows: Sequence[Row], max_new_tokens: int) -> list[tuple[int, ...]]:
    session = backend.prefill(Batch(rows), max_new_tokens - 1)
    ends = torch.tensor(backend.eos_token_ids, dtype=torch.long, device=backend.device)
    tokens = torch.zeros(len(rows), max_new_tokens, dtype=torch.long, device=backend.device)
    lengths = torch.zeros(len(rows), dtype=torch.long, device=backend.device)
    # Of the rows that are in the session: which they are, and whether their answers go on.
    members = torch.arange(len(rows), device=backend.device)
    running = torch.ones_like(members, dtype=torch.bool)
    predictions = session.prompt
    for step in range(max_new_tokens):
        likeliest = _likeliest(predictions)
        tokens[members, step] = likeliest
        lengths[members[running]] = step + 1
        running = running & ~torch.isin(likeliest, ends)
        left = int(running.sum())
        if not left or step + 1 == max_new_tokens:
            break
        if len(members) - left >= max(1, len(members) // _ENDED_PART):
            kept = running.nonzero()[:, 0]
            session.keep(kept)
            members, likeliest, running = members[kept], likeliest[kept], running[kept]
        predictions = session.advance(torch.zeros_like(likeliest)[:, None], likeliest[:, None])
    return [tuple(row[:length]) for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True)]


def _likeliest(predictions: Predictions) -> torch.Tensor:
    """The likeliest next token at each place."""
    found = []
    for _, logits in predictions.parts():
        if not torch.isfinite(logits.amax(dim=1)).all():
            raise NonFiniteLogitsError("the model returned NaN or infinite logits")
        found.append(logits.argmax(dim=1))
    return torch.cat(found)
