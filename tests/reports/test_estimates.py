"""What is said of scores beyond their numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gilot_plugin.artifacts.typed import Record
from gilot_plugin.attribution.types import Interaction, SchemeUse
from gilot_plugin.reports.estimates import (
    pair_numbers,
    pair_words,
    pairs_of,
    qualities_words,
    quality_words,
    rank_words,
    redundancy_words,
    speaks_for,
)
from gilot_plugin.reports.heat import Piece, answer_pieces
from gilot_plugin.reports.positions import behind_tokens
from tests.artifacts import factories
from tests.reports import answers
from tests.reports.html.pages import SCORES


def record(**changes: Any) -> Record:
    return replace(Record.from_json(factories.make_record(scores=SCORES)), **changes)


def test_places_are_by_absolute_scores() -> None:
    assert rank_words(record(), "ot") == ("5", "4", "3", "1", "2", "6")
    assert rank_words(record(), "kl")[5] == "2"


def test_tied_units_share_their_places() -> None:
    tied = record(scheme=SchemeUse("auto", 32, ((2, 4), (5,))))
    assert rank_words(tied, "ot") == ("5", "4", "2-3", "1", "2-3", "6")


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("ot", None),
        ("kl", None),
        ("random", None),
        ("signed_kl", "what the model said"),
        ("logprob", "what the model said"),
        ("logodds", "what the model said"),
        ("margin", "the right choice"),
    ],
)
def test_what_has_a_direction(method: str, words: str | None) -> None:
    assert speaks_for(record(), method) == words


def test_of_choices_it_is_the_choice_that_units_speak_for() -> None:
    choice = Record.from_json(answers.four_choices())
    assert speaks_for(choice, "signed_ot") == "the model's choice"


@pytest.mark.parametrize(
    ("correlation", "words"),
    [
        (0.95, "almost"),
        (0.75, "mostly"),
        (0.5, "only roughly"),
        (0.1, "do not build"),
        (-0.9, "do not build"),
    ],
)
def test_quality_is_told_in_words_and_with_its_number(correlation: float, words: str) -> None:
    tested = record(diagnostics={"lds": {"ot": correlation}, "held_out": 16})
    assert words in quality_words(tested, "ot")
    assert f"{correlation:.2f}" in quality_words(tested, "ot")
    assert quality_words(tested, "kl") == ""
    assert quality_words(record(), "ot") == ""


def test_quality_over_a_run() -> None:
    tested = [record(diagnostics={"lds": {"ot": value}, "held_out": 16}) for value in (0.9, 0.8, 0.3)]
    told = qualities_words([*tested, record()], "ot")
    assert "in 3 samples: the median rank correlation is 0.80; in 1 it is below 0.4" in told
    assert "below" not in qualities_words(tested[:2], "ot")
    assert qualities_words(tested, "kl") == ""


def test_pairs_in_words() -> None:
    instead = Interaction((0, 1), "ot", -0.2, (-0.25, -0.1))
    together = Interaction((0, 1), "ot", 0.2, (0.1, 0.25))
    unsure = Interaction((0, 1), "ot", -0.2, (-0.3, 0.1))
    assert pair_words(instead).startswith("stand in for each other")
    assert pair_words(together).startswith("work only together")
    assert "not sure" in pair_words(unsure)
    assert pair_numbers(instead) == "ot -0.2, between -0.25 and -0.1"
    assert redundancy_words([together, instead])
    assert not redundancy_words([together, unsure])


def test_what_is_behind_the_tokens_that_hang_most_on_the_prompt() -> None:
    capital = Record.from_json(answers.capital())
    texts = [unit.text.strip() for unit in capital.units]
    first, second = behind_tokens(capital, "signed_ot", 5, 2)
    assert (first.token, [texts[unit] for unit in first.units]) == (" Lyon", ["hash", "word"])
    assert second.scores == (0.61, 0.42)
    (only,) = behind_tokens(capital, "signed_ot", 1, 9)
    assert only.token == "."
    assert -0.35 in only.scores
    assert behind_tokens(capital, "margin", 5, 2) == ()
    assert behind_tokens(record(), "ot", 5, 2) == ()


def test_the_answer_is_cut_at_its_explained_tokens() -> None:
    capital = Record.from_json(answers.capital())
    *before, lyon, stop = answer_pieces(capital)
    assert (lyon, stop) == (Piece(" Lyon", (0,)), Piece(".", (1,)))
    assert [piece.units for piece in before] == [()]
    assert "".join(piece.text for piece in answer_pieces(capital)) == answers.SAID


def test_of_an_answer_without_tokens_the_followed_part_is_explained() -> None:
    followed = factories.make_record(hypotheses=factories.HYPOTHESES[:1])
    said = factories.edited(followed, lambda found: found["target"].update(response=" no, never"))
    assert answer_pieces(Record.from_json(said)) == (Piece(" no", (0,)), Piece(", never", ()))
    assert answer_pieces(record()) == (Piece(" no", ()),)
    assert answer_pieces(Record.from_json(answers.four_choices())) == ()


def test_only_what_the_scheme_judged_is_tied() -> None:
    signed = {"signed_ot": SCORES["ot"], **SCORES}
    tied = record(
        scores={name: tuple(scores) for name, scores in signed.items()},
        scheme=SchemeUse("auto", 32, ((2, 4),)),
        intervals={"ot": ((0.0, 1.0),) * 6, "kl": ((0.0, 1.0),) * 6},
    )
    assert rank_words(tied, "signed_ot")[2] == "2-3"
    assert "-" not in "".join(rank_words(tied, "kl"))


def test_pairs_are_those_of_the_method_or_of_the_first_that_has_some() -> None:
    by_ot, by_kl = (Interaction((0, 1), measure, 0.2, (0.1, 0.3)) for measure in ("ot", "kl"))
    paired = record(interactions=(by_ot, by_kl))
    assert pairs_of(paired, "kl") == (by_kl,)
    assert pairs_of(paired, "ot") == pairs_of(paired, "margin") == (by_ot,)
    assert pairs_of(record(), "ot") == ()
