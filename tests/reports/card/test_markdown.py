from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gilot_plugin.reports.card.markdown import markdown

HOSTILE = (
    "1. not a list",
    "0.75",
    "# no heading",
    "- no item",
    "--- --- ---",
    "*a* _b_ **c** `d` ~~e~~ $f$",
    "[text](javascript:alert(1)) ![image](x.png)",
    "<script>alert(1)</script> <!-- gilot:end --> &amp;",
    "a | b || c",
    "https://example.com www.example.com a@example.com",
    "back\\slash \\* ends in \\",
    "two\nlines\r\n\r\n# and a heading",
    "\x1b[31m \u202eabc \ud800",
    "=== +x 3) :--",
)


def plain(rendered: str) -> str:
    """The text that a browser shows."""
    return html.unescape(re.sub(r"<[^>]*>", "", rendered)).strip()


def elements(rendered: str) -> set[str]:
    return set(re.findall(r"</?([a-z0-9]+)", rendered))


def parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def shown(text: str) -> str:
    from gilot_plugin.reports.visible import visible

    return visible(" ".join(text.split()))


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_are_shown_as_they_are(text: str) -> None:
    rendered = parser().render(markdown(text))
    assert plain(rendered) == shown(text)
    assert elements(rendered) == {"p"}


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_stay_in_their_cell(text: str) -> None:
    rendered = parser().render(f"| a | b |\n|---|---|\n| {markdown(text)} | end |\n")
    cells = re.findall(r"<td>(.*?)</td>", rendered)
    assert [plain(cell) for cell in cells] == [shown(text), "end"]


@given(st.text(max_size=40))
def test_no_text_is_obeyed(text: str) -> None:
    rendered = parser().render(f"before {markdown(text)}\n\n- {markdown(text)}\n")
    assert elements(rendered) == {"p", "ul", "li"}
    assert plain(rendered).count(shown(text)) >= (2 if shown(text) else 0)


@pytest.mark.parametrize("text", ["https://example.com", "http://a.b", "www.example.com", "WWW.a.b", "a@b.c"])
def test_addresses_become_no_links(text: str) -> None:
    # GitHub and the hub make links of what looks like one; a backslash in it takes the look away.
    assert "\\" in markdown(text)


def test_numbers_stay_legible() -> None:
    assert markdown("0.75 ± 0.1 (12% to 30%)") == "0.75 ± 0.1 (12% to 30%)"
