"""Values that show themselves in notebooks and terminals, and do not know how they are drawn.

What draws them reads records and loads templates, so it lies above the modules that define them. The package
says where, once, with :func:`draw_with`; it is loaded when something is first drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Units that a short text about a value names, and the most characters of each.
_NAMED, _CHARACTERS = 3, 20


class Drawing(Protocol):
    """What draws values."""

    def html(self, value: Any) -> str:
        """Static HTML of a value, safe whatever its texts are."""

    def terminal(self, value: Any) -> RenderableType:
        """What rich prints of a value."""


class Displayed:
    """A value that notebooks and terminals show as a report would."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """What Jupyter and other notebooks show."""
        return _drawing().html(self)

    def __rich__(self) -> RenderableType:
        """What ``rich.print`` shows."""
        return _drawing().terminal(self)


def draw_with(load: Callable[[], Drawing]) -> None:
    """Say what draws values.

    Args:
        load: Called once, when something is first drawn.
    """
    global _load, _loaded
    _load, _loaded = load, None


_load: Callable[[], Drawing] | None = None
_loaded: Drawing | None = None


def _drawing() -> Drawing:
    global _loaded
    if _loaded is None:
        if _load is None:
            raise RuntimeError("nothing draws values: import gilot_plugin")
        _loaded = _load()
    return _loaded


def strongest(texts: Sequence[str], scores: Sequence[float]) -> str:
    """The units with the largest absolute scores, for a ``repr``: ``' not' 0.5, ' good' 0.25``.

    Args:
        texts: Of the units.
        scores: One number a unit.
    """
    ranked = sorted(range(len(scores)), key=lambda index: -abs(scores[index]))[:_NAMED]
    named = ", ".join(f"{_short(texts[index])} {scores[index]:.3g}" for index in ranked)
    return f"{named}, ..." if len(scores) > _NAMED else named


def _short(text: str) -> str:
    return repr(text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 3]}...")
