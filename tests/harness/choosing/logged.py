"""Logged samples, and what strategies choose of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from gilot_plugin.harness.choosing.samples import Sample, samples_of_task
from gilot_plugin.harness.choosing.selecting import SelectionContext
from gilot_plugin.harness.choosing.selecting import choose as strategies_choose
from gilot_plugin.harness.run import EvaluationRun
from gilot_plugin.settings.selection import checked_selection


def samples(count: int, **metrics: Sequence[Any]) -> list[Sample]:
    """Samples of a task as lm-eval logs them, with a value of each metric for each document."""
    rows = [
        {
            "doc_id": doc_id,
            "doc": {"n": doc_id},
            "target": 0,
            "arguments": [("prompt", " yes")],
            "resps": [[(0.0, False)]],
            "filter": "none",
            "metrics": list(metrics),
            "doc_hash": f"doc {doc_id}",
            "prompt_hash": f"prompt {doc_id}",
            "target_hash": "target",
            **{name: values[doc_id] for name, values in metrics.items()},
        }
        for doc_id in range(count)
    ]
    return samples_of_task("some_task", "multiple_choice", rows)


def choose(strategy: str, among: Sequence[Sample], seed: int = 0, **options: Any) -> list[int]:
    """Numbers of the documents that a strategy chooses."""
    context = SelectionContext(cast("EvaluationRun", None), seed)
    chosen = strategies_choose(checked_selection({"strategy": strategy, **options}), among, context)
    return [choice.sample.identity.doc_id for choice in chosen]
