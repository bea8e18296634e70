"""Models that behave in a way that a test needs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch


def bias_output(model: Any, biases: Mapping[int, float], others: float = 0.0) -> Any:
    """Add to the logits of the given tokens, and ``others`` to those of all other tokens."""
    head = model.get_output_embeddings()
    bias = torch.full((head.out_features,), others)
    for token_id, value in biases.items():
        bias[token_id] = value
    biased = torch.nn.Linear(head.in_features, head.out_features)
    biased.weight = head.weight
    biased.bias = torch.nn.Parameter(bias)
    model.set_output_embeddings(biased)
    return model


def read_last_token_only(model: Any) -> Any:
    """Switch the attention of a Llama off, so that only the last token decides what comes next."""
    for layer in model.model.layers:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
    return model


def before_forward(model: Any, check: Callable[[torch.Tensor], None]) -> Any:
    """Call ``check(input_ids)`` before each pass of the model."""
    forward = model.forward

    @functools.wraps(forward)
    def checked(*args: Any, **kwargs: Any) -> Any:
        check(kwargs["input_ids"])
        return forward(*args, **kwargs)

    model.forward = checked
    return model
