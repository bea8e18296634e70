"""Beam search over an engine that tells the likeliest tokens alone.

As transformers' ``generate(num_beams=K)`` does it (version 5: no early stopping, a length penalty of 1).
A beam is continued by some of its own ``(1 + ends) K`` likeliest tokens, and no more has to be told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gilot_plugin.backends._vllm.engine import Reading
from gilot_plugin.backends._vllm.told import Told
from gilot_plugin.backends.wanted import BeamSearch, Continuation, Hypotheses, TokenIds


class _Beam(NamedTuple):
    """A beginning of a hypothesis, or a whole one.

    Attributes:
        tokens: Its tokens.
        logprob: Of them, in nats.
        ended: Whether it closed with an end-of-sequence token.
    """

    tokens: TokenIds
    logprob: float
    ended: bool = False

    @property
    def score(self) -> float:
        """Log-probability a token."""
        return self.logprob / max(1, len(self.tokens))


@dataclass(slots=True)
class _Search:
    """The search after one row.

    Attributes:
        running: Beams that go on, likeliest first.
        finished: The best hypotheses so far, best first.
        after: What comes after each beam that ran, by its tokens.
        logprobs: Log-probability of each beam that ran, by its tokens.
        model_tokens: Tokens that were read.
    """

    running: list[_Beam] = field(default_factory=lambda: [_Beam((), 0.0)])
    finished: list[_Beam] = field(default_factory=list)
    after: dict[TokenIds, Told] = field(default_factory=dict)
    logprobs: dict[TokenIds, float] = field(default_factory=dict)
    model_tokens: int = 0

    def step(
        self, readings: Iterable[Reading], search: BeamSearch, eos: Sequence[int], *, last: bool
    ) -> None:
        """Continue all running beams by one token."""
        count = candidates(search.beams, len(eos))
        reached: list[_Beam] = []
        for beam, reading in zip(self.running, readings, strict=True):
            distribution = reading.following
            assert distribution is not None  # all that was asked for
            self.after[beam.tokens], self.logprobs[beam.tokens] = distribution, beam.logprob
            self.model_tokens += reading.model_tokens
            values = distribution.logprobs.tolist()
            likeliest = sorted(range(len(values)), key=lambda place: -values[place])[:count]
            ids = distribution.token_ids.tolist()
            reached += [
                _Beam((*beam.tokens, ids[place]), beam.logprob + values[place], ids[place] in eos)
                for place in likeliest
                if values[place] > float("-inf")
            ]
        reached = sorted(reached, key=lambda beam: -beam.logprob)[:count]
        closing = [beam for beam in reached[: search.beams] if last or beam.ended]
        best = sorted([*self.finished, *closing], key=lambda beam: -beam.score)
        self.finished = best[: search.beams]
        going_on = [beam for beam in reached if not beam.ended][: search.beams]
        improves = len(self.finished) < search.beams or (
            bool(going_on) and going_on[0].score > self.finished[-1].score
        )
        self.running = going_on if improves and not last else []


class Searched(NamedTuple):
    """What was found after a row.

    Attributes:
        hypotheses: The hypotheses.
        after: What comes after each beam that ran, by its tokens.
        logprobs: Log-probability of each beam that ran and of each hypothesis, in nats, by its tokens.
        model_tokens: Tokens that were read.
    """

    hypotheses: Hypotheses
    after: dict[TokenIds, Told]
    logprobs: dict[TokenIds, float]
    model_tokens: int


def candidates(beams: int, ends: int) -> int:
    """Likeliest tokens of a beam that take part: K open ones are left even if all ends are among them.

    Args:
        beams: K.
        ends: Ids that end a sequence.
    """
    return max(2, 1 + ends) * beams


def beam_search(
    rows: Sequence[TokenIds],
    search: BeamSearch,
    eos_token_ids: Sequence[int],
    read: Callable[[Sequence[TokenIds]], Sequence[Reading]],
) -> list[Searched]:
    """Search hypotheses after rows; the beams of all rows are read together, token by token.

    Args:
        rows: Token ids.
        search: How.
        eos_token_ids: Ids that end a hypothesis.
        read: What comes after sequences, in their order, :func:`candidates` tokens at least.
    """
    found = [_Search() for _ in rows]
    for step in range(search.tokens):
        asked = [(*row, *beam.tokens) for row, own in zip(rows, found, strict=True) for beam in own.running]
        if not asked:
            break
        readings = iter(read(asked))
        for own in found:
            if own.running:
                after = [next(readings) for _ in own.running]
                own.step(after, search, eos_token_ids, last=step + 1 == search.tokens)
    return [_searched(own) for own in found]


def _searched(own: _Search) -> Searched:
    hypotheses = Hypotheses(
        tuple(Continuation(beam.tokens, beam.ended) for beam in own.finished),
        tuple(beam.logprob for beam in own.finished),
    )
    whole = {beam.tokens: beam.logprob for beam in own.finished}
    return Searched(hypotheses, own.after, own.logprobs | whole, own.model_tokens)
