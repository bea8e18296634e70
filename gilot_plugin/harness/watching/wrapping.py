"""Wrap a method of one object for a while, to see what goes through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Method = Callable[..., Any]

#: Attribute of what stands in for a method: what the object itself had under that name, None for nothing.
REPLACED = "_gilot_replaced"


@contextmanager
def wrapped(owner: Any, name: str, wrap: Callable[[Method], Method]) -> Iterator[None]:
    """Replace a bound method on the object itself; objects without that method are left alone."""
    method = getattr(owner, name, None)
    if method is None:
        yield
        return
    own = vars(owner).get(name)
    wrapper = wrap(method)
    setattr(wrapper, REPLACED, own)
    setattr(owner, name, wrapper)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)
