"""vLLM as a runtime: the engine that scored the samples reads them without units, too.

It tells the likeliest tokens of a distribution, never all of them: what is computed of these, with all others
as one more outcome, is not what is computed of the whole vocabulary, and the limits say so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby, takewhile
from typing import Any, NamedTuple

import psutil

from gilot_plugin.backends._vllm.engine import Engine, Llm, Read, Reading, parts_of
from gilot_plugin.backends._vllm.limits import (
    DEFAULT_TOKENS,
    REFUSES_POSITIONS,
    TOLD_PER_TOKEN,
    limits_of,
    refuse,
)
from gilot_plugin.backends._vllm.outcomes import RowOutcome, ToldReference, outcomes_of
from gilot_plugin.backends._vllm.reading import outcome_of, reads_of
from gilot_plugin.backends._vllm.search import Searched, beam_search, candidates
from gilot_plugin.backends.cache_use import CacheUse
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scorer import EmbeddingTable, Query, ReadTokens, Room, Scored
from gilot_plugin.backends.wanted import BeamSearch, Continuation, FixedHypotheses, Hypotheses, TokenIds, Want

#: Host memory for what the engine answers at once, in bytes, where nothing else is said: it holds several
#: copies of that on the way.
ANSWER_BYTES = 2**28

#: Rows after which hypotheses are searched at once: their beams are read together.
_SEARCHED_ROWS = 64


class _Job(NamedTuple):
    """A row that is to be read.

    Attributes:
        query: What is wanted of it.
        row: The row.
        is_full: Whether it is the full prompt, whose distributions are wanted in any case.
    """

    query: Query
    row: Row
    is_full: bool = False

    @property
    def depths(self) -> tuple[int, ...]:
        """Numbers of tokens after which distributions are wanted."""
        want = self.query.want
        return self.query.after.depths if self.is_full or want.nucleus or want.reductions else ()


class _Part(NamedTuple):
    """Rows that were read together.

    Attributes:
        outcomes: What was told of each.
        seconds: Spent on them.
    """

    outcomes: list[RowOutcome]
    seconds: float


class VllmScorer:
    """A :class:`gilot_plugin.backends.scorer.Scorer` over a vLLM engine.

    Rows whose beginnings are the same come one after the other, after the full prompt: the engine takes what
    it has read before from its cache.

    Args:
        llm: ``vllm.LLM``, lm-eval's ``lm.model``.
        embeddings: Vectors of its tokens.
        eos_token_ids: Ids that end a sequence.
        lora_request: The adapter that requests are sent with; None without.

    Raises:
        UnsupportedModelError: The engine tells something else than log-probabilities of the model.

    Attributes:
        limits: What it can do.
        embeddings: As given.
    """

    def __init__(
        self,
        llm: Llm,
        embeddings: EmbeddingTable,
        eos_token_ids: Sequence[int] = (),
        lora_request: Any = None,
    ) -> None:
        self.limits = limits_of(llm, eos_token_ids)
        self.embeddings = embeddings
        self._engine = Engine(llm, self.limits.vocab_size, lora_request)
        self._caches = bool(llm.llm_engine.vllm_config.cache_config.enable_prefix_caching)

    @property
    def model_tokens(self) -> int:
        """See :attr:`gilot_plugin.backends.scorer.Scorer.model_tokens`."""
        return self._engine.model_tokens

    @property
    def refuses_positions(self) -> str | None:
        """See :attr:`gilot_plugin.backends.scorer.Scorer.refuses_positions`."""
        return REFUSES_POSITIONS

    @property
    def cache_use(self) -> CacheUse | None:
        """None: the engine keeps to itself what its cache holds."""
        return None

    def recomputes_at(self, tokens: int) -> str | None:
        """See :meth:`gilot_plugin.backends.scorer.Scorer.recomputes_at`."""
        return (
            None if self._caches else "the engine runs without prefix caching (enable_prefix_caching=False)"
        )

    def free_memory(self) -> int:
        """See :meth:`gilot_plugin.backends.scorer.Scorer.free_memory`: the embeddings are on the host."""
        return int(psutil.virtual_memory().available)

    def score(self, queries: Sequence[Query], room: Room) -> Iterator[Scored]:
        """See :meth:`gilot_plugin.backends.scorer.Scorer.score`."""
        refuse(queries, self.limits)
        references: dict[int, ToldReference] = {}
        unread: dict[int, Row] = {}
        for place, query in enumerate(queries):
            if isinstance(query.full, Row):
                unread[place] = query.full
            elif isinstance(query.full, ToldReference) and query.full.tells(query.want):
                references[place] = query.full
            else:
                assert isinstance(query.full, ToldReference)  # references come from the runtime itself
                unread[place] = query.full.row
        jobs = [_Job(queries[place], row, is_full=True) for place, row in unread.items()]
        waiting = iter(unread.items())
        for part in self._read(jobs, room):
            for outcome in part.outcomes:
                place, row = next(waiting)
                query = queries[place]
                references[place] = ToldReference(row, outcome, query.want.nucleus)
                yield Scored(
                    place,
                    range(0),
                    references[place],
                    partial(outcomes_of, (), references[place], query.want),
                    outcome.model_tokens,
                    part.seconds / len(part.outcomes),
                    len(part.outcomes),
                )
        yield from self._score_rows(queries, references, room)

    def _score_rows(
        self, queries: Sequence[Query], references: Mapping[int, ToldReference], room: Room
    ) -> Iterator[Scored]:
        places = [
            (place, row)
            for place, query in enumerate(queries)
            for row in reading_order(references[place].row, query.rows)
        ]
        jobs = [_Job(queries[place], queries[place].rows[row]) for place, row in places]
        waiting = iter(places)
        ready: list[dict[int, RowOutcome]] = [{} for _ in queries]
        handed_out = [0] * len(queries)
        for part in self._read(jobs, room):
            for outcome in part.outcomes:
                place, row = next(waiting)
                ready[place][row] = outcome
            for place, own in enumerate(ready):
                first = last = handed_out[place]
                while last in own:
                    last += 1
                if last == first:
                    continue
                rows = [own.pop(row) for row in range(first, last)]
                handed_out[place] = last
                yield Scored(
                    place,
                    range(first, last),
                    references[place],
                    partial(outcomes_of, rows, references[place], queries[place].want),
                    sum(row.model_tokens for row in rows),
                    part.seconds * len(rows) / len(part.outcomes),
                    len(part.outcomes),
                )

    def search(
        self, rows: Sequence[Row], search: BeamSearch, room: Room, beside: Row | None = None
    ) -> Iterator[Mapping[Row, Hypotheses]]:
        """See :meth:`gilot_plugin.backends.scorer.Scorer.search`; the engine's cache needs no telling."""
        refuse([Query(row, (), search) for row in rows], self.limits)
        distinct = list(dict.fromkeys(rows))
        for start in range(0, len(distinct), _SEARCHED_ROWS):
            some = distinct[start : start + _SEARCHED_ROWS]
            found = self._searched(some, search, 0, room)
            yield {row: own.hypotheses for row, own in zip(some, found, strict=True)}

    def reads(self, query: Query, row: Row) -> ReadTokens:
        """See :meth:`gilot_plugin.backends.scorer.Scorer.reads`."""
        full = query.full.row if isinstance(query.full, ToldReference) else query.full
        common = row.begins_like(full) if isinstance(full, Row) and self._caches else 0
        after = query.after
        if isinstance(after, BeamSearch):
            answer = after.beams * after.tokens
        else:
            answer = sum(len(one.token_ids) for one in after.hypotheses)
        own = len(row.token_ids) - common + max(answer, sum(map(len, query.sequences)))
        return ReadTokens(common, own, own)

    def _tokens(self, want: Want) -> int:
        """How many tokens of a distribution are asked for."""
        wanted = DEFAULT_TOKENS if want.nucleus is None else TOLD_PER_TOKEN * want.nucleus.top_k
        return min(wanted, self.limits.nucleus_size or wanted)

    def _read(self, jobs: Sequence[_Job], room: Room) -> Iterator[_Part]:
        """Read rows in their order, as many together as have room."""
        for after, group in groupby(jobs, key=lambda job: job.query.after):
            own = list(group)
            if isinstance(after, FixedHypotheses):
                yield from self._read_after(own, [after.hypotheses] * len(own), None, room)
                continue
            for start in range(0, len(own), _SEARCHED_ROWS):
                some = own[start : start + _SEARCHED_ROWS]
                # What comes after beams is told as far as the outcomes need it: it is not read again.
                tokens = max(self._tokens(job.query.want) if job.depths else 0 for job in some)
                found = self._searched([job.row for job in some], after, tokens, room)
                yield from self._read_after(
                    some, [one.hypotheses.continuations for one in found], found, room
                )

    def _searched(self, rows: Sequence[Row], search: BeamSearch, tokens: int, room: Room) -> list[Searched]:
        """Search hypotheses after rows.

        Args:
            rows: The rows.
            search: How.
            tokens: How many likeliest tokens after beams are wanted at least.
            room: How much may be read together.
        """
        eos = self.limits.eos_token_ids
        tokens = max(tokens, candidates(search.beams, len(eos)))

        def read(sequences: Sequence[TokenIds]) -> list[Reading]:
            reads = [(Read(ids, len(ids), following=tokens),) for ids in sequences]
            return [
                reading
                for part in parts_of(reads, _memory(room), None)
                for reading in self._engine.read([read for (read,) in reads[part]])
            ]

        return beam_search([row.token_ids for row in rows], search, eos, read)

    def _read_after(
        self,
        jobs: Sequence[_Job],
        continuations: Sequence[Sequence[Continuation]],
        searched: Sequence[Searched] | None,
        room: Room,
    ) -> Iterator[_Part]:
        """Read what comes after rows and tokens of hypotheses."""
        started = time.perf_counter()
        found: Sequence[Searched | None] = searched or [None] * len(jobs)
        plans = [
            reads_of(job.row, job.query, job.depths, own, self._tokens(job.query.want), known)
            for job, own, known in zip(jobs, continuations, found, strict=True)
        ]
        for part in parts_of([plan.reads for plan in plans], _memory(room), room.batch_size):
            readings = iter(self._engine.read([read for plan in plans[part] for read in plan.reads]))
            outcomes = []
            for job, plan, own, known in zip(
                jobs[part], plans[part], continuations[part], found[part], strict=True
            ):
                told = plan.told([next(readings) for _ in plan.reads])
                outcomes.append(outcome_of(job.query, job.depths, own, told, known))
            now = time.perf_counter()
            yield _Part(outcomes, now - started)
            started = time.perf_counter()


def reading_order(full: Row, rows: Sequence[Row]) -> list[int]:
    """Places of rows in an order in which those that begin alike are next to each other.

    What leaves the full prompt first comes first; rows that leave it at the same place are sorted. So the
    beginnings make a tree that is walked along the full prompt.
    """

    def key(place: int) -> tuple[int, TokenIds]:
        ids = rows[place].token_ids
        pairs = zip(ids, full.token_ids, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)), ids

    return sorted(range(len(rows)), key=key)


def _memory(room: Room) -> int:
    return ANSWER_BYTES if room.memory is None else min(ANSWER_BYTES, room.memory)
