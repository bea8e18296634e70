"""What a model takes beside token ids, and what it calls its cache."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args, get_origin

from transformers.cache_utils import Cache

#: Inputs that not every model takes. A pass is made with those that the model is known to take well.
_OPTIONAL = ("attention_mask", "use_cache", "position_ids", "logits_to_keep")


@dataclass(frozen=True)
class Inputs:
    """Optional inputs of a model.

    Attributes:
        names: Those that are given to it, its cache excluded.
        cache: What it calls the argument for keys and values of the past, which differs between releases of
            transformers; None if it is not known to take any.
    """

    names: frozenset[str]
    cache: str | None

    @classmethod
    def of(cls, forward: Callable[..., Any]) -> Inputs:
        """What the signature of a model's ``forward`` names."""
        return cls(frozenset(_parameters(forward)).intersection(_OPTIONAL), cache_argument(forward))

    def __contains__(self, name: str) -> bool:
        """Whether an optional input is given to the model."""
        return name in self.names

    def without(self, names: tuple[str, ...]) -> Inputs:
        """The others only."""
        return replace(self, names=self.names.difference(names))

    def given(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the values that the model is given."""
        return {name: value for name, value in values.items() if name in self.names}


def cache_argument(forward: Callable[..., Any]) -> str | None:
    """The parameter that is annotated as a cache of transformers; None where no annotation tells."""
    namespace = getattr(inspect.unwrap(forward), "__globals__", {})
    for name, parameter in _parameters(forward).items():
        if _tells_of_a_cache(parameter.annotation, namespace):
            return name
    return None


def returned_cache(forward: Callable[..., Any], output: Mapping[str, Any]) -> str | None:
    """What a model calls the cache that it returned, if it takes one by the same name, as for generation."""
    taken = _parameters(forward)
    return next((name for name, value in output.items() if isinstance(value, Cache) and name in taken), None)


def _parameters(forward: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(forward).parameters


def _tells_of_a_cache(annotation: Any, namespace: Mapping[str, Any]) -> bool:
    annotation = getattr(annotation, "__forward_arg__", annotation)
    if isinstance(annotation, str):
        return any(_is_cache(namespace.get(word)) for word in re.findall(r"\w+", annotation))
    if get_origin(annotation) is None:
        return _is_cache(annotation)
    return any(_tells_of_a_cache(part, namespace) for part in get_args(annotation))


def _is_cache(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, Cache)
