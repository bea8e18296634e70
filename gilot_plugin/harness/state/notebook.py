"""One output of a notebook's cell that is drawn anew in its place."""

from __future__ import annotations

from time import monotonic
from typing import Any

from rich.progress import Progress

#: Seconds between two drawings: each is a message to the browser.
_PAUSE = 0.25


class NotebookOutput:
    """Progress bars in a notebook.

    Rich draws live with ipywidgets alone, whose outputs a saved notebook does not keep. What is drawn here
    needs nothing beside Jupyter, and the last drawing stays.

    Args:
        bars: What is drawn; it is not started.
    """

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._handle: Any = None
        self._drawn = 0.0

    def __enter__(self) -> NotebookOutput:
        from IPython.display import display

        self._handle = display(self._bundle(), raw=True, display_id=True)
        self._drawn = monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.update(self._bundle(), raw=True)
        self._handle = None

    def refresh(self) -> None:
        """Draw the bars as they are, unless they were drawn just now."""
        if self._handle is not None and monotonic() - self._drawn >= _PAUSE:
            self._handle.update(self._bundle(), raw=True)
            self._drawn = monotonic()

    def _bundle(self) -> dict[str, str]:
        # Rich's annotation asks for what `Progress` is only after `__rich__`, which it calls itself.
        bars: Any = self._bars
        bundle: dict[str, str] = bars._repr_mimebundle_(include=[], exclude=[])
        return bundle
