"""Token ids into vLLM's engine, the likeliest tokens out.

Distributions inside a sequence come as ``prompt_logprobs``. For these vLLM reads no cache unless told to, and
then the rows of tokens that it took from the cache are memory that nobody wrote. A sequence of which such
rows were wanted is sent again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from gilot_plugin.backends._vllm.told import FloatArray, Told
from gilot_plugin.errors import NonFiniteLogitsError

#: Host memory of one told token while vLLM's answer is alive: an id, a number and a rank as Python objects,
#: and the places of these and of its text in lists.
ENTRY_BYTES = 120


class Read(NamedTuple):
    """A sequence that the engine is to read.

    Attributes:
        token_ids: The sequence.
        start: The first token that is to be scored, 1 at least; those after it are, too. The length of the
            sequence for none.
        tokens: How many likeliest tokens of what each of these was drawn from are wanted.
        following: How many likeliest tokens after the whole sequence are wanted; 0 for none.
    """

    token_ids: tuple[int, ...]
    start: int
    tokens: int = 0
    following: int = 0

    @property
    def nbytes(self) -> int:
        """Host memory of the answer, which has entries for all tokens of the sequence."""
        rows = len(self.token_ids) if self.start < len(self.token_ids) else 0
        return ENTRY_BYTES * (rows * (self.tokens + 1) + self.following + 1)


class Reading(NamedTuple):
    """What the engine said of a sequence.

    Attributes:
        logprobs: Of each scored token given what is before it, in nats, ``[scored]``.
        told: What each of these was drawn from; empty where none were wanted.
        following: What comes after the sequence; None where it was not wanted.
        model_tokens: Tokens that were read, those from the cache not counted.
    """

    logprobs: FloatArray
    told: tuple[Told, ...]
    following: Told | None
    model_tokens: int


class Llm(Protocol):
    """What is used of ``vllm.LLM``."""

    @property
    def llm_engine(self) -> Any:
        """Knows the settings of the engine."""
        ...

    def generate(
        self, prompts: Any, sampling_params: Any = ..., *, use_tqdm: Any = ..., lora_request: Any = ...
    ) -> list[Any]:
        """Answers in the order of the prompts."""
        ...


class Engine:
    """A running vLLM engine.

    Args:
        llm: ``vllm.LLM``.
        vocab_size: Number of token ids.
        lora_request: The adapter that requests are sent with; None without.

    Attributes:
        model_tokens: Tokens that were read so far, those from the cache not counted.
        sent_again: Sequences that had to be read a second time.
    """

    def __init__(self, llm: Llm, vocab_size: int, lora_request: Any = None) -> None:
        self._llm, self._vocab_size, self._lora_request = llm, vocab_size, lora_request
        self.model_tokens = 0
        self.sent_again = 0

    def read(self, reads: Sequence[Read]) -> list[Reading]:
        """Read sequences; those that begin alike are better close to one another.

        Raises:
            NonFiniteLogitsError: The model returned NaN.
        """
        answers = self._ask(reads, cached=True) if reads else []
        found = [
            self._reading(read, answer) if _is_told(read, answer) else None
            for read, answer in zip(reads, answers, strict=True)
        ]
        del answers
        again = [place for place, reading in enumerate(found) if reading is None]
        if again:
            self.sent_again += len(again)
            repeated = [reads[place] for place in again]
            for place, answer in zip(again, self._ask(repeated, cached=False), strict=True):
                found[place] = self._reading(reads[place], answer)
        return [reading for reading in found if reading is not None]

    def _reading(self, read: Read, answer: Any) -> Reading:
        rows = [_row(answer.prompt_logprobs, place) for place in range(read.start, len(read.token_ids))]
        given = np.array([logprobs[0] for _, logprobs in rows], dtype=np.float64)
        _refuse_nan(given)
        told = tuple(self._told(*row) for row in rows) if read.tokens else ()
        following = self._told(*_row(answer.outputs[0].logprobs, 0)) if read.following else None
        return Reading(given, told, following, _read_tokens(answer))

    def _told(self, token_ids: Sequence[int], logprobs: Sequence[float]) -> Told:
        """Without the sequence's own token, which comes first and need not be one of the likeliest."""
        told = Told.of(token_ids[1:], logprobs[1:], self._vocab_size)
        _refuse_nan(told.logprobs)
        return told

    def _ask(self, reads: Sequence[Read], *, cached: bool) -> list[Any]:
        from vllm import SamplingParams  # loads for seconds, and may not be installed

        answers = self._llm.generate(
            [{"prompt_token_ids": list(read.token_ids)} for read in reads],
            [
                SamplingParams(
                    temperature=0.0,
                    max_tokens=1,
                    prompt_logprobs=read.tokens if read.start < len(read.token_ids) else None,
                    logprobs=read.following or None,
                    flat_logprobs=True,
                    detokenize=False,
                    skip_reading_prefix_cache=not cached,
                )
                for read in reads
            ],
            use_tqdm=False,
            lora_request=self._lora_request,
        )
        self.model_tokens += sum(map(_read_tokens, answers))
        return answers


def parts_of(reads: Sequence[Sequence[Read]], memory: int, most: int | None) -> Iterator[slice]:
    """Neighbouring groups of sequences whose answers fit the memory together.

    Args:
        reads: Groups of sequences that are read together, such as those of a row.
        memory: Host memory for the answers, in bytes; a group that needs more is alone.
        most: Groups at most; None for any number.
    """
    start, used = 0, 0
    for place, group in enumerate(reads):
        needed = sum(read.nbytes for read in group)
        if place > start and (used + needed > memory or place - start == most):
            yield slice(start, place)
            start, used = place, 0
        used += needed
    if start < len(reads):
        yield slice(start, len(reads))


def _refuse_nan(logprobs: FloatArray) -> None:
    if np.isnan(logprobs).any():
        raise NonFiniteLogitsError(
            "the model returned NaN; half precision that overflows is a common cause (try dtype=float32 or "
            "bfloat16)"
        )


def _read_tokens(answer: Any) -> int:
    return len(answer.prompt_token_ids) - (answer.num_cached_tokens or 0)


def _is_told(read: Read, answer: Any) -> bool:
    """Whether the wanted rows are there: the last cached token predicts one whose row was not written.

    Each row begins with the sequence's own token, which catches what the number of cached tokens does not
    tell.
    """
    if read.start >= len(read.token_ids):
        return True
    if answer.num_cached_tokens is None or read.start <= answer.num_cached_tokens:
        return False
    rows = answer.prompt_logprobs
    return all(
        rows.token_ids[rows.start_indices[place]] == read.token_ids[place]
        for place in range(read.start, len(read.token_ids))
    )


def _row(rows: Any, place: int) -> tuple[list[int], list[float]]:
    """Ids and log-probabilities of a row of ``FlatLogprobs``: the sequence's own token comes first."""
    part = slice(rows.start_indices[place], rows.end_indices[place])
    return rows.token_ids[part], rows.logprobs[part]
