"""Logged samples, and what strategies choose of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from gilot_plugin.extension.samples import ChosenSample, Sample
from gilot_plugin.harness.choosing.context import RunContext
from gilot_plugin.harness.choosing.samples import samples_of_task
from gilot_plugin.harness.state.run import EvaluationRun
from gilot_plugin.settings.selection import parse_selection
from gilot_plugin.strategies.combined import choose as choose_by


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


def chosen_by(selection: Any, among: Sequence[Sample], seed: int = 0) -> Sequence[ChosenSample]:
    """What a selection, as settings have it, chooses."""
    return choose_by(parse_selection(selection), among, RunContext(cast("EvaluationRun", None), seed))


def choose(strategy: str, among: Sequence[Sample], seed: int = 0, **options: Any) -> list[int]:
    """Numbers of the documents that a strategy chooses."""
    chosen = chosen_by({"strategy": strategy, **options}, among, seed)
    return [one.sample.identity.doc_id for one in chosen]
