"""Comprehensiveness and sufficiency by ferret 0.4.2, which is not installed with this project.

    python -m venv ferret && ferret/bin/pip install 'ferret-xai==0.4.2' 'numpy<2' torch
    ferret/bin/python tests/faithfulness/golden/make_ferret_metrics.py

Its versions of numpy and transformers do not go with lm-eval's, so its numbers are kept in a file beside
this one.
Prompts are words ``w0`` to ``w39``; ``stand_in.py`` stands in for a model, and the class is its sigmoid.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch

# Only a data set needs it, and it brings spaCy.
sys.modules["thermostat"] = ModuleType("thermostat")

from ferret.evaluators.faithfulness_measures import (  # noqa: E402
    AOPC_Comprehensiveness_Evaluation,
    AOPC_Sufficiency_Evaluation,
)
from stand_in import logit  # noqa: E402


class Helper:
    """Takes the place of ferret's wrapper around a model and its tokenizer."""

    tokenizer = SimpleNamespace(decode=lambda words: " ".join(f"w{word}" for word in words))

    def _tokenize(self, text: str) -> dict[str, torch.Tensor]:
        words = torch.tensor([[int(word[1:]) for word in text.split()]])
        return {"input_ids": words, "attention_mask": torch.ones_like(words)}

    def _forward(self, texts: str | list[str], output_hidden_states: bool) -> tuple[None, torch.Tensor]:
        read = [texts] if isinstance(texts, str) else texts
        logits = [logit([int(word[1:]) for word in text.split()]) for text in read]
        return None, torch.tensor([[0.0, value] for value in logits], dtype=torch.float64)


def main() -> None:
    """Write the file."""
    draw = random.Random(0)
    # The first and last word are no special tokens here.
    options = {"remove_first_last": False}
    cases = []
    for length in (10, 20) * 4:
        words = draw.sample(range(40), length)
        scores = [draw.random() for _ in words]
        explanation = SimpleNamespace(text=Helper.tokenizer.decode(words), scores=scores, tokens=words)
        found = {}
        for name, kind in (
            ("comprehensiveness", AOPC_Comprehensiveness_Evaluation),
            ("sufficiency", AOPC_Sufficiency_Evaluation),
        ):
            evaluator = kind.__new__(kind)
            evaluator.helper = Helper()
            found[name] = float(evaluator.compute_evaluation(explanation, target=1, **options).score)
        cases.append({"words": words, "scores": scores, **found})
    path = Path(__file__).with_name("ferret_metrics.json")
    path.write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
