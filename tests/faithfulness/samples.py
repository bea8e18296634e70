"""Subjects for tiny models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gilot_plugin.faithfulness.curves import SampleKey
from gilot_plugin.faithfulness.subjects import Ranking, Subject
from tests.attribution.engine_calls import PROMPT, Span, prompt_of, units_at

SPANS = [(0, 1), (3, 5), (6, 7), (8, 9), (10, 13), (13, 14)]
RANKINGS: Mapping[str, Ranking] = {"some": (2, 0, 5, 1, 4, 3), "other": (5, 2, 0, 1, 3, 4)}


class CountingEmbedder:
    """Texts are as alike as the sets of their characters; counts what it is asked."""

    name = "characters"

    def __init__(self) -> None:
        self.asked = 0

    def similarities(self, reference: str, texts: Sequence[str]) -> list[float]:
        self.asked += len(texts)
        return [character_similarity(reference, text) for text in texts]


def character_similarity(one: str, other: str) -> float:
    return len(set(one) & set(other)) / max(1, len(set(one) | set(other)))


class Numbering:
    """A tokenizer that only decodes."""

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        return " ".join(map(str, ids))


def subject(
    token_ids: Sequence[int] = PROMPT,
    rankings: Mapping[str, Ranking] = RANKINGS,
    doc_id: int = 0,
    spans: Sequence[Span] = SPANS,
    **more: Any,
) -> Subject:
    prompt = prompt_of(token_ids)
    units = tuple(units_at(prompt, spans))
    return Subject(SampleKey("task", doc_id, f"hash{doc_id}"), prompt, units, rankings, **more)
