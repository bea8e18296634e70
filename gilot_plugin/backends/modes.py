"""Contexts in which a model is read, and that leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedConfig


@contextmanager
def evaluation_mode(model: Any) -> Iterator[None]:
    """Switch dropout off for a while; afterwards each module has its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """Evaluation mode, and the random state is afterwards what it was."""
    devices = {parameter.device for parameter in model.parameters() if parameter.is_cuda}
    with torch.random.fork_rng(devices=devices), evaluation_mode(model):
        yield


@contextmanager
def eager_attention(model: Any) -> Iterator[None]:
    """Switch to the attention that keeps its weights, where the model can; afterwards it is as before."""
    held = [getattr(module, "config", None) for module in model.modules()]
    configs = {id(config): config for config in held if isinstance(config, PreTrainedConfig)}.values()
    # The public setter changes configurations that no module reads, and says so at every call.
    before = [(config, config._attn_implementation_internal) for config in configs]
    for config in configs:
        config._attn_implementation_internal = "eager"
    try:
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation_internal = implementation
