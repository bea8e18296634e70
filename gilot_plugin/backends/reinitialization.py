"""A model as it was before training, for a while."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gilot_plugin.errors import UnsupportedModelError

#: What PEFT puts into the names of the parameters that it wraps.
_WRAPPERS = (("base_model.model.", ""), (".base_layer.", "."))


@contextmanager
def reinitialized(model: Any, seed: int) -> Iterator[None]:
    """Give a model random weights, drawn as its family draws them before training, inside the block.

    Afterwards every weight is what it was, bit for bit, also after an error. Weights on another device than
    the CPU wait in the CPU's memory, so that the device holds one copy at any time. Adapters, which no family
    knows, are drawn from a normal distribution with the mean and standard deviation of each of their weights.

    Args:
        model: A ``PreTrainedModel``, or a PEFT model around one.
        seed: Of the weights. The global random state is left alone.

    Raises:
        UnsupportedModelError: The weights are quantised or not in memory, or the family has others.
    """
    named = dict(model.named_parameters())
    for name, parameter in named.items():
        if parameter.is_meta or not parameter.is_floating_point():
            raise UnsupportedModelError(
                f"{name} cannot be drawn at random, because it is quantised or not in memory: load the "
                "model in float32, float16 or bfloat16 and without offloading to test it with random weights"
            )
    fresh = _fresh_weights(model, seed)
    kept: dict[str, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(seed)
    try:
        for name, parameter in named.items():
            drawn = fresh.pop(_base_name(name), None)
            if drawn is None:
                drawn = _alike(parameter, generator)
            elif drawn.shape != parameter.shape:
                raise UnsupportedModelError(
                    f"{name} has the shape {tuple(parameter.shape)}, its family makes {tuple(drawn.shape)}"
                )
            # On a CPU that is the tensor itself, elsewhere a copy.
            kept[name] = parameter.data.cpu()
            parameter.data = drawn.to(parameter.device, parameter.dtype)
        yield
    finally:
        for name, weights in kept.items():
            named[name].data = weights.to(named[name].device)


def _fresh_weights(model: Any, seed: int) -> dict[str, torch.Tensor]:
    """Weights of a new model of the family, by name, on the CPU."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    usual = torch.get_default_dtype()
    try:
        torch.set_default_dtype(base.dtype)
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.manual_seed(seed)
            made = type(base)(copy.deepcopy(base.config))
    finally:
        torch.set_default_dtype(usual)
    return {name: parameter.data for name, parameter in made.named_parameters()}


def _base_name(name: str) -> str:
    for wrapper, replacement in _WRAPPERS:
        name = name.replace(wrapper, replacement, 1)
    return name


def _alike(parameter: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    values = parameter.detach().float()
    drawn = torch.randn(parameter.shape, generator=generator)
    return drawn * float(values.std(correction=0)) + float(values.mean())
