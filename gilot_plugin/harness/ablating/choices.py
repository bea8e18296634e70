"""Where a question lists its choices, and what is left without them or without the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise, takewhile
from string import ascii_uppercase
from typing import NamedTuple

#: Labels such as "A" and "10" are told from texts by their length.
_LONGEST_LABEL = 3

#: What may stand around a label: "A.", "(A)", "A)", "[A]", "A:".
_LABELLED = r"(?<!\w)[(\[]?{label}[)\].:](?=\s)"

#: A choice that is a label: "A", "(A)", "10.".
_LABEL = re.compile(r"[(\[]?(\w{1,3})[)\].:]?")

#: A label that begins a line of a list, and not of a dialogue, as "A:" does.
_LISTED = r"^[ \t]*[(\[]?{label}[)\].](?=\s)"

#: What may stand before a choice on its line: "A. ", "(b) ", "3) ", "- ".
_MARKER = r"[ \t]*(?:[(\[]?\w{1,3}[)\].:]|[-*\u2022])?[ \t]*"

#: What may stand between choices that are listed in a line: " or ", ", or (b) ".
_BETWEEN = r"\W*(?:\w{1,4}\W+){0,2}"

#: The label of the first one of these.
_FIRST_LABEL = re.compile(r"(?<!\w)[(\[]?\w[)\].:][ \t]+$")


class Listing(NamedTuple):
    """Choices in a text.

    Attributes:
        start: Where the first one begins, with its label.
        end: Where the last one ends, with the end of its line where it has lines of its own.
        spans: What has to go so that no choice is left.
    """

    start: int
    end: int
    spans: tuple[tuple[int, int], ...]


def without_choices(text: str, choices: Sequence[str] | None) -> str | None:
    """A question without its choices, labels included.

    Choices that are labels are looked for as such, each at the beginning of a line or all on one line,
    with what follows up to the next one; others as they are.

    Args:
        text: The question as it is put to the model.
        choices: As the task's ``doc_to_choice`` gives them; None where it has none, and lines that are
            labelled "A", "B" and so on are taken for them.

    Returns:
        None where they do not all stand in the text, in their order.
    """
    names = _names(text, choices)
    listing = _listing(text, names)
    spans = _anywhere(text, names) if listing is None else listing.spans
    if not spans:
        return None
    left, end = [], 0
    for start, stop in spans:
        left.append(text[end:start])
        end = stop
    left.append(text[end:])
    found = "".join(left)
    # What stood before the last line ends as that line did.
    return found if end < len(text) or text.endswith("\n") else found.rstrip("\n")


def without_stem(text: str, choices: Sequence[str] | None, lead_in: str) -> str | None:
    """The choices that a question lists, labels included, and its lead-in, without all else of it.

    Args:
        text: See :func:`without_choices`.
        choices: See there.
        lead_in: What all questions of the task end with.

    Returns:
        None where the choices do not stand in the text as a list.
    """
    listing = _listing(text, _names(text, choices))
    if listing is None:
        return None
    listed, after = text[listing.start : listing.end], text[listing.end :]
    kept = after[len(after) - min(len(lead_in), len(after)) :]
    if kept == after:
        return listed + kept
    if kept[:1].isspace():
        return listed.rstrip() + kept
    gap = after.removesuffix(kept)
    return listed.rstrip() + (gap[len(gap.rstrip()) :] or listed[len(listed.rstrip()) :]) + kept


def common_end(texts: Iterable[str]) -> str:
    """The lines, the first one's beginning left out, with which different texts all end; else empty."""
    backwards = sorted({text[::-1] for text in texts})
    if len(backwards) < 2:
        return ""
    # What the first and the last of sorted texts begin with, all do.
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(backwards[0], backwards[-1], strict=False))
    end = "".join(character for character, _ in alike)[::-1]
    return end[end.find("\n") :] if "\n" in end else ""


def _names(text: str, choices: Sequence[str] | None) -> list[str]:
    """What is looked for, labels bare; nothing where some choice is empty, or alone."""
    names = _labels_in(text) if choices is None else [str(choice).strip() for choice in choices]
    if len(names) < 2 or not all(names):
        return []
    labels = [_LABEL.fullmatch(name) for name in names]
    return [label[1] for label in labels if label] if all(labels) else names


def _labels_in(text: str) -> list[str]:
    """Labels, "A" and those after it, of lines, or of one line that begins with the first in brackets."""
    own_lines = list(takewhile(lambda one: re.search(_LISTED.format(label=one), text, re.M), ascii_uppercase))
    if len(own_lines) > 1:
        return own_lines
    for line in text.splitlines():
        if line.lstrip().startswith("(A) "):
            listed = [f"({one}) " in line for one in ascii_uppercase]
            return list(ascii_uppercase[: (*listed, False).index(False)])
    return []


def _are_labels(names: Sequence[str]) -> bool:
    return all(len(name) <= _LONGEST_LABEL for name in names)


def _listing(text: str, names: Sequence[str]) -> Listing | None:
    if not names:
        return None
    labelled = _labelled(text, names) if _are_labels(names) else None
    if labelled is not None or any(len(name) < 2 for name in names):
        return labelled
    return _in_lines(text, names) or _in_a_line(text, names)


def _labelled(text: str, names: Sequence[str]) -> Listing | None:
    """From the first label to the end of the line of the last one."""
    found = _last_matches(text, names, r"^[ \t]*") or _last_matches(text, names, "")
    if not found:
        return None
    # Far apart and on one line, the letters are words of a sentence.
    lines = [text.count("\n", one.end(), other.start()) for one, other in pairwise(found)]
    if len(set(lines)) > 1 and 0 in lines:
        return None
    start = found[0].start()
    line = text.rfind("\n", 0, start) + 1
    if not text[line:start].strip():
        start = line
    end = _line_end(text, found[-1].end())
    return Listing(start, end, ((start, end),))


def _last_matches(text: str, names: Sequence[str], before: str) -> list[re.Match[str]]:
    """Labels in their order, as near to the end of a text as they stand; empty if one is missing."""
    found: list[re.Match[str]] = []
    limit = len(text)
    for name in reversed(names):
        pattern = re.compile(before + _LABELLED.format(label=re.escape(name)), re.M)
        matches = [match for match in pattern.finditer(text) if match.end() <= limit]
        if not matches:
            return []
        found.insert(0, matches[-1])
        limit = matches[-1].start()
    return found


def _line_end(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end + 1


def _in_lines(text: str, names: Sequence[str]) -> Listing | None:
    """One line a choice, with nothing but a marker before it."""
    lines = [rf"{_MARKER}{re.escape(name)}[ \t]*[.,;]?[ \t]*$" for name in names]
    found = list(re.finditer("^" + r"\n(?:[ \t]*\n)*".join(lines), text, re.M))
    if not found:
        return None
    start, end = found[-1].start(), _line_end(text, found[-1].end())
    return Listing(start, end, ((start, end),))


def _in_a_line(text: str, names: Sequence[str]) -> Listing | None:
    """Choices with next to nothing between them."""
    wanted = (rf"(?<!\w){re.escape(name)}(?!\w)" for name in names)
    found = list(re.finditer(_BETWEEN.join(f"({one})" for one in wanted), text))
    if not found:
        return None
    last = found[-1]
    label = _FIRST_LABEL.search(text[: last.start()])
    spans = tuple(last.span(number + 1) for number in range(len(names)))
    return Listing(last.start() if label is None else label.start(), last.end(), spans)


def _anywhere(text: str, names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Each choice where it first stands; empty if one is missing. Labels stand in lists alone."""
    if _are_labels(names):
        return ()
    spans = []
    place = 0
    for name in names:
        start = text.find(name, place)
        if start < 0:
            return ()
        place = start + len(name)
        spans.append((start, place))
    return tuple(spans)
