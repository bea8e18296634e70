"""A causal language model in two halves, so that logits are made where they are read."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from transformers.modeling_outputs import MoeModelOutputWithPast

from gilot_plugin.backends.passes import innermost
from gilot_plugin.errors import UnsupportedModelError


class Halves:
    """The body of a model, which makes hidden states, and its head, which makes logits of them.

    The head is the model's own ``forward`` around a body that returns what it is given, so whatever a family
    does to its logits is done. The model itself is not touched.

    Args:
        model: The model, or an adapter around it.

    Raises:
        UnsupportedModelError: The model has no body of its own, or someone has changed how the two are put
            together.
    """

    def __init__(self, model: Any) -> None:
        whole = innermost(model)
        prefix = getattr(whole, "base_model_prefix", "")
        if prefix not in whole._modules:
            raise UnsupportedModelError(f"{type(whole).__name__} has no body that could be read by itself")
        self.body = whole._modules[prefix]
        self._head = copy.copy(whole)
        if "forward" in vars(whole) and not hasattr(whole, "_hf_hook"):
            raise UnsupportedModelError("its forward method was replaced")
        if whole._forward_hooks or whole._forward_pre_hooks:
            raise UnsupportedModelError("its forward method has hooks")
        own = vars(self._head)
        own["_modules"] = {**whole._modules, prefix: _Given()}
        # Hooks of accelerate would call the forward of the model that this is a copy of.
        own.pop("forward", None)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Logits, ``[n, vocab]``, of hidden states, ``[n, dim]``."""
        logits: torch.Tensor = self._head.forward(inputs_embeds=states[None], return_dict=True).logits
        return logits[0]


@dataclass
class _States(MoeModelOutputWithPast):
    """A body's output; heads of some families look at fields of their own, of images or encoders."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)


class _Given(torch.nn.Module):
    """Stands for the body; some models ask for its decoder."""

    @property
    def decoder(self) -> _Given:
        return self

    def forward(self, *_: Any, inputs_embeds: torch.Tensor, **__: Any) -> _States:
        return _States(last_hidden_state=inputs_embeds)
