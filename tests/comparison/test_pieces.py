"""Prompts that ``units: auto`` cut differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from gilot_plugin.artifacts.typed import Record
from gilot_plugin.attribution.types import CoarseUnit, Token, Unit
from gilot_plugin.comparison.audit import audit_runs
from gilot_plugin.comparison.pairs import pair_runs
from gilot_plugin.comparison.pieces import common_pieces
from tests.comparison.simulated import make_record, make_run

#: Two sentences of two words each.
TEXTS = ("One", " two.", " Three", " four.")
_SPANS = {"one": (0, 1), "two": (1, 2), "three": (2, 3), "four": (3, 4), "first": (0, 2), "second": (2, 4)}


def refined(
    units: Mapping[str, float],
    coarse: Mapping[str, float] | None = None,
    texts: Sequence[str] = TEXTS,
    doc: int = 0,
) -> Record:
    """A record with these units, after those that were cut further."""
    tokens: list[Token] = []
    for text in texts:
        start = tokens[-1].end if tokens else 0
        tokens.append(Token(len(tokens), text, start, start + len(text)))

    def unit(name: str) -> Unit:
        start, end = _SPANS[name]
        return Unit(start, end, "".join(texts[start:end]), "question")

    return replace(
        make_record(list(units.values()), words=[(text, "question") for text in units], doc=doc),
        prompt_tokens=tuple(tokens),
        units=tuple(map(unit, units)),
        coarse_units=tuple(CoarseUnit(unit(name), {"ot": score}) for name, score in (coarse or {}).items()),
    )


def test_the_smallest_pieces_that_both_measured_are_compared() -> None:
    base = refined({"one": 1.0, "two": 2.0, "second": 3.0}, {"first": 2.5})
    tuned = refined({"first": 7.0, "three": 8.0, "four": 9.0}, {"second": 8.5})
    pieces = common_pieces([base, tuned], "ot")
    # Neither sentence was cut by both; what each measured of it, not the sum of its words.
    assert [(spot.text, *scores) for spot, *scores in zip(pieces.spots, *pieces.scores, strict=True)] == [
        ("One two.", 2.5, 7.0),
        ("Three four.", 3.0, 8.5),
    ]
    assert (pieces.coverage, pieces.problem) == (1.0, None)


def test_what_both_cut_is_compared_word_by_word() -> None:
    base = refined({"one": 1.0, "two": 2.0, "second": 3.0}, {"first": 2.5})
    tuned = refined({"one": 5.0, "two": 6.0, "three": 8.0, "four": 9.0}, {"first": 5.5, "second": 8.5})
    pieces = common_pieces([base, tuned], "ot")
    assert [spot.text for spot in pieces.spots] == ["One", "two.", "Three four."]
    assert pieces.scores == ((1.0, 2.0, 3.0), (5.0, 6.0, 8.5))


def test_repetitions_are_compared_on_the_same_pieces() -> None:
    fine = refined({"one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0}, {"first": 2.5, "second": 3.5})
    rough = refined({"one": 1.0, "two": 2.0, "second": 3.0}, {"first": 2.5})
    pairs, ((again,),), _ = pair_runs(make_run([fine]), make_run([fine]), "ot", [make_run([rough])])
    assert [piece.text for piece in pairs[0].pieces] == ["One", "two.", "Three four."]
    assert [piece.text for piece in again.pieces] == ["One", "two.", "Three four."]


def test_a_coarse_score_that_is_spread_over_words_is_no_shift() -> None:
    """The same model, of which one run cut more: over characters, its words would seem to have shifted."""
    base = [refined({"first": 5.0, "second": 3.0}, doc=doc) for doc in range(8)]
    tuned = [refined({"one": 4.9, "two": 0.1, "second": 3.0}, {"first": 5.0}, doc=doc) for doc in range(8)]
    audit = audit_runs(make_run(base), make_run(tuned))
    assert [shift.name for shift in audit.words] == ["one two", "three four"]
    assert all(shift.test.mean == 0 for shift in audit.words)
    assert any("units: auto cut 8 prompts differently" in warning for warning in audit.warnings)


@pytest.mark.parametrize(
    ("tuned", "reason"),
    [
        (refined({"first": 1.0, "second": 1.0}, texts=("One", " two.", " Other", " end.")), "not the same"),
        (refined({"two": 1.0, "three": 1.0}), "no piece was measured in all runs"),
    ],
)
def test_what_cannot_be_compared_says_so(tuned: Record, reason: str) -> None:
    base = refined({"one": 1.0, "four": 2.0}, {"first": 3.0})
    _, _, (left_out,) = pair_runs(make_run([base]), make_run([tuned]), "ot")
    assert left_out.reason.startswith("units: auto cut")
    assert reason in left_out.reason
