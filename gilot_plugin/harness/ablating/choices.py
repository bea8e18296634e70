"""Where the choices of a question stand in its text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

#: Labels such as "A" and "10" are told from texts by their length.
_LONGEST_LABEL = 3

#: What may stand around a label: "A.", "(A)", "A)", "[A]", "A:".
_LABELLED = r"(?<!\w)[(\[]?{label}[)\].:](?=\s)"

#: What may stand before a choice on its line: "A. ", "(b) ", "3) ", "- ".
_MARKER = re.compile(r"[ \t]*(?:[(\[]?\w{1,3}[)\].:]|[-*\u2022])?[ \t]*")


def without_choices(text: str, choices: Sequence[str]) -> str | None:
    """A question without its choices, labels included.

    Choices that are labels are looked for as such, each at the beginning of a line or all on one line,
    with what follows up to the next one; others as they are.

    Args:
        text: The question as it is put to the model.
        choices: As the task's ``doc_to_choice`` gives them.

    Returns:
        None where they do not all stand in the text, in their order.
    """
    names = [str(choice).strip() for choice in choices]
    if len(names) < 2 or not all(names):
        return None
    if all(len(name) <= _LONGEST_LABEL for name in names):
        spans = _labelled(text, names)
    else:
        spans = _verbatim(text, names)
    if spans is None:
        return None
    left, end = [], 0
    for start, stop in spans:
        left.append(text[end:start])
        end = stop
    left.append(text[end:])
    found = "".join(left)
    # What stood before the last line ends as that line did.
    return found if end < len(text) or text.endswith("\n") else found.rstrip("\n")


def _labelled(text: str, names: Sequence[str]) -> list[tuple[int, int]] | None:
    """From the first label to the end of the line of the last one."""
    found: list[re.Match[str]] = []
    for name in names:
        pattern = re.compile(_LABELLED.format(label=re.escape(name)))
        match = pattern.search(text, found[-1].end() if found else 0)
        if match is None:
            return None
        found.append(match)
    # Far apart and on one line, the letters are words of a sentence.
    lines = [text.count("\n", one.end(), other.start()) for one, other in pairwise(found)]
    if len(set(lines)) > 1 and 0 in lines:
        return None
    start = found[0].start()
    line = text.rfind("\n", 0, start) + 1
    if not text[line:start].strip():
        start = line
    end = text.find("\n", found[-1].end())
    return [(start, len(text) if end < 0 else end + 1)]


def _verbatim(text: str, names: Sequence[str]) -> list[tuple[int, int]] | None:
    """Each choice; with its whole line where nothing but a marker stands before it there."""
    spans = []
    place = 0
    for name in names:
        start = text.find(name, place)
        if start < 0:
            return None
        place = start + len(name)
        line = text.rfind("\n", 0, start) + 1
        end = text.find("\n", place)
        stop = len(text) if end < 0 else end + 1
        alone = _MARKER.fullmatch(text[line:start]) is not None and not text[place:stop].strip()
        spans.append((line, stop) if alone else (start, place))
    return spans
