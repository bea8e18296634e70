from __future__ import annotations

import pytest

from gilot_plugin.reports.visible import crop, glyphs_for, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [bold]text[/bold] :smile:", "plain [bold]text[/bold] :smile:"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b31m", "\\x9b31m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\rb\x08\x7f\x00", "a\\rb\\x08\\x7f\\x00"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("\u2028\u2029\x85", "\\u2028\\u2029\\x85"),
        ("\ud800 \ufffd \ue000 \U000e0041", "\\ud800 \ufffd \\ue000 \\U000e0041"),
        ("\u05d0\u05d1 é 任务 😀", "\u05d0\u05d1 é 任务 😀"),
        (
            "\u0645\u06cc\u200c\u062e 👩\u200d💻 a\u3000b\xa0c",
            "\u0645\u06cc\u200c\u062e 👩\u200d💻 a\u3000b\xa0c",
        ),
        ("a\n\tb", "a↵⇥ b"),
        ("", ""),
    ],
)
def test_nothing_reaches_the_terminal_but_shapes(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_lines_may_still_end() -> None:
    assert visible("a\nb", line_breaks=True) == "a↵\nb"


def test_what_the_encoding_lacks_is_escaped() -> None:
    assert visible("é 任 → \n", "ascii") == "\\xe9 \\u4efb \\u2192 \\n"
    assert visible("é 任", "latin-1") == "é \\u4efb"
    assert all(sign.isascii() for sign in glyphs_for("ascii"))


def test_cropping_counts_cells() -> None:
    assert crop("abcdef", 6, "…") == "abcdef"
    assert crop("abcdef", 4, "…") == "abc…"
    assert crop("任务任务", 5, "…") == "任务…"
    assert crop("abcdef", 4, "...") == "a..."
