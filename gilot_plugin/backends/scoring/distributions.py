"""Distributions over what the model would say at positions of its answer, mixed over likely continuations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import torch

from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scoring.beam_search import Beams, StepOutcome, beam_search, tokens_fed
from gilot_plugin.backends.scoring.mixing import Mixture
from gilot_plugin.backends.scoring.sessions import DecodingSession, SessionRuntime
from gilot_plugin.backends.scoring.trie import SequenceReading, Trie, TriePass, Visit, read_sequences
from gilot_plugin.backends.wanted import BeamSearch, Continuation, FixedHypotheses, Hypotheses, TokenIds

#: The published code's padding id: it counts a token of this id as certain.
_PUBLISHED_PAD_ID = 0


@dataclass(frozen=True, slots=True)
class Distributions:
    """Of some rows of one query, where they were computed.

    Attributes:
        logprobs: log P(v | x) in nats, normalised, ``[rows, positions, outcomes]``.
        sequences: How likely the query's sequences are.
    """

    logprobs: torch.Tensor
    sequences: SequenceReading

    def first(self) -> Distributions:
        """A copy of those of the first row."""
        logprobs, logodds = self.sequences
        one = SequenceReading(logprobs[:1].clone(), None if logodds is None else logodds[:1].clone())
        return Distributions(self.logprobs[:1].clone(), one)

    def after(self, row: int) -> Distributions:
        """Those of the rows from one on."""
        logprobs, logodds = self.sequences
        some = SequenceReading(logprobs[row:], None if logodds is None else logodds[row:])
        return Distributions(self.logprobs[row:], some)


class Reading(NamedTuple):
    """Rows of one query that are read with others.

    Attributes:
        rows: The rows.
        beside: The full prompt.
        after: The hypotheses.
        sequences: Sequences whose tokens are of interest.
        odds: Whether their log-odds are.
        rescored: See :attr:`gilot_plugin.backends.scorer.Query.rescored`, one for each row.
    """

    rows: Sequence[Row]
    beside: Row
    after: FixedHypotheses | BeamSearch
    sequences: tuple[TokenIds, ...]
    odds: bool
    rescored: Sequence[Row] = ()


class Found(NamedTuple):
    """What was found after the rows of a reading.

    Attributes:
        distributions: The distributions.
        searched: The hypotheses of the first row, if they were searched.
    """

    distributions: Distributions
    searched: Hypotheses | None = None


@lru_cache(maxsize=64)
def trie_of(after: FixedHypotheses, sequences: tuple[TokenIds, ...]) -> Trie:
    """What is read of hypotheses and sequences."""
    ended = [known.token_ids for known in after.hypotheses if known.ended]
    last = max(after.depths, default=0)
    going_on = [known.token_ids[:last] for known in after.hypotheses if not known.ended]
    return Trie(going_on, ended, sequences)


def tokens_after(
    after: FixedHypotheses | BeamSearch, sequences: tuple[TokenIds, ...]
) -> tuple[int, int, int]:
    """Tokens that are fed after each row, those of them in one pass, and what is continued at once."""
    if isinstance(after, FixedHypotheses):
        nodes = len(trie_of(after, sequences).prefixes)
        return nodes, nodes, len(after.hypotheses) + len(sequences)
    answer = len(trie_of(FixedHypotheses(), sequences).prefixes)
    return tokens_fed(after) + answer, max(after.beams, answer), after.beams


def read_fixed(runtime: SessionRuntime, readings: Sequence[Reading]) -> list[Found]:
    """Score hypotheses that are given, each node of their tries once, and mix what follows.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    given, tries = [], []
    for reading in readings:
        assert isinstance(reading.after, FixedHypotheses)
        given += [reading.after] * len(reading.rows)
        tries += [trie_of(reading.after, reading.sequences)] * len(reading.rows)
    session = _opened(runtime, readings, max(len(trie.prefixes) for trie in tries))
    passed = TriePass(session, tries, runtime.device, _odds(readings))
    mixing = _FixedMixing(passed, tries, given, runtime)
    for visit in passed.visits():
        mixing.add(visit)
    return [Found(one) for one in _parts(readings, mixing.outcomes(), passed.read())]


def read_searched(runtime: SessionRuntime, readings: Sequence[Reading]) -> list[Found]:
    """Search each row's own hypotheses and mix what follows them.

    The outcome after j < J tokens mixes over what the hypotheses begin with, each beginning once.

    Args:
        runtime: Reads the rows.
        readings: With the same search.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    search = readings[0].after
    assert isinstance(search, BeamSearch)
    none = FixedHypotheses()
    tries = [trie_of(none, reading.sequences) for reading in readings for _ in reading.rows]
    longest = max(len(trie.prefixes) for trie in tries)
    session = _opened(runtime, readings, tokens_fed(search) + longest)
    found = beam_search(session, runtime.limits.eos_token_ids, search)
    logprobs = torch.stack([_mixed(step, found.last_tokens, runtime) for step in found.steps], dim=1)
    if any(reading.sequences for reading in readings) and not runtime.reads_trees:
        session = _opened(runtime, readings, longest)
    sequences = read_sequences(session, tries, runtime.device, _odds(readings))
    searched, start = [], 0
    for reading in readings:
        searched.append(hypotheses_of(found.beams, start))
        start += len(reading.rows)
    parts = _parts(readings, list(logprobs), sequences)
    return [Found(*one) for one in zip(parts, searched, strict=True)]


def hypotheses_of(beams: Beams, row: int) -> Hypotheses:
    """Hypotheses of a row that exist, and their log-probabilities."""
    exists = beams.logprobs[row] > float("-inf")
    ended, logprobs = beams.ended[row][exists].tolist(), beams.logprobs[row][exists].double().tolist()
    return Hypotheses(tuple(map(Continuation, beams.of_row(row), ended)), tuple(logprobs))


def _opened(runtime: SessionRuntime, readings: Sequence[Reading], room: int) -> DecodingSession:
    rows = [row for reading in readings for row in reading.rows]
    return runtime.prefill(rows, room, [reading.beside for reading in readings for _ in reading.rows])


def _odds(readings: Sequence[Reading]) -> list[bool]:
    return [reading.odds for reading in readings for _ in reading.rows]


def _parts(
    readings: Sequence[Reading], logprobs: Sequence[torch.Tensor], sequences: SequenceReading
) -> list[Distributions]:
    """Of each reading, from those of all rows, ``[positions, outcomes]`` each."""
    found, start = [], 0
    for reading in readings:
        rows = slice(start, start + len(reading.rows))
        of_sequences = sequences.of(rows, reading.sequences)
        if not reading.odds:
            of_sequences = of_sequences._replace(logodds=None)
        found.append(Distributions(torch.stack(list(logprobs[rows])), of_sequences))
        start = rows.stop
    return found


def _mixed(step: StepOutcome, last_tokens: torch.Tensor, runtime: SessionRuntime) -> torch.Tensor:
    """What is said after some tokens, ``[rows, vocab]``, in log-probabilities.

    All mass of a hypothesis that has ended stays on its last token.
    """
    shares = step.weights.softmax(dim=1)
    rows = torch.arange(len(shares), device=shares.device).unsqueeze(1).expand_as(shares)
    mixture = Mixture(len(shares), runtime.limits.vocab_size, shares.device)
    mixture.add_certain(rows[step.over], last_tokens[step.over], shares[step.over])
    read = ~step.over & (shares > 0.0)
    if step.after is not None:
        places = read.flatten().nonzero().squeeze(1)
        mixture.add_predictions(rows[read], step.after.at(places), shares[read])
    return mixture.logprobs()


def _members(given: FixedHypotheses, depth: int) -> tuple[list[TokenIds], list[TokenIds]]:
    """Beginnings of ``depth`` tokens that go on, and hypotheses that have ended by then."""
    going_on = dict.fromkeys(known.token_ids[:depth] for known in given.hypotheses if not _over(known, depth))
    return list(going_on), [known.token_ids for known in given.hypotheses if _over(known, depth)]


class _FixedMixing:
    """Mixtures of given hypotheses, one for each prompt and depth, as the tries are read."""

    def __init__(
        self,
        reading: TriePass,
        tries: Sequence[Trie],
        given: Sequence[FixedHypotheses],
        runtime: SessionRuntime,
    ) -> None:
        self._reading, self._counts = reading, [len(one.depths) for one in given]
        members = [
            (row, trie, *_members(one, depth))
            for row, (trie, one) in enumerate(zip(tries, given, strict=True))
            for depth in one.depths
        ]
        device = runtime.device
        self._mixture = Mixture(len(members), runtime.limits.vocab_size, device)
        most = max((len(going_on) + len(over) for _, _, going_on, over in members), default=0)
        columns = [
            [trie.column(prefix) for prefix in (*going_on, *over)] for _, trie, going_on, over in members
        ]
        #: ``[mixtures, members]``, columns of the reading's log-probabilities, -1 where there are fewer.
        filled = [[*row, *(-1,) * (most - len(row))] for row in columns]
        self._columns = torch.tensor(filled, dtype=torch.long, device=device).view(len(members), most)
        self._rows = torch.tensor([row for row, *_ in members], dtype=torch.long, device=device)
        #: ``[rows, columns]``, the mixture that what follows a node belongs to, -1 for none.
        self._mixture_of = torch.full(reading.logprobs.shape, -1, device=device)
        going_on_at = [
            (row, trie.column(prefix), number)
            for number, (row, trie, going_on, _) in enumerate(members)
            for prefix in going_on
        ]
        if going_on_at:
            at_rows, at_columns, numbers = torch.tensor(going_on_at, device=device).T
            self._mixture_of[at_rows, at_columns] = numbers
        self._certain = [
            (number, place, prefix[-1])
            for number, (_, _, going_on, over) in enumerate(members)
            for place, prefix in enumerate(over, start=len(going_on))
        ]

    def add(self, visit: Visit) -> None:
        """Add what follows some nodes."""
        mixtures = self._mixture_of[visit.rows, visit.columns]
        wanted = (mixtures >= 0).nonzero().squeeze(1)
        if len(wanted):
            mixtures = mixtures[wanted]
            is_node = self._columns[mixtures] == visit.columns[wanted].unsqueeze(1)
            shares = self._shares(mixtures)[is_node]
            following = visit.following if len(wanted) == len(visit.following) else visit.following[wanted]
            self._mixture.add(mixtures, following, shares)

    def outcomes(self) -> list[torch.Tensor]:
        """For each prompt log P(v | x) after each depth, ``[depths, vocab]``, when all was read."""
        if self._certain:
            numbers, places, tokens = torch.tensor(self._certain, device=self._columns.device).T
            self._mixture.add_certain(numbers, tokens, self._shares(numbers).gather(1, places[:, None])[:, 0])
        return list(torch.split(self._mixture.logprobs(), self._counts))

    def _shares(self, mixtures: torch.Tensor) -> torch.Tensor:
        """Shares of the members in some mixtures, ``[n, members]``.

        An impossible member counts if all are: what follows it is the only answer there is.
        """
        columns = self._columns[mixtures]
        weights = self._reading.logprobs[self._rows[mixtures].unsqueeze(1), columns.clamp(min=0)]
        weights = weights.clamp(min=torch.finfo(weights.dtype).min)
        return weights.masked_fill(columns < 0, float("-inf")).softmax(dim=1)


def _over(hypothesis: Continuation, depth: int) -> bool:
    return hypothesis.ended and len(hypothesis.token_ids) <= depth


def read_published(runtime: SessionRuntime, reading: Reading) -> Found:
    """Search after one set of rows and read probabilities in a second pass after another.

    The published code does so, and its quirks are kept. It asks ``generate`` to pad with id 0 and counts id 0
    as certain; but ``generate`` (transformers 5) takes 0 for "no padding id given" and pads with the
    end-of-sequence token, whose probability is then counted like any other's. The distribution is read at
    the last position even where the hypothesis ended earlier.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    search, eos = reading.after, runtime.limits.eos_token_ids
    assert isinstance(search, BeamSearch)
    session = _opened(runtime, [reading], tokens_fed(replace(search, depths=())))
    beams = beam_search(session, eos, replace(search, depths=())).beams
    fill = eos[:1] or (_PUBLISHED_PAD_ID,)
    found = []
    for index, row in enumerate(reading.rescored or reading.rows):
        searched = beams.of_row(index)
        longest = max(map(len, searched))
        padded = [tokens + fill * (longest - len(tokens)) for tokens in searched]
        # One row at a time: runtimes that read no trees read the same continuations after all.
        found.append(_rescored(runtime, row, reading.beside, padded))
    tries = [trie_of(FixedHypotheses(), reading.sequences)] * len(reading.rows)
    session = _opened(runtime, [reading], len(tries[0].prefixes))
    sequences = read_sequences(session, tries, runtime.device, _odds([reading]))
    (distributions,) = _parts([reading], [one[None] for one in found], sequences)
    return Found(distributions, hypotheses_of(beams, 0))


def _rescored(
    runtime: SessionRuntime, row: Row, beside: Row, continuations: Sequence[TokenIds]
) -> torch.Tensor:
    """Mix what follows continuations of a prompt, id 0 in them counting as certain, ``[vocab]``."""
    trie = Trie(continuations)
    passed = TriePass(runtime.prefill([row], len(trie.prefixes), [beside]), [trie], runtime.device, [False])
    last: dict[int, torch.Tensor] = {}
    wanted = {trie.column(known) for known in continuations}
    for visit in passed.visits():
        for column, following in zip(visit.columns.tolist(), visit.following, strict=True):
            if column in wanted:
                last[column] = following.clone()
    weights = []
    for known in continuations:
        counted = [
            trie.column(known[: depth + 1]) for depth, token in enumerate(known) if token != _PUBLISHED_PAD_ID
        ]
        weights.append(passed.steps[0, counted].sum())
    mixture = Mixture(1, runtime.limits.vocab_size, runtime.device)
    rows = torch.zeros(len(continuations), dtype=torch.long, device=runtime.device)
    following = torch.stack([last[trie.column(known)] for known in continuations])
    mixture.add(rows, following, torch.stack(weights).softmax(dim=0))
    return mixture.logprobs()[0]
