from __future__ import annotations

import math
from typing import Any

import pytest

from gilot_plugin.artifacts.records import prompt_text
from gilot_plugin.reports.heat import Piece, heat_levels, heat_pieces
from tests.artifacts import factories


def test_levels_are_tenths_of_the_largest_score() -> None:
    assert heat_levels([0.0, 0.09, 0.1, 0.55, 0.95, 1.0]) == (0, 0, 1, 5, 9, 9)
    assert heat_levels([0.002, 0.001]) == (9, 5)


@pytest.mark.parametrize("scores", [[], [0.0, 0.0], [-1.0, -2.0]])
def test_without_a_positive_score_nothing_is_marked(scores: list[float]) -> None:
    assert heat_levels(scores) == (0,) * len(scores)


def test_negative_scores_are_not_marked() -> None:
    assert heat_levels([-5.0, 1.0]) == (0, 9)


def test_extreme_scores_have_levels() -> None:
    assert heat_levels([1.7e308, 8e307, 5e-324]) == (9, 4, 0)
    assert heat_levels([5e-324, 0.0]) == (9, 0)
    assert not math.isfinite(1.7e308 * 10)


def test_pieces_make_up_the_prompt() -> None:
    record = factories.make_record()
    pieces = heat_pieces(record, range(6))
    assert "".join(piece.text for piece in pieces) == prompt_text(record) == factories.TEXT
    assert pieces[:3] == (Piece("<s>User:", None), Piece(" Is", 0), Piece(" the", 1))
    assert pieces[-1] == Piece("\nAnswer:", None)


def shared(*units: tuple[int, int]) -> dict[str, Any]:
    """A record of tokens ``a``, ``é`` in three pieces, ``b``."""
    tokens = [("a", 0, 1), ("é", 1, 2), ("é", 1, 2), ("é", 1, 2), ("b", 2, 3)]
    return {
        "prompt_tokens": [{"id": 1, "text": text, "start": start, "end": end} for text, start, end in tokens],
        "units": [{"start_token": start, "end_token": end} for start, end in units],
    }


def test_a_character_that_units_share_takes_the_highest_level() -> None:
    pieces = heat_pieces(shared((0, 1), (1, 2), (2, 3), (3, 4), (4, 5)), (1, 2, 9, 3, 4))
    assert pieces == (Piece("a", 1), Piece("é", 9), Piece("b", 4))


def test_a_character_on_the_border_of_two_units_belongs_to_the_first() -> None:
    assert heat_pieces(shared((0, 2), (2, 5)), (1, 2)) == (Piece("aé", 1), Piece("b", 2))


def test_a_unit_without_a_character_at_the_start_is_passed_over() -> None:
    record = {
        "prompt_tokens": [{"text": "", "start": 0, "end": 0}, {"text": "a", "start": 0, "end": 1}],
        "units": [{"start_token": 0, "end_token": 1}, {"start_token": 1, "end_token": 2}],
    }
    assert heat_pieces(record, (5, 1)) == (Piece("a", 1),)
