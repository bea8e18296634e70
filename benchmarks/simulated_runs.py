"""Runs that were never made: prompts of words, and scores whose shifts are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gilot_plugin.artifacts.loading import LoadedRun
from gilot_plugin.artifacts.models import SCHEMA_VERSION, RecordedTarget
from gilot_plugin.artifacts.typed import Record
from gilot_plugin.attribution.types import Choice, Token, Unit

DATE = "2026-01-01T00-00-00.000000"
TASKS = ("films", "books")


#: The first word of each document, which gives what others gain: their shares grow and no third one's falls.
FILLER = 0
_FILLER_SCORE = 15.0


class Documents(NamedTuple):
    """What all runs are made over.

    Attributes:
        words: For each document, numbers of its words.
        common: For each document, scores that all runs have in common, one a word.
    """

    words: Sequence[np.ndarray]
    common: Sequence[np.ndarray]


def make_documents(
    generator: np.random.Generator, count: int, *, vocabulary: int, length: int, shape: float = 1.0
) -> Documents:
    """Prompts of so many words, the first of which is the same in all.

    Args:
        generator: Draws words and scores.
        count: Number of documents.
        vocabulary: Number of words beside the first one.
        length: Words a document, beside the first one.
        shape: Of the gamma distribution of scores; the smaller, the more of the attribution lies on few
            words.
    """
    words = [np.append(FILLER, 1 + generator.permutation(vocabulary)[:length]) for _ in range(count)]
    scores = [np.append(_FILLER_SCORE, generator.gamma(shape, 1.0, length) + 1e-9) for _ in range(count)]
    return Documents(words, scores)


def make_run(
    generator: np.random.Generator,
    documents: Documents,
    *,
    noise: float = 0.3,
    factors: Mapping[int, float] | None = None,
    accuracy: float = 0.7,
) -> LoadedRun:
    """A run over the documents.

    Args:
        generator: Draws the noise and the answers.
        documents: The documents.
        noise: How far, in logarithms, scores scatter around what all runs have in common.
        factors: What the scores of some words are multiplied with; the first word gives what they gain.
        accuracy: How often a document is answered right, each independently.
    """
    records = []
    for number, (words, common) in enumerate(zip(*documents, strict=True)):
        scores = common * np.exp(noise * generator.normal(size=len(common)))
        lifted = scores * np.array([(factors or {}).get(int(word), 1.0) for word in words])
        lifted[0] = max(1e-9, scores[0] - (lifted[1:] - scores[1:]).sum())
        names = [f"w{word:03d}" for word in words]
        correct = bool(generator.random() < accuracy)
        records.append(make_record(number, names, lifted, correct=correct, chance=generator.random()))
    return LoadedRun(Path("nowhere"), DATE, None, tuple(records))


def make_record(
    number: int,
    words: Iterable[str],
    scores: Iterable[float],
    *,
    segments: Sequence[str] | None = None,
    correct: bool = True,
    chance: float = 0.5,
) -> Record:
    """A record whose units are words.

    Args:
        number: Of the document, whose task comes in turn.
        words: Its words.
        scores: One a word.
        segments: One a word; by default the first half is ``question`` and the rest ``answer``.
        correct: Whether it was answered right.
        chance: Of the first of two choices, where 0 is 0.2 and 1 is 0.8.
    """
    named = list(words)
    tokens: list[Token] = []
    for index, word in enumerate(named):
        start = tokens[-1].end if tokens else 0
        text = f" {word}"
        tokens.append(Token(index, text, start, start + len(text)))
    parts = segments or ["question" if index < len(named) // 2 else "answer" for index in range(len(named))]
    probabilities = (0.2 + 0.6 * chance, 0.8 - 0.6 * chance)
    choices = tuple(
        Choice(text, (index,), float(np.log(one)), float(np.log(one)), one)
        for index, (text, one) in enumerate(zip((" yes", " no"), probabilities, strict=True))
    )
    return Record(
        task=TASKS[number % len(TASKS)],
        doc_id=number,
        doc_hash=f"d{number}",
        prompt_hash=f"p{number}",
        target_hash=f"t{number}",
        request_type="multiple_choice",
        status="ok",
        reason=None,
        prompt_tokens=tuple(tokens),
        units=tuple(
            Unit(index, index + 1, token.text, part, "word")
            for index, (token, part) in enumerate(zip(tokens, parts, strict=True))
        ),
        target=RecordedTarget(kind="choices", choices=choices, gold=(0,)),
        scores={"ot": tuple(map(float, scores))},
        flows=((),) * len(tokens),
        total_flows=(),
        coarse_units=(),
        diagnostics={},
        metrics={"acc,none": float(correct)},
        config_hash="c" * 64,
        model="simulated",
        schema_version=SCHEMA_VERSION,
        record_sha256="0" * 64,
    )
