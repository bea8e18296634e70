"""Continuations as a trie: what several of them begin with is fed to the model once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import torch

from gilot_plugin.backends.scoring.logprobs import accurate, finite_log_softmax, log_odds
from gilot_plugin.backends.scoring.sessions import DecodingSession, TokenTree
from gilot_plugin.backends.wanted import TokenIds


class Trie:
    """Continuations of a prompt whose log-probabilities are wanted.

    Args:
        fed: Continuations that the model reads; may be empty, and each other's beginnings.
        predicted: Continuations whose last token is only predicted. What comes before it is read, too.
        sequences: The same, of which every token is of interest.

    Attributes:
        prefixes: Nodes that are read, in the order of their depths.
    """

    def __init__(
        self, fed: Sequence[TokenIds], predicted: Sequence[TokenIds] = (), sequences: Sequence[TokenIds] = ()
    ) -> None:
        predicted = [*predicted, *sequences]
        read = [*fed, *(known[:-1] for known in predicted)]
        beginnings = {known[:depth] for known in read for depth in range(1, len(known) + 1)}
        self.prefixes = tuple(sorted(beginnings, key=lambda prefix: (len(prefix), prefix)))
        ends = dict.fromkeys(known for known in predicted if known not in beginnings and known)
        #: Tokens whose log-probability is read: the nodes, then those that are only predicted.
        self.edges: tuple[TokenIds, ...] = (*self.prefixes, *ends)
        self._columns = {prefix: column for column, prefix in enumerate(((), *self.edges))}
        #: For each sequence, the columns of its tokens.
        self.paths = tuple(
            tuple(self.column(known[: depth + 1]) for depth in range(len(known))) for known in sequences
        )

    def column(self, prefix: TokenIds) -> int:
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


class SequenceReading(NamedTuple):
    """How likely sequences are, token by token.

    Attributes:
        logprobs: ``[rows, sequences, longest]``, log-probability of each token given what is before it, in
            nats; 0 past the end of a sequence.
        logodds: The same of their log-odds against all other tokens together; None if nobody asked for them.
    """

    logprobs: torch.Tensor
    logodds: torch.Tensor | None

    def of(self, rows: slice, sequences: Sequence[TokenIds]) -> SequenceReading:
        """Those of some rows, which have these sequences."""
        part = (rows, slice(0, len(sequences)), slice(0, max(map(len, sequences), default=0)))
        return SequenceReading(self.logprobs[part], None if self.logodds is None else self.logodds[part])


class TriePass:
    """Tries as a model reads them after each prompt of a batch.

    Args:
        session: The prompts.
        tries: One a row; the same for all where the backend's prompts share nothing.
        device: Where the logits are.
        odds: Whether log-odds along the tries' sequences are wanted, for each row.

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
        odds: Sequence[bool],
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
        self._paths = _padded([trie.paths for trie in tries], device)
        self._odds: torch.Tensor | None = None
        if any(odds):
            self._odds = torch.zeros_like(self.logprobs, dtype=accurate(device))
            #: ``[rows, 1 + edges]``, whether log-odds are wanted.
            self._with_odds = torch.zeros_like(self.logprobs, dtype=torch.bool)
            wanted = torch.tensor(list(odds), device=device)[:, None].expand(-1, self._paths[0].numel())
            self._with_odds.scatter_(1, self._paths.flatten(1), wanted)

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
                if self._odds is not None:
                    asked = self._with_odds[row, edge + 1]
                    row, edge = row[asked], edge[asked]
                    place = starts[row, edge] - part.start
                    self._odds[row, edge + 1] = log_odds(following[place], self._tokens[row, edge])
                yield Visit(rows[part], columns[part], following)

    def read(self) -> SequenceReading:
        """How likely the sequences are, token by token, when all was visited."""
        flat, shape = self._paths.flatten(1), self._paths.shape
        odds = None if self._odds is None else self._odds.gather(1, flat).view(shape)
        return SequenceReading(self.steps.gather(1, flat).view(shape), odds)


def read_sequences(
    session: DecodingSession, tries: Sequence[Trie], device: torch.device, odds: Sequence[bool]
) -> SequenceReading:
    """Read tries of which nothing but their sequences is wanted.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    reading = TriePass(session, tries, device, odds)
    for _ in reading.visits():
        pass
    return reading.read()


def _padded(paths: Sequence[Sequence[Sequence[int]]], device: torch.device) -> torch.Tensor:
    """Columns of the tokens of sequences, ``[rows, sequences, longest]``; 0, the prompt's, past an end."""
    most = max(map(len, paths))
    longest = max((len(path) for row in paths for path in row), default=0)
    known: dict[int, list[list[int]]] = {}
    for row in paths:
        if id(row) not in known:
            filled = [[*path, *(0,) * (longest - len(path))] for path in row]
            known[id(row)] = filled + [[0] * longest] * (most - len(row))
    padded = torch.tensor([known[id(row)] for row in paths], dtype=torch.long, device=device)
    return padded.view(len(paths), most, longest)
