"""Foreign texts in Markdown, as text."""

from __future__ import annotations

import re

from gilot_plugin.reports.visible import visible

# What can begin or end a construct of GitHub's Markdown: within a line, in an address that would become a
# link by itself, and at the beginning of a block.
_WITHIN = re.compile(r"[\\`*_{}\[\]<>|~&$@]|:(?=//)|(?<=www)\.", flags=re.IGNORECASE)
_AT_THE_START = re.compile(r"[#+\-=:!]|\d+[.)](?=\s|$)")


def markdown(text: str) -> str:
    """Spell a text so that Markdown shows it and obeys none of it.

    Returns:
        One line, which may stand anywhere in a line, a table's cell included.
    """
    escaped = _WITHIN.sub(r"\\\g<0>", visible(" ".join(text.split())))
    start = _AT_THE_START.match(escaped)
    return f"{escaped[: start.end() - 1]}\\{escaped[start.end() - 1 :]}" if start else escaped
