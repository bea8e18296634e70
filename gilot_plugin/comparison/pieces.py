"""Scores of several records of one document on the same pieces of its prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from gilot_plugin.artifacts.typed import Record

_WORD = re.compile(r"\S+")

#: First character in the prompt and one past the last, white space at the ends aside.
_Span = tuple[int, int]


class Spot(NamedTuple):
    """Where a piece is.

    Attributes:
        text: Its characters.
        segment: The part of the first record's prompt that it lies in.
        position: Its middle, as a share of the length of the first record's prompt.
    """

    text: str
    segment: str
    position: float


class PairedPiece(NamedTuple):
    """A piece of the prompt that both runs scored.

    Attributes:
        text: Its characters.
        segment: The part of the base's prompt that it lies in.
        position: Its middle, as a share of the length of the base's prompt.
        base: Its score in the base run.
        tuned: Its score in the other run.
    """

    text: str
    segment: str
    position: float
    base: float
    tuned: float


class Pieces(NamedTuple):
    """What all records scored.

    Attributes:
        spots: In prompt order.
        scores: For each record, one number a spot.
        coverage: Share of the prompts' words that all have; 1 where the prompts are the same.
        problem: Why the records cannot be compared, in words; None if they can.
    """

    spots: tuple[Spot, ...]
    scores: tuple[tuple[float, ...], ...]
    coverage: float
    problem: str | None = None

    def paired(self, number: int) -> tuple[PairedPiece, ...]:
        """The pieces with the scores of the first record and of another one."""
        both = zip(self.spots, self.scores[0], self.scores[number], strict=True)
        return tuple(PairedPiece(*spot, base, tuned) for spot, base, tuned in both)


def common_pieces(records: Sequence[Record], method: str) -> Pieces:
    """Scores of records on the same pieces.

    Units, if they are alike in all; where ``units: auto`` cut the prompts differently, the finest level at
    which all of them measured the same pieces; else words, over whose characters, white space aside, a unit's
    score is spread, so that units of different tokenizers can be compared.

    Args:
        records: Of one document, each with scores by the method.
        method: Whose scores.
    """
    first, *others = records
    same_prompt = all(record.prompt == first.prompt for record in others)
    if same_prompt and all(record.spans == first.spans for record in others):
        length = max(len(first.prompt), 1)
        spots = tuple(
            Spot(unit.text, unit.segment, (start + end) / 2 / length)
            for unit, (start, end) in zip(first.units, first.spans, strict=True)
        )
        return Pieces(spots, tuple(record.scores[method] for record in records), 1.0)
    if not any(record.coarse_units for record in records):
        return _common_words(records, method)
    if not same_prompt:
        return Pieces((), ((),) * len(records), 0.0, "units: auto cut prompts that are not the same")
    return _common_level(records, method)


# Pieces of different refinements


def _common_level(records: Sequence[Record], method: str) -> Pieces:
    """Pieces that each record measured, whether it cut them further or not, as small as they come."""
    measured = [_measured(record, method) for record in records]
    common = sorted(set.intersection(*map(set, measured)), key=lambda span: (span[0], -span[1]))
    first = records[0]
    spans = list(_finest(first.prompt, common))
    length = max(len(first.prompt), 1)
    segments = dict(_segments(first))
    spots = tuple(
        Spot(first.prompt[start:end], segments[start, end], (start + end) / 2 / length)
        for start, end in spans
    )
    whole = {place for span in measured[0] for place in range(*span) if not first.prompt[place].isspace()}
    reached = sum(_size(first.prompt, span) for span in spans)
    return Pieces(
        spots,
        tuple(tuple(scores[span] for span in spans) for scores in measured),
        reached / max(len(whole), 1),
        None if spots else "units: auto cut the prompts differently, and no piece was measured in all runs",
    )


def _measured(record: Record, method: str) -> dict[_Span, float]:
    """Scores of the units, and of those that were cut further."""
    found = {
        _span(record, coarse.unit.start_token, coarse.unit.end_token): coarse.scores[method]
        for coarse in record.coarse_units
        if method in coarse.scores
    }
    units = zip(record.units, record.scores[method], strict=True)
    found |= {_span(record, unit.start_token, unit.end_token): score for unit, score in units}
    # White space alone has no place of its own.
    return {span: score for span, score in found.items() if span[0] < span[1]}


def _segments(record: Record) -> Iterator[tuple[_Span, str]]:
    for unit in (*(coarse.unit for coarse in record.coarse_units), *record.units):
        yield _span(record, unit.start_token, unit.end_token), unit.segment


def _span(record: Record, start_token: int, end_token: int) -> _Span:
    start, end = record.read_tokens[start_token].start, record.read_tokens[end_token - 1].end
    text = record.prompt[start:end]
    return start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())


def _size(prompt: str, span: _Span) -> int:
    return sum(not character.isspace() for character in prompt[slice(*span)])


def _finest(prompt: str, spans: Sequence[_Span]) -> Iterator[_Span]:
    """The smallest spans that leave nothing out of those around them, in order.

    Args:
        prompt: The text.
        spans: Each within another one or apart from it; by their beginnings, the wider one first.
    """
    place = 0
    while place < len(spans):
        span = spans[place]
        place += 1
        inner = []
        while place < len(spans) and spans[place][1] <= span[1]:
            inner.append(spans[place])
            place += 1
        smaller = list(_finest(prompt, inner))
        complete = sum(_size(prompt, piece) for piece in smaller) == _size(prompt, span)
        yield from smaller if smaller and complete else [span]


# Words of different prompts


class _Word(NamedTuple):
    text: str
    start: int
    end: int
    segment: str
    score: float


def _common_words(records: Sequence[Record], method: str) -> Pieces:
    words = [_words(record, method) for record in records]
    matches = [_matches(words[0], others) for others in words[1:]]
    places = [place for place in range(len(words[0])) if all(place in found for found in matches)]
    length = max(len(records[0].prompt), 1)
    own = [words[0][place] for place in places]
    return Pieces(
        tuple(Spot(word.text, word.segment, (word.start + word.end) / 2 / length) for word in own),
        (
            tuple(word.score for word in own),
            *(
                tuple(others[found[place]].score for place in places)
                for others, found in zip(words[1:], matches, strict=True)
            ),
        ),
        len(places) / max(*map(len, words), 1),
    )


def _matches(words: Sequence[_Word], others: Sequence[_Word]) -> Mapping[int, int]:
    """Places of words, and those of the same words in another prompt."""
    matcher = SequenceMatcher(
        None, [word.text for word in words], [word.text for word in others], autojunk=False
    )
    return {
        block.a + step: block.b + step
        for block in matcher.get_matching_blocks()
        for step in range(block.size)
    }


def _words(record: Record, method: str) -> list[_Word]:
    """The words of the prompt that units reach, with the part of the units' scores that is theirs."""
    found: list[_Word] = []
    spans = [(start, end, _size(record.prompt, (start, end))) for start, end in record.spans]
    first = 0
    for match in _WORD.finditer(record.prompt):
        while first < len(spans) and spans[first][1] <= match.start():
            first += 1
        score, reach, segment = 0.0, 0, ""
        for index in range(first, len(spans)):
            start, end, size = spans[index]
            if start >= match.end():
                break
            overlap = min(end, match.end()) - max(start, match.start())
            if overlap > 0 and size:
                score += record.scores[method][index] * overlap / size
                if overlap > reach:
                    reach, segment = overlap, record.units[index].segment
        if reach:
            found.append(_Word(match[0], *match.span(), segment, score))
    return found
