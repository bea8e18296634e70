"""Functions of modules that take long to import: named now, imported when they are first called."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pkgutil import resolve_name
from typing import Any


@dataclass(frozen=True)
class Deferred:
    """A function that stands in for another one.

    So that what is on offer can be listed and settings can be checked without torch.

    Attributes:
        place: Where the function is, ``"package.module:name"``.
    """

    place: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.function(*args, **kwargs)

    @cached_property
    def function(self) -> Any:
        """The function itself; its module is imported."""
        return resolve_name(self.place)
