"""Text of models and data sets, made safe and legible for a terminal."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

# Parts of words and of emoji, and harmless, though Unicode counts them among the format characters.
_JOINERS = frozenset("\u200c\u200d")
_WITHOUT_SHAPE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class Glyphs(NamedTuple):
    """Signs that stand between or for what is shown.

    Attributes:
        newline: Where a line of the text ends.
        tab: A tab.
        arrow: From one outcome to another.
        ellipsis: Where text was left out.
        dot: Between the parts of a line.
        opening: Begins a marked part of the text; chosen to be rare in texts.
        closing: Ends it.
        rule: Repeated, a line across.
        bar: A full cell of a bar.
        part_bars: A cell filled by one, two, ... equal parts.
    """

    newline: str
    tab: str
    arrow: str
    ellipsis: str
    dot: str
    opening: str
    closing: str
    rule: str
    bar: str
    part_bars: str


_UNICODE = Glyphs("↵", "⇥ ", "→", "…", "·", "«", "»", "─", "█", "▏▎▍▌▋▊▉")
_ASCII = Glyphs("\\n", "\\t ", "->", "...", "|", "[", "]", "-", "#", "")


def glyphs_for(encoding: str) -> Glyphs:
    """The signs that a terminal of this encoding can show."""
    return _UNICODE if encoding.lower().startswith("utf") else _ASCII


def visible(text: str, encoding: str = "utf-8", *, line_breaks: bool = False) -> str:
    r"""Spell text so that a terminal shows all of it and obeys none of it.

    Control characters (escape sequences among them), marks that reorder the text, characters without a shape
    of their own and lone surrogates become escapes such as ``\x1b``; so does what the encoding lacks. Line
    ends and tabs become signs. Rich markup is left alone: print the result as :class:`rich.text.Text`.

    Args:
        text: Any text.
        encoding: Of the terminal.
        line_breaks: Whether a line still ends after the sign of its end.

    Returns:
        The text in characters that the terminal can show.
    """
    glyphs = glyphs_for(encoding)
    signs = {"\n": glyphs.newline + ("\n" if line_breaks else ""), "\t": glyphs.tab}
    # Most text has nothing to escape, and `isprintable` is fast.
    if not text.isprintable():
        text = "".join(signs.get(character) or _escaped(character) for character in text)
    return text.encode(encoding, "backslashreplace").decode(encoding)


def crop(text: str, cells: int, ellipsis: str) -> str:
    """Shorten a line to a number of terminal cells, with a sign where its end is missing."""
    if cell_len(text) <= cells:
        return text
    return set_cell_size(text, cells - cell_len(ellipsis)) + ellipsis


def _escaped(character: str) -> str:
    if character in _JOINERS or unicodedata.category(character) not in _WITHOUT_SHAPE:
        return character
    return character.encode("unicode_escape").decode("ascii")
