"""Prompts and trees of continuations, each token read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, groupby
from typing import NamedTuple

import torch
from torch.nn.functional import pad

from gilot_plugin.backends._transformers.tree.pass_view import KeyValues, PassView, SharedRows, TreeStore
from gilot_plugin.backends._transformers.tree.reader import TreeReader
from gilot_plugin.backends._transformers.tree.shared import ReadPrompt
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scoring.predictions import Predictions
from gilot_plugin.backends.scoring.sessions import Level, TokenTree

#: Rows of different lengths are read together as long as padding is at most this part of them.
_MOST_PADDING = 0.1


class OwnToken(NamedTuple):
    """A token that a row does not have in common with its prompt.

    Attributes:
        token_id: What is fed.
        position: Where.
        place: Tokens of the row before it.
        shown: Whether the tokens after it see it.
    """

    token_id: int
    position: int
    place: int
    shown: bool


class TreeSession:
    """A batch of rows that are read from where they leave a known prompt, and continued by trees of tokens.

    Inside, rows are ordered by prompt and length, so that neighbours need little padding. A row's own tokens
    have columns: those of its prompt end at ``width``, then come the nodes of its tree.

    Args:
        reader: Makes the passes.
        rows: The prompts.
        shared: For each, what was read that it begins like.
        room: Nodes that may be read after each prompt.
    """

    def __init__(
        self, reader: TreeReader, rows: Sequence[Row], shared: Sequence[ReadPrompt], room: int
    ) -> None:
        self._reader = reader
        device = reader.passes.device
        seen = [
            0 if prompt.row is None else row.begins_like(prompt.row)
            for row, prompt in zip(rows, shared, strict=True)
        ]
        own = [_own_tokens(row, start) for row, start in zip(rows, seen, strict=True)]
        prompts = {id(prompt): number for number, prompt in enumerate(shared)}
        order = sorted(range(len(rows)), key=lambda row: (prompts[id(shared[row])], len(own[row])))
        self._order = torch.tensor(order, device=device)
        self._rank = self._order.argsort()
        self._shared = [shared[row] for row in order]
        #: Of each row's prompt; on the host too, where nothing waits for it.
        self._counts = [seen[row] for row in order]
        self._seen = torch.tensor(self._counts, device=device)
        self._lengths = [len(own[row]) for row in order]
        self._width = max(self._lengths)
        shape = (len(rows), self._width + room)
        # Padding is an id that every model has.
        blank = OwnToken(0, 0, 0, shown=False)
        padded = [[blank] * (self._width - len(own[row])) + own[row] for row in order]
        ids, positions, places, shown = (
            torch.tensor([[token[column] for token in tokens] for tokens in padded], device=device)
            for column in range(4)
        )
        self._tokens, self._positions, self._places = (
            pad(columns, (0, room)) for columns in (ids, positions, places)
        )
        #: ``[rows, width]``
        self._shown = shown
        self._next = torch.tensor([rows[row].next_position for row in order], device=device)
        self._next_place = torch.tensor([len(rows[row].token_ids) for row in order], device=device)
        #: ``[rows, node, node]``, which nodes are above each one of a tree; it counts as its own.
        self._above = torch.zeros(len(rows), room, room, dtype=torch.bool, device=device)
        #: ``[rows, node]``
        self._depths = torch.zeros(len(rows), room, dtype=torch.long, device=device)
        self._nodes = 0
        #: ``[rows, n]``, the nodes that :meth:`advance` continues; -1 is the prompt.
        self._last = torch.full((len(rows), 1), -1, device=device)
        self._store = TreeStore(*shape)
        self._prompt_states: torch.Tensor | None = None

    def layers_of(self, row: int) -> dict[int, KeyValues]:
        """Keys and values of what was read of a prompt itself, by layer that has some."""
        place = int(self._rank[row])
        return self._store.layers_of_row(place, slice(self._width - self._lengths[place], self._width))

    @property
    def prompt(self) -> Predictions:
        """What comes after each prompt."""
        self.read()
        assert self._prompt_states is not None
        return self._predictions(self._prompt_states)

    def read(self) -> None:
        """Read what is left of the prompts, unless that is done."""
        if self._prompt_states is None:
            self._prompt_states = self._read(0)[self._rank, 0]

    def advance(self, parents: torch.Tensor, tokens: torch.Tensor) -> Predictions:
        """See :meth:`gilot_plugin.backends.scoring.sessions.DecodingSession.advance`."""
        self.read()
        parents, tokens = parents[self._order], tokens[self._order]
        start = self._width + self._nodes
        self._last = self._plant(self._last.gather(1, parents), tokens).expand(len(tokens), -1)
        self._reader.passes.model_tokens += tokens.numel()
        states = self._feed(slice(0, len(tokens)), 0, slice(start, start + tokens.shape[1]))
        return self._predictions(states[self._rank].flatten(0, 1))

    def keep(self, rows: torch.Tensor) -> None:
        """See :meth:`gilot_plugin.backends.scoring.sessions.DecodingSession.keep`."""
        self.read()
        assert self._prompt_states is not None
        self._prompt_states = self._prompt_states[rows]
        # Neighbours stay neighbours.
        places, self._order = self._rank[rows].sort()
        self._rank = self._order.argsort()
        self._shared = [self._shared[place] for place in places.tolist()]
        self._lengths, self._counts = (
            [column[place] for place in places.tolist()] for column in (self._lengths, self._counts)
        )
        self._tokens, self._positions, self._places = (
            columns[places] for columns in (self._tokens, self._positions, self._places)
        )
        self._seen, self._shown = self._seen[places], self._shown[places]
        self._next, self._next_place = self._next[places], self._next_place[places]
        self._above, self._depths, self._last = (
            nodes[places] for nodes in (self._above, self._depths, self._last)
        )
        self._store.keep(places)

    def read_trees(self, trees: Sequence[TokenTree]) -> Iterator[Level]:
        """See :meth:`gilot_plugin.backends.scoring.sessions.DecodingSession.read_trees`.

        Nodes are read in the passes that read what is left of the prompts.
        """
        sizes = [len(tree.tokens) for tree in trees]
        most, device = max(sizes), self._tokens.device
        parents, tokens, real = (
            torch.tensor([[*column, *(blank,) * (most - len(column))] for column in columns], device=device)
            for columns, blank in (
                ([tree.parents for tree in trees], -1),
                ([tree.tokens for tree in trees], 0),
                ([(True,) * size for size in sizes], False),
            )
        )
        start = self._nodes
        if most:
            parents = torch.where(parents < 0, parents, parents + start)
            self._plant(parents[self._order], tokens[self._order])
        self._reader.passes.model_tokens += sum(sizes)
        states = self._with_prompts(start)
        depths = self._depths[self._rank, start : self._nodes].masked_fill(~real.bool(), -1)
        depths = pad(depths, (1, 0))
        for depth in range(int(depths.max()) + 1):
            rows, columns = (depths == depth).nonzero(as_tuple=True)
            yield Level(rows, columns - 1, self._predictions(states[rows, columns]))

    def _with_prompts(self, start: int) -> torch.Tensor:
        """States of the prompts and of the nodes from one on, as the rows were given."""
        if self._prompt_states is None:
            return self._read(self._nodes)[self._rank]
        prompts = self._prompt_states[:, None]
        if self._nodes == start:
            return prompts
        columns = slice(self._width + start, self._width + self._nodes)
        return torch.cat((prompts, self._feed(slice(0, len(prompts)), 0, columns)[self._rank]), dim=1)

    def _plant(self, parents: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Add nodes to the trees.

        Args:
            parents: ``[rows, n]``, the node above each new one, which may be new itself; -1 is the prompt.
            tokens: ``[rows, n]``.

        Returns:
            Numbers of the new nodes, ``[n]``.
        """
        rows = torch.arange(len(tokens), device=tokens.device)
        new = torch.arange(self._nodes, self._nodes + tokens.shape[1], device=tokens.device)
        for column, parent in zip(new.tolist(), parents.T, strict=True):
            inner, parent = parent >= 0, parent.clamp(min=0)
            self._above[:, column] = self._above[rows, parent] & inner[:, None]
            self._above[:, column, column] = True
            self._depths[:, column] = self._depths[rows, parent] * inner + 1
        self._nodes += len(new)
        self._tokens[:, self._width + new] = tokens
        ahead = self._depths[:, new] - 1
        self._positions[:, self._width + new] = self._next[:, None] + ahead
        self._places[:, self._width + new] = self._next_place[:, None] + ahead
        return new

    def _read(self, nodes: int) -> torch.Tensor:
        """Read what is left of the prompts, and the first nodes of their trees after it.

        Returns:
            Last hidden states at the prompts' last tokens and at the nodes, ``[rows, 1 + nodes, dim]``.
        """
        self._reader.passes.model_tokens += sum(self._lengths)
        wanted, end = self._width - 1, self._width + nodes
        found = []
        for rows in self._groups(nodes):
            first = self._width - self._lengths[rows.stop - 1]
            step = max(1, self._reader.passes.pass_size.most // (rows.stop - rows.start))
            read = [
                self._feed(rows, first, slice(start, min(start + step, end)))[:, max(0, wanted - start) :]
                for start in range(first, end, step)
            ]
            found.append(torch.cat(read, dim=1))
        return torch.cat(found)

    def _groups(self, nodes: int) -> Iterator[slice]:
        """Rows that are read together: neighbours of one prompt and of about the same length."""
        start, (least, most) = 0, self._reader.passes.pass_size
        for _, same in groupby(self._shared, key=id):
            end = start + len(list(same))
            while start < end:
                stop, real = start, 0
                while stop < end:
                    real += self._lengths[stop] + nodes
                    together = (stop + 1 - start) * (self._lengths[stop] + nodes)
                    padded = together - real > _MOST_PADDING * real
                    too_much = together > most or (padded and together > least)
                    if stop > start and too_much:
                        break
                    stop += 1
                yield slice(start, stop)
                start = stop

    def _feed(self, rows: slice, first: int, columns: slice) -> torch.Tensor:
        """Read the tokens of some columns.

        Args:
            rows: The rows that take part.
            first: A column before which none of them has tokens.
            columns: What to read.

        Returns:
            Last hidden states, ``[rows, new, dim]``.
        """
        feed = PassView(
            rows=rows,
            columns=columns,
            first=first,
            shared=self._prompts_of(rows),
            own_seen=self._own_seen(rows, columns)[:, :, first:],
            own_places=self._places[rows, first : columns.stop],
            places=self._places[rows, columns],
            positions=self._positions[rows, columns],
        )
        return self._reader.states(self._tokens[rows, columns], self._store, feed)

    def _prompts_of(self, rows: slice) -> list[SharedRows]:
        found, start = [], 0
        for _, same in groupby(self._shared[rows], key=id):
            members = list(same)
            place = slice(start, start + len(members))
            counts = self._counts[rows][place]
            # What no row sees is not looked at.
            length = max(counts)
            known = members[0].layers.items() if length else ()
            layers = {number: layer.first(length) for number, layer in known}
            found.append(SharedRows(place, layers, self._seen[rows][place], min(counts)))
            start = place.stop
        return found

    def _own_seen(self, rows: slice, columns: slice) -> torch.Tensor:
        """Which columns the tokens of some columns see, ``[rows, new, columns.stop]``."""
        width, stop = self._width, columns.stop
        shown = pad(self._shown[rows], (0, max(0, stop - width)))[:, None, :stop]
        new, every = (torch.arange(n, stop, device=shown.device) for n in (columns.start, 0))
        seen = shown & (every <= new[:, None])
        nodes = slice(max(0, columns.start - width), max(0, stop - width))
        if nodes.stop:
            above = self._above[rows, nodes, : nodes.stop]
            seen[:, len(new) - above.shape[1] :, width:] |= above
        # Padding, above all: without anything to look at, attention would not be defined.
        sees_nothing = ~seen.any(dim=2, keepdim=True) & (self._seen[rows, None, None] == 0)
        return seen | (sees_nothing & (every == new[:, None]))

    def _predictions(self, states: torch.Tensor) -> Predictions:
        return Predictions(states, self._reader.logits, self._reader.vocab_size)


def _own_tokens(row: Row, start: int) -> list[OwnToken]:
    """The tokens of a row from a place on; of those that nothing after them sees, only the last is read."""
    attended = row.attended or (True,) * len(row.token_ids)
    positions = row.positions or range(len(row.token_ids))
    tokens = list(map(OwnToken, row.token_ids, positions, count(), attended))[start:]
    return [token for token in tokens[:-1] if token.shown] + tokens[-1:]
