"""Lines of texts of models and data sets, as a console can show them."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from gilot_plugin.reports.visible import Glyphs, crop, glyphs_for, visible


@dataclass(frozen=True, slots=True)
class Lines:
    """What makes lines for a console.

    Attributes:
        console: Where they are printed.
    """

    console: Console

    @property
    def glyphs(self) -> Glyphs:
        """Signs that the console can show."""
        return glyphs_for(self.console.encoding)

    def visible(self, text: str) -> str:
        """A text that the console shows all of and obeys none of."""
        return visible(text, self.console.encoding)

    def quoted(self, text: str, cells: int) -> str:
        """A text in quotation marks, cropped to so many cells."""
        return f'"{crop(self.visible(text), cells, self.glyphs.ellipsis)}"'

    def line(self, text: str, style: str = "") -> Text:
        """A text as a line in a style."""
        return Text(self.visible(text), style)
