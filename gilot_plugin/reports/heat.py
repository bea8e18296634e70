"""The prompt, cut where units begin and end, and the answer, cut at its explained tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gilot_plugin.artifacts.records import text_of
from gilot_plugin.artifacts.typed import Record


class Piece(NamedTuple):
    """A run of a text's characters that belongs to the same parts.

    Attributes:
        text: The characters.
        units: Indices of the units, or of the explained positions, that they stand for; empty outside all.
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
        Pieces that make up the whole prompt, and what the model said after it where that was taken away, too.
        A character that two units share, because each holds some of its
        tokens, stands in the first one's piece; a unit that has no character of its own is one more of that
        piece.
    """
    beyond = any(unit.end_token > len(record.tokens) for unit in record.units)
    return _pieces(record.read_text if beyond else record.prompt, record.spans)


def answer_pieces(record: Record) -> tuple[Piece, ...]:
    """Cut what the model said into pieces, in order.

    Args:
        record: One whose status is ok.

    Returns:
        Pieces that make up the answer as far as it is known. Those of its explained tokens have the places of
        their positions in the window; where single tokens were not recorded, what was explained is one piece,
        of place 0. Empty where the model said nothing, as for choices.
    """
    answer, target = record.answer, record.target
    if target is None or target.choices:
        return ()
    response = target.response or ""
    if answer is None:
        explained = target.hypotheses[0].text if target.followed else ""
        rest = response.removeprefix(explained)
        found = (Piece(explained, (0,)), Piece(rest if rest != response else "", ()))
        return tuple(piece for piece in (found if explained else (Piece(response, ()),)) if piece.text)
    text = text_of((token.text, token.start, token.end) for token in answer.tokens)
    spans = [(answer.tokens[index].start, answer.tokens[index].end) for index in answer.window]
    # Tokens are recorded only as far as they were looked at.
    unread = response[len(text) :] if response.startswith(text) else ""
    return _pieces(text + unread, spans)


def _pieces(text: str, spans: Sequence[tuple[int, int]]) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    position = 0
    for index, (start, end) in enumerate(spans):
        if start > position:
            pieces.append(Piece(text[position:start], ()))
            position = start
        if end > position:
            pieces.append(Piece(text[position:end], (index,)))
            position = end
        elif pieces:
            before, units = pieces[-1]
            pieces[-1] = Piece(before, (*units, index))
    if position < len(text):
        pieces.append(Piece(text[position:], ()))
    return tuple(pieces)
