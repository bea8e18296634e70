"""From what is wanted of a row to what is read of it, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gilot_plugin.backends._vllm.outcomes import RowOutcome
from gilot_plugin.backends._vllm.rows import RowReads, RowTold
from gilot_plugin.backends._vllm.search import Searched
from gilot_plugin.backends._vllm.told import FloatArray, Told, mixture
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scorer import Query
from gilot_plugin.backends.wanted import Continuation, TokenIds


def reads_of(
    row: Row,
    query: Query,
    depths: Sequence[int],
    continuations: Sequence[Continuation],
    tokens: int,
    searched: Searched | None,
) -> RowReads:
    """Plan how a row is read.

    Args:
        row: The row.
        query: What is wanted of it.
        depths: Numbers of tokens after which distributions are wanted.
        continuations: The hypotheses after it.
        tokens: How many likeliest tokens of a distribution are wanted.
        searched: What a search after it has told already.
    """
    sequences = {sequence for sequence in query.sequences if sequence}
    prefixes = {beginning for depth in depths for beginning in _beginnings(continuations, depth)} - set(
        searched.after if searched else ()
    )
    if query.want.logodds:
        prefixes |= {sequence[:depth] for sequence in sequences for depth in range(len(sequence))}
    if searched is None and depths and len(continuations) > 1:  # weights of what is mixed
        longest = max(depths)
        sequences |= {
            ids if ended else ids[:longest] for ids, ended in continuations if ids and (ended or longest)
        }
    return RowReads.of(row.token_ids, sorted(prefixes), sorted(sequences), tokens)


def outcome_of(
    query: Query,
    depths: Sequence[int],
    continuations: Sequence[Continuation],
    told: RowTold,
    searched: Searched | None,
) -> RowOutcome:
    """What was told of a row, as it is wanted; the arguments are those of :func:`reads_of`."""
    after = told.after if searched is None else searched.after | told.after

    def logprob(beginning: TokenIds) -> float:
        return told.logprob(beginning) if searched is None else searched.logprobs[beginning]

    def distribution(depth: int) -> Told:
        beginnings = _beginnings(continuations, depth)
        over = [ids for ids, ended in continuations if ended and len(ids) <= depth]
        parts = {**{ids: Told.certain(ids[-1]) for ids in over}, **{ids: after[ids] for ids in beginnings}}
        if len(parts) == 1:
            return next(iter(parts.values()))
        return mixture((part, logprob(ids)) for ids, part in parts.items())

    logprobs = _padded(query.sequences, told)
    return RowOutcome(
        tuple(distribution(depth) for depth in depths),
        logprobs,
        _logodds(query.sequences, logprobs, told) if query.want.logodds else None,
        told.model_tokens + (searched.model_tokens if searched is not None else 0),
        None if searched is None else searched.hypotheses,
    )


def _beginnings(continuations: Sequence[Continuation], depth: int) -> list[TokenIds]:
    """The different beginnings of so many tokens of the hypotheses that go on after them."""
    return list(
        dict.fromkeys(ids[:depth] for ids, ended in continuations if not (ended and len(ids) <= depth))
    )


def _padded(sequences: Sequence[TokenIds], told: RowTold) -> FloatArray:
    """Log-probabilities of the tokens of sequences, ``[sequences, longest]``; 0 beyond a sequence's end."""
    found = np.zeros((len(sequences), max(map(len, sequences), default=0)))
    for line, sequence in zip(found, sequences, strict=True):
        if sequence:
            line[: len(sequence)] = told.logprobs[sequence]
    return found


def _logodds(sequences: Sequence[TokenIds], logprobs: FloatArray, told: RowTold) -> FloatArray:
    """The same as log-odds against all other tokens."""
    found = np.zeros_like(logprobs)
    for line, sequence, values in zip(found, sequences, logprobs.tolist(), strict=True):
        for place, token_id in enumerate(sequence):
            line[place] = told.after[sequence[:place]].logodds(token_id, values[place])
    return found
