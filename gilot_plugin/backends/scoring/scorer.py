"""Scoring for runtimes that give logits: all that they lack of a scorer."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, cast

from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scorer import Query, ReadTokens, Room, Scored
from gilot_plugin.backends.scoring.batching import BatchPlan, Size, in_batches
from gilot_plugin.backends.scoring.beam_search import beam_search, tokens_fed
from gilot_plugin.backends.scoring.distributions import (
    Found,
    Reading,
    hypotheses_of,
    read_fixed,
    read_published,
    read_searched,
    tokens_after,
)
from gilot_plugin.backends.scoring.greedy import greedy
from gilot_plugin.backends.scoring.reducing import DenseReference, reduce, reduced_bytes, to_host
from gilot_plugin.backends.scoring.sessions import Load, SessionRuntime
from gilot_plugin.backends.wanted import BeamSearch, FixedHypotheses, Hypotheses

#: Bytes of a searched hypothesis's token.
_TOKEN_BYTES = 8


@dataclass(eq=False)
class _Asked:
    """A query under way.

    Attributes:
        query: The query.
        number: Its place among the queries.
        reference: The full prompt's outcomes, once they are known.
        full: The full prompt.
        unread: Tokens of the full prompt that are read once for all rows, if that is yet to be done.
    """

    query: Query
    number: int
    reference: DenseReference | None
    full: Row
    unread: int = 0


class _Item(NamedTuple):
    """One row to be read: of a query, by its place there; -1 is the full prompt."""

    asked: _Asked
    place: int

    @property
    def row(self) -> Row:
        return self.asked.full if self.place < 0 else self.asked.query.rows[self.place]


class SessionScorer(SessionRuntime):
    """Scores with a runtime whose sessions give logits."""

    def reads(self, query: Query, row: Row) -> ReadTokens:
        """See :meth:`gilot_plugin.backends.scorer.Scorer.reads`."""
        load = self._load(query, row)
        return ReadTokens(load.known, load.own + load.room, load.together)

    def score(self, queries: Sequence[Query], room: Room) -> Iterator[Scored]:
        """See :meth:`gilot_plugin.backends.scorer.Scorer.score`."""
        every = [self._asked(query, number) for number, query in enumerate(queries)]
        items = [
            _Item(one, place)
            for one in every
            for place in range(-1 if one.reference is None else 0, len(one.query.rows))
        ]
        plan = BatchPlan.within(room, self.free_memory)
        # What was read of the other prompts stays in memory, too.
        known = [self.memory(self._load(one.query, one.full)).fixed for one in every]
        plan.reserve(room.reserved + sum(known) - max(known, default=0))
        for _, alike in groupby(items, key=self._kind):
            some = list(alike)
            sizes = [self._size(item) for item in some]
            for batch, found in in_batches(some, sizes, lambda batch: self._compute(batch, plan), plan):
                del batch
                yield from found

    def search(
        self, rows: Sequence[Row], search: BeamSearch, room: Room, beside: Row | None = None
    ) -> Iterator[Mapping[Row, Hypotheses]]:
        """See :meth:`gilot_plugin.backends.scorer.Scorer.search`."""
        # The longest first: if memory does not suffice, that is known at once.
        ordered = sorted(dict.fromkeys(rows), key=lambda row: -len(row.token_ids))
        # What is scored after the prompt once hypotheses are known may need more.
        plan = BatchPlan.within(room, self.free_memory, "a search after one prompt")
        fed = tokens_fed(search)
        most = max(1, self.limits.fill_tokens // search.beams)
        sizes = [
            Size(
                self.memory(Load(0, len(row.token_ids), fed, search.beams, search.beams)),
                _TOKEN_BYTES * search.tokens * search.beams,
                most,
            )
            for row in ordered
        ]

        def found(batch: Sequence[Row]) -> list[Hypotheses]:
            along = [beside] * len(batch)
            if search.beams == 1:
                return greedy(self, batch, search.tokens, along)
            session = self.prefill(batch, fed, along)
            beams = beam_search(session, self.limits.eos_token_ids, search).beams
            return [hypotheses_of(beams, place) for place in range(len(batch))]

        for batch, hypotheses in in_batches(ordered, sizes, found, plan):
            yield dict(zip(batch, hypotheses, strict=True))

    def _asked(self, query: Query, number: int) -> _Asked:
        if isinstance(query.full, Row):
            return _Asked(query, number, None, query.full, self._load(query, query.full).known)
        reference = cast("DenseReference", query.full).within(query.want.nucleus)
        return _Asked(query, number, reference, _full(query))

    def _kind(self, item: _Item) -> Hashable:
        """Rows of one kind are read together."""
        query = item.asked.query
        if not self.reads_trees or query.rescored:
            return item.asked.number
        return "fixed" if isinstance(query.after, FixedHypotheses) else query.after

    def _load(self, query: Query, row: Row) -> Load:
        room, together, sequences = tokens_after(query.after, query.sequences)
        if not self.reads_trees:
            return Load(0, len(row.token_ids), room, together, sequences)
        full = _full(query)
        own = len(row.token_ids) - row.begins_like(full)
        return Load(len(full.token_ids) - 1, own, room, together, sequences)

    def _size(self, item: _Item) -> Size:
        query, vocab = item.asked.query, self.limits.vocab_size
        load = self._load(query, item.row)
        tokens = sum(map(len, query.sequences))
        result = reduced_bytes(vocab, 4 * vocab * len(query.after.depths), query.want.nucleus, self.device)
        most = max(1, self.pass_tokens // max(1, load.together))
        return Size(self.memory(load), result + _TOKEN_BYTES * tokens, most)

    def _compute(self, batch: Sequence[_Item], plan: BatchPlan) -> list[Scored]:
        """What is left of the outcomes of a batch, by query."""
        started, tokens = time.perf_counter(), self.model_tokens
        parts = [(asked, list(items)) for asked, items in groupby(batch, key=lambda item: item.asked)]
        found = self._read([_reading(asked, items) for asked, items in parts])
        references, reduced = [], []
        for (asked, _), (distributions, searched) in zip(parts, found, strict=True):
            want, reference = asked.query.want, asked.reference
            if reference is None:
                reference = DenseReference.of(distributions, want.nucleus, asked.full, searched)
                distributions = distributions.after(1)
            references.append(reference)
            reduced.append(reduce(distributions, reference, want))
        arriving = to_host(reduced)
        seconds, tokens = time.perf_counter() - started, self.model_tokens - tokens
        # What a batch took is shared out by what was to be read.
        loads = [asked.unread + sum(map(self._tokens, items)) for asked, items in parts]
        scored = []
        for (asked, items), reference, outcomes, load in zip(parts, references, arriving, loads, strict=True):
            asked.reference, asked.unread, share = reference, 0, load / sum(loads)
            places = [item.place for item in items if item.place >= 0]
            rows = range(places[0], places[-1] + 1) if places else range(0)
            read = round(tokens * share)
            cost = (read, seconds * share, len(batch), plan.out_of_memory)
            scored.append(Scored(asked.number, rows, reference, outcomes, *cost))
        return scored

    def _tokens(self, item: _Item) -> int:
        return self.reads(item.asked.query, item.row).own

    def _read(self, readings: Sequence[Reading]) -> list[Found]:
        first = readings[0]
        if isinstance(first.after, FixedHypotheses):
            return read_fixed(self, readings)
        if first.rescored:
            return [read_published(self, reading) for reading in readings]
        return read_searched(self, readings)


def _full(query: Query) -> Row:
    """The full prompt of a query."""
    if isinstance(query.full, Row):
        return query.full
    row = cast("DenseReference", query.full).row
    assert row is not None  # references that are given were made here
    return row


def _reading(asked: _Asked, items: Sequence[_Item]) -> Reading:
    query = asked.query
    rescored = [query.rescored[item.place + 1] for item in items] if query.rescored else []
    rows = [item.row for item in items]
    return Reading(rows, asked.full, query.after, query.sequences, query.want.logodds, rescored)
