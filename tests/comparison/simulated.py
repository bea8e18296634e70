"""Hand-made runs of two models over the same documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gilot_plugin.artifacts.loading import LoadedRun
from gilot_plugin.artifacts.models import SCHEMA_VERSION, RecordedTarget
from gilot_plugin.artifacts.typed import Record
from gilot_plugin.attribution.types import Choice, Token, TotalFlow, Unit

DATE = "2026-05-17T09-30-00.123456"

#: Words of a prompt with the part that each belongs to.
WORDS = (
    *(("Answer", "description"), (" briefly", "description"), (".", "description")),
    *((" Was", "question"), (" the", "question"), (" film", "question"), (" good", "question")),
    *((" on", "question"), (" Tuesday", "question"), ("?", "question")),
)


def make_record(
    scores: Sequence[float] | Mapping[str, Sequence[float]],
    *,
    words: Iterable[tuple[str, str]] = WORDS,
    task: str = "films",
    doc: int = 0,
    doc_hash: str | None = None,
    correct: bool | None = True,
    target: RecordedTarget | None = None,
    flows: tuple[TotalFlow, ...] = (),
    status: Any = "ok",
    schema_version: str = SCHEMA_VERSION,
) -> Record:
    """A record whose units are the words; ``scores`` without a name are those of ``ot``."""
    tokens: list[Token] = []
    for text, _ in words:
        start = tokens[-1].end if tokens else 0
        tokens.append(Token(len(tokens), text, start, start + len(text)))
    units = tuple(Unit(index, index + 1, text, segment) for index, (text, segment) in enumerate(words))
    named = scores if isinstance(scores, Mapping) else {"ot": scores}
    return Record(
        task=task,
        doc_id=doc,
        doc_hash=doc_hash or f"d{doc}",
        prompt_hash=f"p{doc}",
        target_hash=f"t{doc}",
        request_type="multiple_choice",
        status=status,
        reason=None if status == "ok" else "out of memory",
        prompt_tokens=tuple(tokens),
        units=units,
        target=target or two_choices(0.7),
        scores={name: tuple(map(float, values)) for name, values in named.items()},
        flows=((),) * len(units),
        total_flows=flows,
        coarse_units=(),
        diagnostics={},
        metrics={} if correct is None else {"acc,none": float(correct)},
        config_hash="c" * 64,
        model="tiny",
        schema_version=schema_version,
        record_sha256="0" * 64,
    )


def two_choices(first: float) -> RecordedTarget:
    """Of which the first one has this probability."""
    probabilities = (first, 1 - first)
    return RecordedTarget(
        kind="choices",
        choices=tuple(
            Choice(text, (index,), float(np.log(probability)), float(np.log(probability)), probability)
            for index, (text, probability) in enumerate(zip((" yes", " no"), probabilities, strict=True))
        ),
        gold=(0,),
    )


def make_run(
    records: Iterable[Record], *, folder: Path = Path("nowhere"), manifest: Mapping[str, Any] | None = None
) -> LoadedRun:
    """A run that was never on a disk."""
    return LoadedRun(folder, DATE, manifest, tuple(records))


def noisy_runs(
    seed: int, pairs: int, count: int, *, noise: float = 0.3, lifted: Mapping[str, float] | None = None
) -> list[LoadedRun]:
    """So many runs over the same documents.

    Args:
        seed: Of documents and noise.
        pairs: Number of documents, of two tasks.
        count: Number of runs.
        noise: How far, in logarithms, a run's scores scatter around what the documents have in common.
        lifted: For the second run only, by what a word's scores are multiplied.
    """
    generator = np.random.default_rng(seed)
    common = generator.gamma(1.0, 1.0, (pairs, len(WORDS)))
    factors = np.array([(lifted or {}).get(text.strip(), 1.0) for text, _ in WORDS])
    runs = []
    for number in range(count):
        scores = common * np.exp(noise * generator.normal(size=common.shape))
        if number == 1:
            scores = scores * factors
        right = generator.random(pairs) < 0.7
        sure = generator.random(pairs)
        runs.append(
            make_run(
                make_record(
                    scores[doc],
                    task=("films", "books")[doc % 2],
                    doc=doc,
                    correct=bool(right[doc]),
                    target=two_choices(float(0.2 + 0.6 * sure[doc])),
                )
                for doc in range(pairs)
            )
        )
    return runs
