from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import pytest

from gilot_plugin.artifacts.typed import Record
from gilot_plugin.attribution.types import Token, Unit
from gilot_plugin.reports.heat import Piece, heat_pieces
from gilot_plugin.reports.palette import MAX_LEVEL, THEMES, Theme, contrast, heat_levels
from tests.artifacts import factories


def test_levels_are_tenths_of_the_largest_score() -> None:
    assert heat_levels([0.0, 0.09, 0.1, 0.55, 0.95, 1.0]) == (0, 0, 1, 5, 9, 9)
    assert heat_levels([0.002, 0.001]) == (9, 5)


@pytest.mark.parametrize("scores", [[], [0.0, 0.0]])
def test_without_a_score_nothing_is_marked(scores: list[float]) -> None:
    assert heat_levels(scores) == (0,) * len(scores)


def test_levels_have_the_sign_of_the_score() -> None:
    assert heat_levels([-5.0, 1.0]) == (-9, 2)


def test_extreme_scores_have_levels() -> None:
    assert heat_levels([1.7e308, 8e307, 5e-324]) == (9, 4, 0)
    assert heat_levels([5e-324, 0.0]) == (9, 0)
    assert not math.isfinite(1.7e308 * 10)


def test_pieces_make_up_the_prompt() -> None:
    record = Record.from_json(factories.make_record())
    pieces = heat_pieces(record)
    assert "".join(piece.text for piece in pieces) == record.prompt == factories.TEXT
    assert pieces[:3] == (Piece("<s>User:", ()), Piece(" Is", (0,)), Piece(" the", (1,)))
    assert pieces[-1] == Piece("\nAnswer:", ())
    assert pieces[0].level(range(6)) is None
    assert pieces[2].level(range(6)) == 1


def shared(*units: tuple[int, int], tokens: Sequence[tuple[str, int, int]] | None = None) -> Record:
    """A record of tokens ``a``, ``é`` in three pieces, ``b``."""
    tokens = tokens or [("a", 0, 1), ("é", 1, 2), ("é", 1, 2), ("é", 1, 2), ("b", 2, 3)]
    return dataclasses.replace(
        Record.from_json(factories.make_record()),
        prompt_tokens=tuple(Token(1, *token) for token in tokens),
        units=tuple(Unit(start, end, "", "content") for start, end in units),
    )


def test_a_character_that_units_share_takes_the_strongest_level() -> None:
    pieces = heat_pieces(shared((0, 1), (1, 2), (2, 3), (3, 4), (4, 5)))
    assert pieces == (Piece("a", (0,)), Piece("é", (1, 2, 3)), Piece("b", (4,)))
    assert pieces[1].level((1, 2, -9, 3, 4)) == -9


def test_a_character_on_the_border_of_two_units_belongs_to_the_first() -> None:
    assert heat_pieces(shared((0, 2), (2, 5))) == (Piece("aé", (0,)), Piece("b", (1,)))


def test_a_unit_without_a_character_at_the_start_is_passed_over() -> None:
    record = shared((0, 1), (1, 2), tokens=[("", 0, 0), ("a", 0, 1)])
    assert heat_pieces(record) == (Piece("a", (1,)),)


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES.keys())
def test_text_is_legible_on_every_level(theme: Theme) -> None:
    """The contrast that WCAG 2 asks of text (level AA)."""
    for level in range(-MAX_LEVEL, MAX_LEVEL + 1):
        assert contrast(theme.ink_on(level), theme.ground(level)) >= 4.5
    assert contrast(theme.faint, theme.paper) >= 4.5


def test_contrast_as_the_standard_gives_it() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES.keys())
def test_levels_go_evenly_from_the_paper_on(theme: Theme) -> None:
    for scale in (theme.positive, theme.negative):
        distances = [contrast(theme.paper, colour) for colour in scale]
        assert distances == sorted(distances)
