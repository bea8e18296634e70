"""Samples of two runs, paired, with their scores on common pieces of the prompt."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import NamedTuple

from gilot_plugin.artifacts.loading import FIRST_POSITION_LEFT_OUT, LoadedRun
from gilot_plugin.artifacts.typed import DEFAULT_METHOD, Record, scored_methods
from gilot_plugin.errors import ArtifactError, one_of

#: Least share of the words that two prompts must have in common.
MIN_COVERAGE = 0.5

_WORD = re.compile(r"\S+")


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


@dataclass(frozen=True)
class Pair:
    """One document that both runs explained.

    Attributes:
        base: Its record in the base run.
        tuned: Its record in the other run.
        pieces: What both scored, in prompt order.
        coverage: Share of the prompts' words that both have; 1 where the prompts are the same.
    """

    base: Record
    tuned: Record
    pieces: tuple[PairedPiece, ...]
    coverage: float


class Unpaired(NamedTuple):
    """A document that is left out, and why.

    Attributes:
        task: Name of the task.
        doc_id: lm-eval's number of the document.
        reason: In words.
    """

    task: str
    doc_id: int
    reason: str


def pair_runs(
    base: LoadedRun, tuned: LoadedRun, method: str
) -> tuple[tuple[Pair, ...], tuple[Unpaired, ...]]:
    """Pair the samples of two runs by task and document hash.

    Args:
        base: The one run.
        tuned: The other run.
        method: Whose scores are compared.

    Returns:
        The pairs, and what could not be paired.
    """
    pairs: list[Pair] = []
    unpaired: list[Unpaired] = []
    others = dict(_numbered(tuned.records))
    older = [{record.key for record in run.without_first_position} for run in (base, tuned)]
    for key, record in _numbered(base.records):
        other = others.pop(key, None)
        problem = _problem(record, other, method)
        if other is not None and (record.key in older[0]) != (other.key in older[1]):
            problem = problem or f"in one of the runs {FIRST_POSITION_LEFT_OUT}"
        if other is not None and problem is None:
            pieces, coverage = common_pieces(record, other, method)
            if coverage >= MIN_COVERAGE:
                pairs.append(Pair(record, other, pieces, coverage))
                continue
            problem = f"the prompts have only {coverage:.0%} of their words in common"
        unpaired.append(Unpaired(record.task, record.doc_id, problem or ""))
    unpaired += [Unpaired(record.task, record.doc_id, "not in the base run") for record in others.values()]
    return tuple(pairs), tuple(unpaired)


def common_method(base: LoadedRun, tuned: LoadedRun, method: str | None) -> str:
    """The method whose scores are compared: the one asked for, or the first that both runs have.

    Raises:
        ArtifactError: Not both have it.
    """
    there = [scored_methods(run.records) for run in (base, tuned)]
    both = [name for name in there[0] if name in there[1]]
    if method is None and both:
        return DEFAULT_METHOD if DEFAULT_METHOD in both else both[0]
    if method is None or method not in both:
        asked = "no method" if method is None else f"no scores by method {method!r}"
        raise ArtifactError(
            f"{asked} in both runs; the one has {one_of(there[0])}, the other {one_of(there[1])}"
        )
    return method


def common_pieces(base: Record, tuned: Record, method: str) -> tuple[tuple[PairedPiece, ...], float]:
    """Scores of two records on the same pieces: on units if those are alike, else on words.

    A unit's score is spread over its characters, white space aside, so that units of different tokenizers can
    be compared.

    Returns:
        The pieces, and the share of the words that both prompts have.
    """
    length = max(len(base.prompt), 1)
    if base.prompt == tuned.prompt and base.spans == tuned.spans:
        found = tuple(
            PairedPiece(unit.text, unit.segment, (start + end) / 2 / length, score, other)
            for unit, (start, end), score, other in zip(
                base.units, base.spans, base.scores[method], tuned.scores[method], strict=True
            )
        )
        return found, 1.0
    words, others = _words(base, method), _words(tuned, method)
    matcher = SequenceMatcher(
        None, [word.text for word in words], [word.text for word in others], autojunk=False
    )
    matched = [
        (words[block.a + step], others[block.b + step])
        for block in matcher.get_matching_blocks()
        for step in range(block.size)
    ]
    found = tuple(
        PairedPiece(word.text, word.segment, (word.start + word.end) / 2 / length, word.score, other.score)
        for word, other in matched
    )
    return found, len(matched) / max(len(words), len(others), 1)


class _Word(NamedTuple):
    text: str
    start: int
    end: int
    segment: str
    score: float


def _words(record: Record, method: str) -> list[_Word]:
    """The words of the prompt that units reach, with the part of the units' scores that is theirs."""
    found: list[_Word] = []
    spans = [
        (start, end, sum(not character.isspace() for character in record.prompt[start:end]))
        for start, end in record.spans
    ]
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


def _numbered(records: Sequence[Record]) -> Iterator[tuple[tuple[str, str, int], Record]]:
    """Records by task and document; copies of a document are told apart by their order."""
    seen: Counter[tuple[str, str]] = Counter()
    for record in records:
        key = record.task, record.doc_hash
        yield (*key, seen[key]), record
        seen[key] += 1


def _problem(base: Record, tuned: Record | None, method: str) -> str | None:
    if tuned is None:
        return "not in the other run"
    for name, record in (("base", base), ("other", tuned)):
        if record.status != "ok":
            return f"{record.status} in the {name} run: {record.reason}"
        if method not in record.scores:
            return f"no scores by method {method!r} in the {name} run"
    return None
