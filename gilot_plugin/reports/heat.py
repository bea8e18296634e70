"""The prompt, cut where units begin and end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gilot_plugin.artifacts.typed import Record


class Piece(NamedTuple):
    """A run of the prompt's characters that belongs to the same units.

    Attributes:
        text: The characters.
        units: Indices of the units that they stand for; empty outside all units.
    """

    text: str
    units: tuple[int, ...]

    def level(self, levels: Sequence[int]) -> int | None:
        """The strongest of its units' levels; None outside all units."""
        return max((levels[index] for index in self.units), key=abs, default=None)


def heat_pieces(record: Record) -> tuple[Piece, ...]:
    """Cut a record's prompt into pieces, in order.

    Args:
        record: One whose status is ok.

    Returns:
        Pieces that make up the whole prompt. A character that two units share, because each holds some of its
        tokens, stands in the first one's piece; a unit that has no character of its own is one more of that
        piece.
    """
    pieces: list[Piece] = []
    position = 0
    for index, (start, end) in enumerate(record.spans):
        if start > position:
            pieces.append(Piece(record.prompt[position:start], ()))
            position = start
        if end > position:
            pieces.append(Piece(record.prompt[position:end], (index,)))
            position = end
        elif pieces:
            text, units = pieces[-1]
            pieces[-1] = Piece(text, (*units, index))
    if position < len(record.prompt):
        pieces.append(Piece(record.prompt[position:], ()))
    return tuple(pieces)
