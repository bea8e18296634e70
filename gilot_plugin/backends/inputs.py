"""What a model takes beside token ids, and what it calls it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args, get_origin

from transformers.cache_utils import Cache

#: What inputs are called, where nothing tells otherwise: which tokens of past and pass are attended to, where
#: those of the pass are, whether keys and values are to be kept, and of how many tokens at the end logits are
#: wanted. The input ``cache``, keys and values of the past, has changed its name before.
USUAL = {
    "mask": "attention_mask",
    "positions": "position_ids",
    "use_cache": "use_cache",
    "keep": "logits_to_keep",
}


@dataclass(frozen=True)
class Inputs:
    """Optional inputs of a model.

    Attributes:
        names: What it calls those that it is known to take.
        one_by_one: Whether tokens that follow a cache are given one a pass.
        mask_of_past: Whether the mask is given with tokens that follow a cache.
        body: Those of the model's body, where that is read by itself.
    """

    names: Mapping[str, str]
    one_by_one: bool = False
    mask_of_past: bool = True
    body: Inputs | None = None

    @classmethod
    def of(cls, forward: Callable[..., Any]) -> Inputs:
        """What the signature of a ``forward`` tells."""
        taken = parameters(forward)
        names = {what: name for what, name in USUAL.items() if name in taken}
        cache = cache_argument(forward)
        return cls(names if cache is None else {**names, "cache": cache})

    def __contains__(self, what: str) -> bool:
        """Whether an input is given to the model."""
        return what in self.names

    def calling(self, what: str, name: str) -> Inputs:
        """These and one more."""
        return replace(self, names={**self.names, what: name})

    def without(self, *left_out: str) -> Inputs:
        """The others only."""
        return replace(self, names={what: name for what, name in self.names.items() if what not in left_out})

    def given(self, **values: Any) -> dict[str, Any]:
        """Those of the values, by input, that the model is given, as it calls them."""
        return {
            self.names[what]: value
            for what, value in values.items()
            if value is not None and what in self.names
        }


def parameters(forward: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The arguments that a ``forward`` names."""
    every = inspect.signature(forward).parameters
    collecting = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name: parameter for name, parameter in every.items() if parameter.kind not in collecting}


def collects_others(forward: Callable[..., Any]) -> bool:
    """Whether a ``forward`` takes arguments that it does not name."""
    every = inspect.signature(forward).parameters.values()
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in every)


def cache_argument(forward: Callable[..., Any]) -> str | None:
    """The parameter that is annotated as a cache of transformers; None where no annotation tells."""
    namespace = getattr(inspect.unwrap(forward), "__globals__", {})
    for name, parameter in parameters(forward).items():
        if _tells_of_a_cache(parameter.annotation, namespace):
            return name
    return None


def returned_cache(output: Mapping[str, Any]) -> Cache | None:
    """The cache that a model made while it read something; None where none came back."""
    return next((value for value in output.values() if isinstance(value, Cache)), None)


def _tells_of_a_cache(annotation: Any, namespace: Mapping[str, Any]) -> bool:
    annotation = getattr(annotation, "__forward_arg__", annotation)
    if isinstance(annotation, str):
        return any(_is_cache(namespace.get(word)) for word in re.findall(r"\w+", annotation))
    if get_origin(annotation) is None:
        return _is_cache(annotation)
    return any(_tells_of_a_cache(part, namespace) for part in get_args(annotation))


def _is_cache(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, Cache)
