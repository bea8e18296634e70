"""Beginnings that rows have in common with each other, not only with their prompt: each is read once.

Rows are the leaves of a radix tree over token ids, and what was read of their prompt is one path down in it.
Where many of them leave that path at the same place, the path that most of them follow from there is read
next, and so on: every row goes on from the longest path that it begins like.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

import torch

from gilot_plugin.backends._transformers.tree.pass_view import KeyValues
from gilot_plugin.backends._transformers.tree.reader import TreeReader
from gilot_plugin.backends._transformers.tree.session import TreeSession
from gilot_plugin.backends._transformers.tree.shared import NOTHING, ReadPrompt
from gilot_plugin.backends.rows import Row, common_beginning

#: A path costs a pass for itself and one for the rows that follow it, which then share none with others.
_PASSES = 2


class _Path(NamedTuple):
    """Tokens that several rows begin with, beyond what is known of them.

    Attributes:
        members: The rows that leave the known path where this one does.
        seen: Tokens of it that are known.
        row: It and one token more, which is not read.
    """

    members: tuple[int, ...]
    seen: int
    row: Row


def with_beginnings(reader: TreeReader, rows: Sequence[Row], known: Sequence[ReadPrompt]) -> list[ReadPrompt]:
    """Read what rows begin with where that saves enough.

    Args:
        reader: Makes the passes.
        rows: Rows that are going to be read.
        known: For each, what was read of its prompt.

    Returns:
        For each, the longest path that it begins like.
    """
    found, least = list(known), _PASSES * reader.passes.pass_size.least
    # Rows that hide tokens or number them otherwise share what they have in common with their prompt.
    waiting = [place for place, row in enumerate(rows) if row.is_plain]
    while waiting:
        paths = list(_paths(rows, found, waiting, least))
        if not paths:
            break
        of_paths = _read(reader, [path.row for path in paths], [found[path.members[0]] for path in paths])
        for path, read in zip(paths, of_paths, strict=True):
            found = [read if place in path.members else one for place, one in enumerate(found)]
        waiting = [place for path in paths for place in path.members]
    return found


def read_prompt(reader: TreeReader, row: Row) -> ReadPrompt:
    """Read a prompt up to its last token and keep the keys and values."""
    return _read(reader, [row], [NOTHING])[0] if len(row.token_ids) > 1 else ReadPrompt(row, {})


def _read(reader: TreeReader, rows: Sequence[Row], known: Sequence[ReadPrompt]) -> list[ReadPrompt]:
    """Read rows but for their last tokens, each from where it leaves what is known, and keep that."""
    starts = [row.start(len(row.token_ids) - 1) for row in rows]
    session = TreeSession(reader, starts, known, room=0)
    session.read()
    found = []
    for place, (row, start, prompt) in enumerate(zip(rows, starts, known, strict=True)):
        seen = 0 if prompt.row is None else start.begins_like(prompt.row)
        own = session.layers_of(place)
        layers = {layer: _joined(prompt, layer, seen, added) for layer, added in own.items()}
        found.append(ReadPrompt(row, layers))
    return found


def _joined(prompt: ReadPrompt, layer: int, seen: int, added: KeyValues) -> KeyValues:
    if not seen:
        return added
    known = prompt.layers[layer].first(seen)
    return KeyValues(*(torch.cat(parts, dim=1) for parts in zip(known, added, strict=True)))


def _paths(
    rows: Sequence[Row], known: Sequence[ReadPrompt], waiting: Iterable[int], least: int
) -> Iterable[_Path]:
    """The paths that save at least so many tokens, and no memory is lost by."""

    def branch(place: int) -> tuple[int, int, int]:
        """Where a row leaves what is known of it, and with which token."""
        prompt, row = known[place], rows[place]
        seen = 0 if prompt.row is None else row.begins_like(prompt.row)
        return id(prompt), seen, row.token_ids[seen]

    branches = {place: branch(place) for place in waiting}
    for (_, seen, _), same in groupby(sorted(branches, key=branches.__getitem__), key=branches.__getitem__):
        members = tuple(same)
        # The last token of a row is its own.
        texts = {place: rows[place].token_ids[:-1] for place in members}
        path = heavy_path(list(texts.values()))
        saved = sum(common_beginning(text, path) - seen for text in texts.values()) - (len(path) - seen)
        if saved >= max(least, len(path)):
            # What comes after a path is looked at by nobody.
            yield _Path(members, seen, Row((*path, path[-1])))


def heavy_path(texts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """From the root of their radix tree on the way that most texts go, as far as two of them do."""
    going = sorted(texts)
    while True:
        depth = common_beginning(going[0], going[-1])
        branches = [list(same) for _, same in groupby(going, key=lambda text: text[depth : depth + 1])]
        most = max(branches, key=len)
        if len(going) < 2 or len(most) < 2 or len(branches) == 1:
            return going[0][:depth]
        going = most
