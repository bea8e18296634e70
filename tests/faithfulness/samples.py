"""Samples for tiny models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gilot_plugin.attribution.execution import Execution
from gilot_plugin.attribution.prediction.greedy import Decoding
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.faithfulness.curves import SampleCurves, SampleKey, quantities_named
from gilot_plugin.faithfulness.measurement import measure_faithfulness
from gilot_plugin.faithfulness.ranked import RankedSample, Ranking
from gilot_plugin.faithfulness.store import ValueStore
from tests.attribution.engine_calls import PROMPT, Span, prompt_of, recipe, units_at

ANSWER_TOKENS = 8
OTHER_PROMPT = (5, 17, 240, 99, 100, 3, 88, 7, 61, 250, 12, 30, 41, 9)
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


def sample(
    token_ids: Sequence[int] = PROMPT,
    rankings: Mapping[str, Ranking] = RANKINGS,
    doc_id: int = 0,
    spans: Sequence[Span] = SPANS,
    **more: Any,
) -> RankedSample:
    prompt = prompt_of(token_ids)
    units = tuple(units_at(prompt, spans))
    return RankedSample(SampleKey("task", doc_id, f"hash{doc_id}"), prompt, units, rankings, **more)


def absences(*names: str, **settings: Any) -> dict[str, Recipe]:
    return {name: recipe(absence=name, replace_with=4, num_beams=2, **settings) for name in names}


def measured(
    model: Any,
    samples: Sequence[RankedSample],
    recipes: Mapping[str, Recipe],
    store: ValueStore | None = None,
    embedder: CountingEmbedder | None = None,
    progress: Callable[[int, int], None] | None = None,
    quantities: Sequence[str] = (),
    **execution: Any,
) -> list[SampleCurves]:
    return list(
        measure_faithfulness(
            TransformersBackend(model),
            Numbering(),
            samples,
            recipes,
            embedder or CountingEmbedder(),  # type: ignore[arg-type]
            store or ValueStore("tiny"),
            Decoding(ANSWER_TOKENS, Execution(**{"num_threads": 1, **execution})),
            progress,
            quantities_named(quantities),
        )
    )
