"""Outcome distributions: what the model would say at a position of its answer, over likely continuations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch

from gilot_plugin.attribution.prediction.hypotheses import Hypotheses, StepOutcome, beam_search, tokens_fed
from gilot_plugin.attribution.prediction.mixing import Mixture
from gilot_plugin.attribution.prediction.trie import (
    AnswerReading,
    Prefix,
    Trie,
    TriePass,
    Visit,
    answer_logprobs,
)
from gilot_plugin.backends.protocol import Backend, Batch

#: The published code's padding id: it counts a token of this id as certain.
_PUBLISHED_PAD_ID = 0


class Continuation(NamedTuple):
    """A text that the model may say after the prompt.

    Attributes:
        token_ids: Its tokens, with the end-of-sequence token if it ends.
        ended: Whether it ends with one.
    """

    token_ids: Prefix
    ended: bool


class Regenerated(NamedTuple):
    """Outcomes over the hypotheses of each row itself.

    Attributes:
        logprobs: log P(v | x) after J tokens, or at the positions 1, ..., J if they were asked for,
            ``[rows, steps, vocab]``.
        hypotheses: The hypotheses.
        answers: How likely each row's answer is; None where none was given.
    """

    logprobs: torch.Tensor
    hypotheses: Hypotheses
    answers: AnswerReading | None


def regenerated_outcomes(
    backend: Backend,
    batch: Batch,
    num_beams: int,
    max_new_tokens: int,
    outcomes: Literal["after", "along"] = "after",
    answers: Sequence[Prefix] | None = None,
    *,
    odds: bool = False,
) -> Regenerated:
    """Search each row's own hypotheses and mix what follows them.

    The outcome at position j + 1, after j < J tokens, mixes over what the hypotheses begin with, each
    beginning once.

    Args:
        backend: The model.
        batch: The prompts.
        num_beams: K.
        max_new_tokens: J.
        outcomes: Whether the outcome after J tokens is wanted, or those at the positions 1, ..., J.
        answers: For each row, a continuation whose own log-probability is wanted.
        odds: Whether its log-odds are, too.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    longest = 0 if answers is None else max(map(len, answers))
    session = backend.prefill(batch, tokens_fed(num_beams, max_new_tokens, outcomes) + longest)
    found = beam_search(session, backend.eos_token_ids, num_beams, max_new_tokens, outcomes)
    logprobs = torch.stack([_mixed(step, found.last_tokens, backend) for step in found.steps], dim=1)
    of_answers: AnswerReading | None = None
    if answers is not None:
        if not backend.shares_prompts:
            session = backend.prefill(batch, longest)
        of_answers = answer_logprobs(session, answers, logprobs.device, odds=odds)
    return Regenerated(logprobs, found.hypotheses, of_answers)


def _mixed(step: StepOutcome, last_tokens: torch.Tensor, backend: Backend) -> torch.Tensor:
    """What is said after some tokens, ``[rows, vocab]``, in log-probabilities.

    All mass of a hypothesis that has ended stays on its last token.
    """
    shares = step.weights.softmax(dim=1)
    rows = torch.arange(len(shares), device=shares.device).unsqueeze(1).expand_as(shares)
    mixture = Mixture(len(shares), backend.vocab_size, shares.device)
    mixture.add_certain(rows[step.over], last_tokens[step.over], shares[step.over])
    read = ~step.over & (shares > 0.0)
    if step.after is not None:
        places = read.flatten().nonzero().squeeze(1)
        mixture.add_predictions(rows[read], step.after.at(places), shares[read])
    return mixture.logprobs()


@dataclass(frozen=True, eq=False)
class FixedHypotheses:
    """Hypotheses that are the same whatever is absent from a prompt.

    Attributes:
        hypotheses: Different continuations; those that have not ended are as long as the largest depth at
            least.
        depths: Numbers of tokens after which the outcomes are wanted.
        answer: A continuation whose own log-probability is wanted as well.
    """

    hypotheses: tuple[Continuation, ...]
    depths: tuple[int, ...]
    answer: Prefix | None = None

    @cached_property
    def trie(self) -> Trie:
        """What is read of them."""
        ended = [known.token_ids for known in self.hypotheses if known.ended]
        last = max(self.depths)
        going_on = [known.token_ids[:last] for known in self.hypotheses if not known.ended]
        return Trie(going_on, [*ended, *([self.answer] if self.answer else [])])

    def members(self, depth: int) -> tuple[list[Prefix], list[Prefix]]:
        """Beginnings of ``depth`` tokens that go on, and hypotheses that have ended by then."""
        going_on = dict.fromkeys(
            known.token_ids[:depth] for known in self.hypotheses if not _over(known, depth)
        )
        return list(going_on), [known.token_ids for known in self.hypotheses if _over(known, depth)]


def fixed_outcomes(
    backend: Backend, batch: Batch, given: Sequence[FixedHypotheses], *, odds: bool = False
) -> tuple[list[torch.Tensor], AnswerReading]:
    """Score given hypotheses after each prompt, each node of their tries once, and mix what follows.

    Args:
        backend: The model.
        batch: The prompts.
        given: For each of them, its hypotheses.
        odds: Whether log-odds of the answers are wanted, too.

    Returns:
        For each prompt log P(v | x) after each depth, ``[depths, vocab]``, and how likely the answers are.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    session = backend.prefill(batch, max(len(one.trie.prefixes) for one in given))
    answers = [one.answer or () for one in given]
    tries = [one.trie for one in given]
    reading = TriePass(session, tries, backend.device, answers if odds else None)
    mixing = _FixedMixing(reading, given, backend)
    for visit in reading.visits():
        mixing.add(visit)
    return mixing.outcomes(), reading.along(answers)


class _FixedMixing:
    """Mixtures of given hypotheses, one for each prompt and depth, as the tries are read."""

    def __init__(self, reading: TriePass, given: Sequence[FixedHypotheses], backend: Backend) -> None:
        self._reading, self._counts = reading, [len(one.depths) for one in given]
        members = [
            (row, one.trie, *one.members(depth)) for row, one in enumerate(given) for depth in one.depths
        ]
        device = backend.device
        self._mixture = Mixture(len(members), backend.vocab_size, device)
        most = max(len(going_on) + len(over) for _, _, going_on, over in members)
        columns = [
            [trie.column(prefix) for prefix in (*going_on, *over)] for _, trie, going_on, over in members
        ]
        #: ``[mixtures, members]``, columns of the reading's log-probabilities, -1 where there are fewer.
        self._columns = torch.tensor([[*row, *(-1,) * (most - len(row))] for row in columns], device=device)
        self._rows = torch.tensor([row for row, *_ in members], device=device)
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


def rescored_outcomes(
    backend: Backend, search: Batch, score: Batch, num_beams: int, max_new_tokens: int
) -> tuple[torch.Tensor, Hypotheses]:
    """Search under one set of rows and read probabilities in a second pass under another.

    The published code does so, and its quirks are kept. It asks ``generate`` to pad with id 0 and counts id 0
    as certain; but ``generate`` (transformers 5) takes 0 for "no padding id given" and pads with the
    end-of-sequence token, whose probability is then counted like any other's. The distribution is read at
    the last position even where the hypothesis ended earlier.

    Returns:
        log P(v | x), ``[rows, 1, vocab]``, and the hypotheses.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    session = backend.prefill(search, tokens_fed(num_beams, max_new_tokens, "none"))
    hypotheses = beam_search(session, backend.eos_token_ids, num_beams, max_new_tokens, "none").hypotheses
    fill = backend.eos_token_ids[:1] or (_PUBLISHED_PAD_ID,)
    found = []
    for index, (row, known) in enumerate(zip(*score, strict=True)):
        searched = hypotheses.of_row(index)
        longest = max(map(len, searched))
        padded = [tokens + fill * (longest - len(tokens)) for tokens in searched]
        # One row at a time: backends whose prompts share nothing read the same continuations after all.
        found.append(_rescored(backend, Batch([row], [known]), padded))
    return torch.stack(found).unsqueeze(1), hypotheses


def _rescored(backend: Backend, batch: Batch, continuations: Sequence[Prefix]) -> torch.Tensor:
    """Mix what follows continuations of a prompt, id 0 in them counting as certain, ``[vocab]``."""
    trie = Trie(continuations)
    reading = TriePass(backend.prefill(batch, len(trie.prefixes)), [trie], backend.device)
    last: dict[int, torch.Tensor] = {}
    wanted = {trie.column(known) for known in continuations}
    for visit in reading.visits():
        for column, following in zip(visit.columns.tolist(), visit.following, strict=True):
            if column in wanted:
                last[column] = following.clone()
    weights = []
    for known in continuations:
        counted = [
            trie.column(known[: depth + 1]) for depth, token in enumerate(known) if token != _PUBLISHED_PAD_ID
        ]
        weights.append(reading.steps[0, counted].sum())
    mixture = Mixture(1, backend.vocab_size, backend.device)
    rows = torch.zeros(len(continuations), dtype=torch.long, device=backend.device)
    following = torch.stack([last[trie.column(known)] for known in continuations])
    mixture.add(rows, following, torch.stack(weights).softmax(dim=0))
    return mixture.logprobs()[0]
