"""What was found out about models, kept as long as they live."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import torch

from gilot_plugin.backends._transformers.passes import Passes, innermost

_FoundT = TypeVar("_FoundT")

_KNOWN: WeakKeyDictionary[Any, dict[Hashable, object]] = WeakKeyDictionary()


def found_once(passes: Passes, what: Hashable, find: Callable[[], _FoundT]) -> _FoundT:
    """Find something out about a model, or remember it from an earlier time.

    Nothing is remembered of models whose ``forward`` someone has changed, for it may be changed again.

    Args:
        passes: Passes of the model.
        what: What is to be found out.
        find: Finds it out; if it raises, nothing is remembered.
    """
    if _is_changed(passes.model) or _is_changed(innermost(passes.model)):
        return find()
    known = _KNOWN.setdefault(passes.model, {})
    key = (what, _state(passes))
    if key not in known:
        known[key] = find()
    return cast("_FoundT", known[key])


def _is_changed(model: Any) -> bool:
    replaced = "forward" in vars(model) and not hasattr(model, "_hf_hook")
    return replaced or bool(model._forward_hooks or model._forward_pre_hooks)


def _state(passes: Passes) -> Hashable:
    """What may change in a model's life and change how it reads."""
    model = passes.model
    return (
        passes.dtype,
        str(passes.device),
        torch.get_float32_matmul_precision(),
        getattr(passes.text_config, "_attn_implementation", None),
        tuple(getattr(model, "active_adapters", ()) if hasattr(model, "peft_config") else ()),
        _adapters_are_off(model),
    )


def _adapters_are_off(model: Any) -> bool:
    return any(getattr(module, "disable_adapters", False) is True for module in model.modules())
