"""A sample's metrics in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

#: Metrics of one sample that are 1 for a right answer and 0 for a wrong one; so are those called an accuracy.
_RIGHT_OR_WRONG = frozenset({"em", "exact_match", "pass@1", "quasi_exact_match"})


def is_correct(metric: str, value: Any) -> bool | None:
    """Whether a metric calls the sample's answer right.

    Args:
        metric: Name of the metric, with or without ``,filter``.
        value: What the harness computed for the sample.

    Returns:
        None where the metric is not one of right and wrong.
    """
    name = metric.partition(",")[0]
    judges = name in _RIGHT_OR_WRONG or "acc" in name.split("_")
    if not judges or not isinstance(value, int | float) or value not in (0, 1):
        return None
    return bool(value)


def metric_words(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """Describe each metric, e.g. ``"acc: incorrect"``, ``"bleu: 0.41"``, with its filter if it has one."""
    return tuple(
        f"{metric.removesuffix(',none')}: {_value(metric, value)}" for metric, value in metrics.items()
    )


def _value(metric: str, value: Any) -> str:
    correct = is_correct(metric, value)
    if correct is not None:
        return "correct" if correct else "incorrect"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
