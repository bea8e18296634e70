from __future__ import annotations

from typing import Any

import pytest

from gilot_plugin.artifacts.verdicts import is_correct, metric_words


@pytest.mark.parametrize(
    ("metric", "value", "correct"),
    [
        ("acc", 1.0, True),
        ("acc,none", 0, False),
        ("acc_norm,none", True, True),
        ("exact_match,strict-match", 0.0, False),
        ("prompt_level_strict_acc,none", 1, True),
        ("acc", 0.5, None),
        ("acc", "NaN", None),
        ("acc", [1], None),
        ("bleu", 1.0, None),
        ("accident_rate", 1.0, None),
    ],
)
def test_only_metrics_of_right_and_wrong_judge(metric: str, value: Any, correct: bool | None) -> None:
    assert is_correct(metric, value) is correct


def test_metrics_in_words() -> None:
    metrics = {
        "acc,none": 1.0,
        "exact_match,flexible": 0.0,
        "bleu,none": 0.123456,
        "ppl": "NaN",
        "pair": ["é", 1],
    }
    assert metric_words(metrics) == (
        "acc: correct",
        "exact_match,flexible: incorrect",
        "bleu: 0.1235",
        "ppl: NaN",
        'pair: ["é", 1]',
    )
