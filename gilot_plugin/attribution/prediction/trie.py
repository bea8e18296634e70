"""Continuations as a trie: what several of them begin with is fed to the model once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import torch

from gilot_plugin.attribution.logprobs import finite_log_softmax
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


class TriePass:
    """Tries as a model reads them after each prompt of a batch.

    Args:
        session: The prompts.
        tries: One a row; the same for all where the backend's prompts share nothing.
        device: Where the logits are.

    Attributes:
        logprobs: ``[rows, 1 + edges]``, log-probability of each continuation given the prompt, in nats, the
            empty one first; known once the node before it was visited.
        steps: The same of the last token alone, given what is before it.
    """

    def __init__(self, session: DecodingSession, tries: Sequence[Trie], device: torch.device) -> None:
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
                yield Visit(rows[part], columns[part], following)


def sequence_logprobs(
    session: DecodingSession, sequences: Sequence[Sequence[Prefix]], device: torch.device
) -> torch.Tensor:
    """Log-probability of each sequence after each prompt; last tokens are predicted, but not fed.

    Args:
        session: The prompts.
        sequences: For each row, as many; an empty one is certain.
        device: Where the logits are.

    Returns:
        ``[rows, sequences]``, in nats.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    known: dict[tuple[Prefix, ...], Trie] = {}
    tries = [known.setdefault(tuple(row), Trie((), [one for one in row if one])) for row in sequences]
    reading = TriePass(session, tries, device)
    for _ in reading.visits():
        pass
    columns = [[trie.column(one) for one in row] for trie, row in zip(tries, sequences, strict=True)]
    return reading.logprobs.gather(1, torch.tensor(columns, device=device))


def node_count(continuations: Sequence[Prefix]) -> int:
    """Number of nodes of the trie, the prompt not counted: tokens that are fed after each prompt."""
    return len(Trie(continuations).prefixes)
