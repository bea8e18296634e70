"""What is to be read of a row, and what was told of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from gilot_plugin.backends._vllm.engine import Read, Reading
from gilot_plugin.backends._vllm.told import FloatArray, Told
from gilot_plugin.backends.wanted import TokenIds

#: From so many tokens of a sequence on for each wanted distribution, one request a distribution is cheaper
#: than one for all: whatever is asked of a sequence is answered for all of its tokens.
TOKENS_PER_DISTRIBUTION = 40


@dataclass(slots=True)
class RowTold:
    """What was told of a row.

    Attributes:
        after: What comes after it and some tokens, by these.
        logprobs: Of each token of a sequence after the row, in nats, by the sequence, ``[its length]``.
        model_tokens: Tokens that were read for it.
    """

    after: dict[TokenIds, Told] = field(default_factory=dict)
    logprobs: dict[TokenIds, FloatArray] = field(default_factory=dict)
    model_tokens: int = 0

    def logprob(self, beginning: TokenIds) -> float:
        """Log-probability of what a sequence begins with, in nats."""
        length = len(beginning)
        known = next(found for sequence, found in self.logprobs.items() if sequence[:length] == beginning)
        return float(known[:length].sum())


@dataclass(frozen=True, slots=True)
class RowReads:
    """How a row is read.

    Attributes:
        context: Length of the row.
        reads: The sequences.
        after: For each of them, how many tokens after the row distributions are wanted.
        sequences: For each of them, those whose tokens' log-probabilities it gives.
    """

    context: int
    reads: tuple[Read, ...]
    after: tuple[tuple[int, ...], ...]
    sequences: tuple[tuple[TokenIds, ...], ...]

    @classmethod
    def of(
        cls,
        row: TokenIds,
        prefixes: Collection[TokenIds],
        sequences: Collection[TokenIds],
        tokens: int,
    ) -> RowReads:
        """Plan how to read a row.

        Args:
            row: The row.
            prefixes: After which tokens that follow it distributions are wanted.
            sequences: Whose tokens' log-probabilities are wanted; none is empty.
            tokens: How many likeliest tokens of a distribution are wanted.
        """
        context, asked = len(row), dict.fromkeys(prefixes)
        apart = bool(asked) and len(asked) * TOKENS_PER_DISTRIBUTION <= context
        paths = _longest([*sequences, *(() if apart else asked)])
        reads, after, scored = [], [], []
        for path in paths:
            inside = () if apart else tuple(sorted({len(p) for p in asked if p == path[: len(p)]}))
            for depth in inside:
                del asked[path[:depth]]
            own = tuple(sequence for sequence in sequences if sequence == path[: len(sequence)])
            before_end = [depth for depth in inside if depth < len(path)]
            first = 0 if own else min(before_end, default=len(path))
            reads.append(
                Read(
                    (*row, *path),
                    context + first,
                    tokens if before_end else 0,
                    tokens if len(path) in inside else 0,
                )
            )
            after.append(inside)
            scored.append(own)
        for prefix in asked:
            reads.append(Read((*row, *prefix), context + len(prefix), following=tokens))
            after.append((len(prefix),))
            scored.append(())
        return cls(context, tuple(reads), tuple(after), tuple(scored))

    def told(self, readings: Sequence[Reading]) -> RowTold:
        """What the readings say, one a read."""
        found = RowTold()
        for read, reading, depths, sequences in zip(
            self.reads, readings, self.after, self.sequences, strict=True
        ):
            path, offset = read.token_ids[self.context :], read.start - self.context
            for depth in depths:
                if depth < len(path):
                    found.after[path[:depth]] = reading.told[depth - offset]
                elif reading.following is not None:
                    found.after[path] = reading.following
            for sequence in sequences:
                found.logprobs[sequence] = reading.logprobs[: len(sequence)]
            found.model_tokens += reading.model_tokens
        return found


def _longest(paths: Sequence[TokenIds]) -> list[TokenIds]:
    """Those that no other one begins with."""
    ordered = sorted(dict.fromkeys(paths))
    return [
        path
        for place, path in enumerate(ordered)
        if place + 1 == len(ordered) or ordered[place + 1][: len(path)] != path
    ]
