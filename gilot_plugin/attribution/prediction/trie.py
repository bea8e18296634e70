"""Continuations as a trie: what several of them begin with is fed to the model once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import torch

from gilot_plugin.attribution.logprobs import accurate, finite_log_softmax, log_odds
from gilot_plugin.backends.protocol import DecodingSession, TokenTree

#: A node of the trie: the tokens from the prompt's end up to it.
Prefix = tuple[int, ...]


class Trie:
    """Continuations of a prompt whose log-probabilities are wanted.

    Args:
        fed: Continuations that the model reads; may be empty, and each other's beginnings.
        predicted: Continuations whose last token is only predicted. What comes before it is read, too.

    Attributes:
        prefixes: Nodes that are read, in the order of their depths.
    """

    def __init__(self, fed: Sequence[Prefix], predicted: Sequence[Prefix] = ()) -> None:
        read = [*fed, *(known[:-1] for known in predicted)]
        beginnings = {known[:depth] for known in read for depth in range(1, len(known) + 1)}
        self.prefixes = tuple(sorted(beginnings, key=lambda prefix: (len(prefix), prefix)))
        ends = dict.fromkeys(known for known in predicted if known not in beginnings and known)
        #: Tokens whose log-probability is read: the nodes, then those that are only predicted.
        self.edges: tuple[Prefix, ...] = (*self.prefixes, *ends)
        self._columns = {prefix: column for column, prefix in enumerate(((), *self.edges))}

    def column(self, prefix: Prefix) -> int:
        """Where :attr:`TriePass.logprobs` has a continuation."""
        return self._columns[prefix]

    @cached_property
    def tree(self) -> TokenTree:
        """What is fed to the model."""
        parents = tuple(self.column(prefix[:-1]) - 1 for prefix in self.prefixes)
        return TokenTree(tuple(prefix[-1] for prefix in self.prefixes), parents)


class Visit(NamedTuple):
    """Nodes of the same depth that the model has read.

    Attributes:
        rows: ``[places]``, the row of each.
        columns: ``[places]``, where the node is among :attr:`TriePass.logprobs`.
        following: ``[places, vocab]``, log-probability of each token after it.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    following: torch.Tensor


class AnswerReading(NamedTuple):
    """How likely answers are, token by token.

    Attributes:
        logprobs: ``[rows, tokens]``, log-probability of each token of the row's answer given what is before
            it, in nats; 0 past its end.
        logodds: ``[rows, tokens]``, log-odds of each against all other tokens, in nats; 0 past its end. None
            if they were not asked for.
    """

    logprobs: torch.Tensor
    logodds: torch.Tensor | None

    def of(self, rows: slice, tokens: int) -> AnswerReading:
        """Those of some rows, whose answers have so many tokens."""
        part = (rows, slice(0, tokens))
        return AnswerReading(self.logprobs[part], None if self.logodds is None else self.logodds[part])


class TriePass:
    """Tries as a model reads them after each prompt of a batch.

    Args:
        session: The prompts.
        tries: One a row; the same for all where the backend's prompts share nothing.
        device: Where the logits are.
        odds_along: For each row, a continuation the log-odds of whose tokens are wanted; None for none.

    Attributes:
        logprobs: ``[rows, 1 + edges]``, log-probability of each continuation given the prompt, in nats, the
            empty one first; known once the node before it was visited.
        steps: The same of the last token alone, given what is before it.
    """

    def __init__(
        self,
        session: DecodingSession,
        tries: Sequence[Trie],
        device: torch.device,
        odds_along: Sequence[Prefix] | None = None,
    ) -> None:
        self._session, self._tries = session, tries
        most = max(len(trie.edges) for trie in tries)
        columns = {trie: [trie.column(prefix[:-1]) for prefix in trie.edges] for trie in set(tries)}
        tokens = [[prefix[-1] for prefix in trie.edges] for trie in tries]
        #: ``[rows, edges]``, column before each edge, -1 where there is none, and its token.
        self._parents, self._tokens = (
            torch.tensor(
                [[*row, *(-1,) * (most - len(row))] for row in rows], dtype=torch.long, device=device
            )
            for rows in ([columns[trie] for trie in tries], tokens)
        )
        self.logprobs = torch.zeros(len(tries), 1 + most, device=device)
        self.steps = torch.zeros_like(self.logprobs)
        self._with_odds: torch.Tensor | None = None
        if odds_along is not None:
            self._odds = torch.zeros_like(self.logprobs, dtype=accurate(device))
            #: ``[rows, 1 + edges]``, whether log-odds are wanted.
            self._with_odds = torch.zeros_like(self.logprobs, dtype=torch.bool)
            self._with_odds.scatter_(1, self._columns_along(odds_along), True)

    def visits(self) -> Iterator[Visit]:
        """Read everything once, a few nodes at a time: the prompts, then depth by depth.

        When nodes are visited, the log-probabilities of all continuations up to their depth are known.

        Raises:
            NonFiniteLogitsError: The model returned NaN.
        """
        for rows, nodes, predictions in self._session.read_trees([trie.tree for trie in self._tries]):
            columns = nodes + 1
            places = torch.full(self.logprobs.shape, -1, device=rows.device)
            places[rows, columns] = torch.arange(len(rows), device=rows.device)
            # Which place each edge starts from, if one of this level.
            starts = places.gather(1, self._parents.clamp(min=0)).masked_fill(self._parents < 0, -1)
            for part, logits in predictions.parts():
                following = finite_log_softmax(logits)
                row, edge = ((starts >= part.start) & (starts < part.stop)).nonzero(as_tuple=True)
                read = following[starts[row, edge] - part.start, self._tokens[row, edge]]
                self.steps[row, edge + 1] = read
                self.logprobs[row, edge + 1] = self.logprobs[row, self._parents[row, edge]] + read
                if self._with_odds is not None:
                    asked = self._with_odds[row, edge + 1]
                    row, edge = row[asked], edge[asked]
                    place = starts[row, edge] - part.start
                    self._odds[row, edge + 1] = log_odds(following[place], self._tokens[row, edge])
                yield Visit(rows[part], columns[part], following)

    def along(self, answers: Sequence[Prefix]) -> AnswerReading:
        """How likely a continuation of each row is, token by token, when all was read."""
        columns = self._columns_along(answers)
        return AnswerReading(
            self.steps.gather(1, columns),
            None if self._with_odds is None else self._odds.gather(1, columns),
        )

    def totals(self, sequences: Sequence[Sequence[Prefix]]) -> torch.Tensor:
        """Log-probability of each sequence of each row, ``[rows, sequences]``, in nats, when all was read."""
        columns = [
            [trie.column(one) for one in row] for trie, row in zip(self._tries, sequences, strict=True)
        ]
        return self.logprobs.gather(1, torch.tensor(columns, device=self.logprobs.device))

    def _columns_along(self, answers: Sequence[Prefix]) -> torch.Tensor:
        """``[rows, tokens]``, where the beginnings of continuations are; 0 past their ends."""
        longest = max(map(len, answers))
        columns = [
            [
                *(trie.column(answer[: depth + 1]) for depth in range(len(answer))),
                *(0,) * (longest - len(answer)),
            ]
            for trie, answer in zip(self._tries, answers, strict=True)
        ]
        return torch.tensor(columns, dtype=torch.long, device=self.logprobs.device)


def sequences_read(
    session: DecodingSession,
    sequences: Sequence[Sequence[Prefix]],
    device: torch.device,
    odds_along: Sequence[Prefix] | None = None,
) -> TriePass:
    """Read sequences after each prompt; last tokens are predicted, but not fed.

    Args:
        session: The prompts.
        sequences: For each row, as many; an empty one is certain.
        device: Where the logits are.
        odds_along: See :class:`TriePass`; one of the row's sequences each.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    known: dict[tuple[Prefix, ...], Trie] = {}
    tries = [known.setdefault(tuple(row), Trie((), [one for one in row if one])) for row in sequences]
    reading = TriePass(session, tries, device, odds_along)
    for _ in reading.visits():
        pass
    return reading


def answer_logprobs(
    session: DecodingSession, answers: Sequence[Prefix], device: torch.device, *, odds: bool
) -> AnswerReading:
    """How likely an answer is after each prompt, token by token; its last one is predicted, but not fed.

    Args:
        session: The prompts.
        answers: One a row; an empty one is certain.
        device: Where the logits are.
        odds: Whether log-odds are wanted, too.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    alone = [[answer] for answer in answers]
    return sequences_read(session, alone, device, answers if odds else None).along(answers)


def node_count(continuations: Sequence[Prefix]) -> int:
    """Number of nodes of the trie, the prompt not counted: tokens that are fed after each prompt."""
    return len(Trie(continuations).prefixes)
