"""How strongly each part of a prompt is to be marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gilot_plugin.artifacts.records import prompt_text

#: Levels above 0, which stands for "hardly anything".
MAX_LEVEL = 9


class Piece(NamedTuple):
    """A run of the prompt's characters that is marked alike.

    Attributes:
        text: The characters.
        level: From 0 to :data:`MAX_LEVEL`; None outside all units.
    """

    text: str
    level: int | None


def heat_levels(scores: Sequence[float]) -> tuple[int, ...]:
    """Tenths of the largest score that each score reaches, at most 9; 0 for all that is not positive."""
    largest = max(scores, default=0.0)
    if largest <= 0:
        return (0,) * len(scores)
    # The quotient first: ten times a score may be infinite.
    return tuple(max(0, min(MAX_LEVEL, int(score / largest * 10))) for score in scores)


def heat_pieces(record: Mapping[str, Any], levels: Sequence[int]) -> tuple[Piece, ...]:
    """Cut a record's prompt into pieces, in order.

    Args:
        record: One that is valid and whose status is ok.
        levels: One a unit.

    Returns:
        Pieces that make up the whole prompt. A character that two units share, because each holds some of its
        tokens, stands in the first one's piece; a unit that has no character of its own lends that piece its
        level if it is higher.
    """
    text, tokens = prompt_text(record), record["prompt_tokens"]
    pieces: list[Piece] = []
    position = 0
    for unit, level in zip(record["units"], levels, strict=True):
        start, end = tokens[unit["start_token"]]["start"], tokens[unit["end_token"] - 1]["end"]
        if start > position:
            pieces.append(Piece(text[position:start], None))
            position = start
        if end > position:
            pieces.append(Piece(text[position:end], level))
            position = end
        elif pieces:
            pieces[-1] = Piece(pieces[-1].text, max(pieces[-1].level or 0, level))
    if position < len(text):
        pieces.append(Piece(text[position:], None))
    return tuple(pieces)
