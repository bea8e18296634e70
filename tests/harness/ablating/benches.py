"""Tasks on the bench, without an evaluation around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lm_eval.evaluator

from gilot_plugin.harness.ablating.bench import Bench
from gilot_plugin.harness.ablating.editing import snapshot
from gilot_plugin.harness.entry.start import leaves
from tests.harness.ablating.answering import ReadingLM
from tests.harness.evaluations import loadable, suite_manager


def load(config: Mapping[str, Any]) -> Any:
    """lm-eval's task object, which draws examples from the usual seed."""
    (given,) = loadable([config])
    if isinstance(given, dict):
        (given,) = dict(leaves(suite_manager().load([given]))).values()
    given.set_fewshot_seed(seed=1234)
    return given


def make_bench(
    config: Mapping[str, Any], others: Mapping[str, Any] | None = None, lm: Any = None, **arguments: Any
) -> Bench:
    """A task; ``others`` are those that may lend examples, ``arguments`` those of lm-eval's ``evaluate``."""
    task = load(config)
    known = {name: load(other) for name, other in (others or {}).items()}
    return Bench(
        task.config.task,
        snapshot(task),
        lm or ReadingLM(),
        arguments,
        lm_eval.evaluator.evaluate,
        known.__getitem__,
    )
