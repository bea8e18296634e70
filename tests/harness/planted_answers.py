"""Models that generate what a test wants to be said."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch


def saying(model: Any, tokenizer: Any, answers: Mapping[str, str]) -> Any:
    """A copy of a model whose greedy answers are given; what it predicts is its own business.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        answers: What is said, by a part of the prompt; whatever has none of them is answered with nothing.
    """
    planted = copy.deepcopy(model)

    def generate(*, input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        said = []
        for row in input_ids:
            prompt = tokenizer.decode(row)
            text = next((text for part, text in answers.items() if part in prompt), "")
            said.append([*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id])
        longest = max(map(len, said))
        padded = [[*ids, *(tokenizer.pad_token_id,) * (longest - len(ids))] for ids in said]
        return torch.cat((input_ids, torch.tensor(padded)), dim=1)

    planted.generate = generate
    return planted
