"""Answers that any reader can check, on a real model: " Paris" hangs on " capital" and " France"."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

import gilot_plugin

PROMPT = "The capital of France is"


def ranked(scores: Mapping[str, tuple[float, ...]], units: list[str], method: str) -> list[str]:
    """Units by their scores, highest first."""
    return [unit for _, unit in sorted(zip(scores[method], units, strict=True), reverse=True)]


@pytest.mark.parametrize("max_new_tokens", [1, gilot_plugin.GilotConfig().max_new_tokens])
@pytest.mark.parametrize("hypotheses", ["response", "shared"])
def test_the_capital_of_france(smollm2, hypotheses, max_new_tokens):
    config = gilot_plugin.GilotConfig(
        hypotheses=hypotheses, max_new_tokens=max_new_tokens, methods=["ot", "kl", "logprob"]
    )
    found = gilot_plugin.attribute(*smollm2, PROMPT, config=config)
    assert found.hypotheses[0].text.startswith(" Paris")
    units = [unit.text for unit in found.units]
    assert units == ["The", " capital", " of", " France", " is"]
    for method in ("kl", "logprob"):
        order = [unit for unit in ranked(found.scores, units, method) if unit != " is"]
        assert set(order[:2]) == {" capital", " France"}
    assert " capital" in ranked(found.scores, units, "ot")[:2]


def test_distances_at_the_first_position(smollm2):
    """Measured apart from this package: what the prompt predicts next, with and without each word."""
    config = gilot_plugin.GilotConfig(max_new_tokens=1, methods=["ot", "kl"])
    scores = gilot_plugin.attribute(*smollm2, PROMPT, config=config).scores
    assert scores["kl"] == pytest.approx([2.8, 5.6, 1.7, 4.8, 8.9], abs=0.05)
    assert scores["ot"] == pytest.approx([0.79, 0.87, 0.74, 0.72, 1.04], abs=0.01)
