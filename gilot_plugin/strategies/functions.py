"""Functions of the user that choose samples, for the strategy ``function``."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable
from typing import Any

from gilot_plugin.errors import ConfigError

_PLACE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_place(text: str) -> bool:
    """Whether a text says where a function is, ``"package.module:name"``; nothing is imported."""
    return _PLACE.fullmatch(text) is not None


def load_function(place: str) -> Callable[..., Any]:
    """Import a function.

    Args:
        place: Where it is, ``"package.module:name"``.

    Raises:
        ConfigError: It is not there, its module fails, or it is no function.
    """
    try:
        found = importlib.metadata.EntryPoint("", place, "").load()
    except Exception as error:
        raise ConfigError(
            f"select.function={place!r}: cannot be loaded, write package.module:name ({error!r})"
        ) from None
    if not callable(found):
        raise ConfigError(f"select.function={place!r}: is not a function")
    function: Callable[..., Any] = found
    return function
