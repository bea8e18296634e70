"""Cut a prompt into the units that are taken away one at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import regex

from gilot_plugin.attribution.types import FIXED_SEGMENTS, REASONING_SEGMENT, SHOT_PREFIX, Prompt, Token, Unit
from gilot_plugin.errors import PromptError

Span = tuple[int, int]

# Word boundaries of Unicode Standard Annex 29 (flag WORD of the regex package).
_WORD_BOUNDARY = regex.compile(r"\b", flags=regex.WORD | regex.VERSION1)
# Abbreviations are not known to it: a sentence ends at its mark, closing quotes included.
_SENTENCE_END = regex.compile(r"(?<=[.!?…]['\"”’)\]]*)\s+|(?<=[。！？])\s*|\n+")


def _words(text: str) -> Iterator[Span]:
    """Words and single marks; white space goes with what follows it, as tokenizers have it."""
    start = 0
    bounds = [match.start() for match in _WORD_BOUNDARY.finditer(text)]
    for bound in (*bounds, len(text)):
        if text[start:bound].strip():
            yield start, bound
            start = bound
    if start < len(text):
        yield start, len(text)


def _sentences(text: str) -> Iterator[Span]:
    start = 0
    for match in _SENTENCE_END.finditer(text):
        if text[start : match.start()].strip():
            yield start, match.end()
            start = match.end()
    if start < len(text):
        yield start, len(text)


def _lines(text: str) -> Iterator[Span]:
    start = 0
    for line in text.splitlines(keepends=True):
        yield start, start + len(line)
        start += len(line)


_CUTTERS: dict[str, Callable[[str], Iterator[Span]]] = {
    "word": _words,
    "sentence": _sentences,
    "line": _lines,
}

#: Ways to cut a prompt that need nothing but its text, beside ``{"regex": PATTERN}``.
UNIT_KINDS: tuple[str, ...] = ("token", *_CUTTERS, "segment")

#: Names that the setting ``scope`` takes for every prompt, beside the name of a segment.
SCOPES = ("content", "all", REASONING_SEGMENT)

#: Parts of a prompt: one of :data:`SCOPES`, the name of a segment, or several of them.
Scope = str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refinement:
    """The setting ``units: auto``.

    Attributes:
        scope: Part of the prompt whose units are taken away.
        budget: Tokens that the model may read for one prompt. The coarsest units are always measured.
    """

    scope: Scope
    budget: int


#: The scope of all few-shot examples together.
SHOTS_SCOPE = "shots"


def make_units(prompt: Prompt, units: str | Mapping[str, str], scope: Scope = "content") -> tuple[Unit, ...]:
    """Cut the prompt into units.

    Every token in scope lies in exactly one unit (with ``{"regex": ...}``: in at most one, the tokens of the
    matches). A token that reaches over a boundary joins what it connects, so a token is never split, and
    neither is a character, but for ``"token"``, which takes each piece of it. A unit never crosses from one
    segment into another.

    Args:
        prompt: The fed prompt.
        units: One of :data:`UNIT_KINDS`, or ``{"regex": pattern}`` for one unit a match.
        scope: ``"content"`` leaves template and special tokens in place, ``"all"`` takes the whole prompt,
            ``"reasoning"`` what the model said before what is explained, ``"shots"`` every few-shot example,
            any other value is the name of the one segment to cut; or several of these.

    Returns:
        The units in prompt order.

    Raises:
        PromptError: Nothing is in scope.
    """
    labels = [
        label if _in_scope(segment, scope) else None
        for segment, label in zip(prompt.segments, _labels(prompt, units), strict=True)
    ]
    cut = _runs(prompt, labels, "regex" if isinstance(units, Mapping) else units)
    if not cut:
        found = ", ".join(sorted(set(prompt.segments))) or "none"
        raise PromptError(
            f"nothing in the prompt can be taken away with scope={scope!r} and units={units!r} "
            f"({len(prompt.tokens)} tokens; segments: {found})"
        )
    return cut


def cut_unit(prompt: Prompt, unit: Unit, level: str) -> tuple[Unit, ...]:
    """Cut a unit into finer ones.

    Args:
        prompt: The prompt that it is part of.
        unit: What to cut.
        level: One of :data:`UNIT_KINDS`.

    Returns:
        The pieces, which cover it.
    """
    inside = range(unit.start_token, unit.end_token)
    labels = [label if index in inside else None for index, label in enumerate(_labels(prompt, level))]
    return _runs(prompt, labels, level)


def join_units(prompt: Prompt, units: Sequence[Unit], level: str) -> Unit:
    """One unit for neighbours in the same segment."""
    return _unit(prompt, units[0].start_token, units[-1].end_token, level)


def _unit(prompt: Prompt, start: int, end: int, level: str) -> Unit:
    text = prompt.text[prompt.tokens[start].start : prompt.tokens[end - 1].end]
    return Unit(start, end, text, prompt.segments[start], level)


def _runs(prompt: Prompt, labels: Sequence[int | None], level: str) -> tuple[Unit, ...]:
    """One unit for each run of tokens with the same label in the same segment; none where it is None."""
    cut: list[Unit] = []
    start = 0
    for index in range(1, len(labels) + 1):
        if (
            index < len(labels)
            and labels[index] == labels[start]
            and prompt.segments[index] == prompt.segments[start]
        ):
            continue
        if labels[start] is not None:
            cut.append(_unit(prompt, start, index, level))
        start = index
    return tuple(cut)


def _in_scope(segment: str, scope: Scope) -> bool:
    if not isinstance(scope, str):
        return any(_in_scope(segment, one) for one in scope)
    if scope == "all":
        return segment != REASONING_SEGMENT
    if scope == "content":
        return segment not in FIXED_SEGMENTS and segment != REASONING_SEGMENT
    if scope == SHOTS_SCOPE and segment.startswith(SHOT_PREFIX):
        return True
    return segment == scope


def _labels(prompt: Prompt, units: str | Mapping[str, str]) -> Sequence[int | None]:
    """Number of the unit that each token falls into, None for tokens outside every unit."""
    if units == "token":
        return range(len(prompt.tokens))
    if units == "segment":
        return [0] * len(prompt.tokens)
    if isinstance(units, Mapping):
        return _match_labels(prompt, units["regex"])
    boundaries = _token_boundaries(prompt, list(_starts(prompt, _CUTTERS[units])))
    return [bisect_right(boundaries, token.start) for token in prompt.tokens]


def _starts(prompt: Prompt, cut: Callable[[str], Iterator[Span]]) -> Iterator[int]:
    """Where units start; what the model said is cut as a text of its own, for there its first one starts."""
    places = zip(prompt.tokens, prompt.segments, strict=True)
    said = next((token.start for token, segment in places if segment == REASONING_SEGMENT), len(prompt.text))
    yield from (start for start, _ in cut(prompt.text[:said]))
    yield from (said + start for start, _ in cut(prompt.text[said:]))


def _token_boundaries(prompt: Prompt, starts: Sequence[int]) -> list[int]:
    """Move unit starts inside a token to an edge of it, or drop them where the token joins two units."""
    token_starts = [token.start for token in prompt.tokens]
    boundaries: set[int] = set()
    for start in starts:
        token = prompt.tokens[max(bisect_right(token_starts, start) - 1, 0)]
        if not token.start < start < token.end:
            boundaries.add(start)
        elif not prompt.text[start : token.end].strip():
            boundaries.add(token.end)
        elif not prompt.text[token.start : start].strip():
            boundaries.add(token.start)
    return sorted(boundaries)


def _match_labels(prompt: Prompt, pattern: str) -> list[int | None]:
    """One unit a match, widened to whole tokens; matches that share a token become one, empty ones none."""
    labels: list[int | None] = [None] * len(prompt.tokens)
    for number, match in enumerate(regex.finditer(pattern, prompt.text)):
        if not match.group():
            continue
        touched = [index for index, token in enumerate(prompt.tokens) if _overlaps(token, match.span())]
        known = next((labels[index] for index in touched if labels[index] is not None), number)
        for index in touched:
            labels[index] = known
    return labels


def _overlaps(token: Token, span: Span) -> bool:
    return token.start < span[1] and span[0] < token.end
