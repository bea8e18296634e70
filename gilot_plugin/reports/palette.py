"""Colours of heat maps: one scale for what speaks for the outcome, one for what speaks against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

#: Levels above 0, which stands for "hardly anything".
MAX_LEVEL = 9


class Theme(NamedTuple):
    """Colours on one ground, as ``#rrggbb``.

    Attributes:
        paper: The ground.
        ink: Text on it.
        faint: Text that stands outside all units.
        positive: Grounds of levels 1 to 9.
        negative: Grounds of levels -1 to -9.
    """

    paper: str
    ink: str
    faint: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]

    def ground(self, level: int) -> str:
        """The ground of a level from -9 to 9."""
        scale = self.positive if level > 0 else self.negative
        return scale[abs(level) - 1] if level else self.paper

    def grey(self, level: int) -> str:
        """The ground of a level from 1 to 9 of what has no direction; the ink stands out on each."""
        share = level / MAX_LEVEL / 3
        mixed = (
            round(int(paper, 16) + (int(ink, 16) - int(paper, 16)) * share)
            for paper, ink in zip(_channels(self.paper), _channels(self.ink), strict=True)
        )
        return "#" + "".join(f"{channel:02x}" for channel in mixed)

    def ink_on(self, level: int) -> str:
        """Text on the ground of a level: black or white, whichever stands out more."""
        ground = self.ground(level)
        return max(_INKS, key=lambda ink: contrast(ink, ground)) if level else self.ink


_INKS = ("#111111", "#ffffff")

#: ColorBrewer's YlOrBr and Blues in nine classes: orange and blue are told apart by every common kind of
#: colour blindness, and each goes evenly from light to dark, also in print.
LIGHT = Theme(
    paper="#ffffff",
    ink="#1a1a1a",
    faint="#6b6b6b",
    positive=(
        *("#ffffe5", "#fff7bc", "#fee391", "#fec44f", "#fe9929"),
        *("#ec7014", "#cc4c02", "#993404", "#662506"),
    ),
    negative=(
        *("#f7fbff", "#deebf7", "#c6dbef", "#9ecae1", "#6baed6"),
        *("#4292c6", "#2171b5", "#08519c", "#08306b"),
    ),
)

#: The same hues on a dark ground, where strong means light.
DARK = Theme(
    paper="#15171c",
    ink="#e8e8e8",
    faint="#9a9da4",
    positive=(
        *("#2a2015", "#3d2b14", "#523711", "#6b450d", "#87560c"),
        *("#a46810", "#cc8521", "#eba73f", "#ffd27f"),
    ),
    negative=(
        *("#16202b", "#17293a", "#16344c", "#154263", "#16537f"),
        *("#1f699f", "#3a86bf", "#6aaade", "#a9d3f7"),
    ),
)

THEMES: Mapping[str, Theme] = {"light": LIGHT, "dark": DARK}

#: For lines and bars (Okabe and Ito's set for the colour-blind), most different first.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


def heat_levels(scores: Sequence[float]) -> tuple[int, ...]:
    """Tenths of the largest absolute score that each score reaches, at most 9, with its sign."""
    largest = max(map(abs, scores), default=0.0)
    if largest <= 0:
        return (0,) * len(scores)
    # The quotient first: ten times a score may be infinite.
    return tuple(max(-MAX_LEVEL, min(MAX_LEVEL, int(score / largest * 10))) for score in scores)


@cache
def contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2, success criterion 1.4.3)."""
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = (int(channel, 16) / 255 for channel in _channels(colour))
    linear = (value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in channels)
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _channels(colour: str) -> tuple[str, str, str]:
    return colour[1:3], colour[3:5], colour[5:7]
