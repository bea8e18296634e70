"""Lists of choices, in wordings that tasks have."""

from __future__ import annotations

import pytest

from gilot_plugin.harness.ablating.choices import common_end, without_choices, without_stem

pytestmark = pytest.mark.lm_eval

_FISH = ["red fish", "blue bird"]


@pytest.mark.parametrize(
    ("text", "choices", "left"),
    [
        ("Q?\nA. x\nB. y", ["A", "B"], "Q?"),
        ("Q?\n(a) x (b) y\nSo:", ["a", "b"], "Q?\nSo:"),
        ("Q? red fish or blue bird?", _FISH, "Q?  or ?"),
        ("Options:\n- red fish\n- blue bird\nSo:", _FISH, "Options:\nSo:"),
        ("red fish or blue bird?\nA. red fish\nB. blue bird\nSo:", _FISH, "red fish or blue bird?\nSo:"),
        ("Is vitamin A. good?\nA. yes\nB. no\nSo:", ["A", "B"], "Is vitamin A. good?\nSo:"),
        ("A red fish met us in summer, not a blue bird.", _FISH, "A  met us in summer, not a ."),
        ("Is vitamin A. good?\nAsk Dr. B. now", ["A", "B", "C"], None),
        ("Nothing of them is here", _FISH, None),
        ("one", ["one"], None),
        ("Q?\nA) x\nB) y\nSo:", None, "Q?\nSo:"),
        ("Q?\n(A) x (B) y (C) z\nA: So", None, "Q?\nA: So"),
        ("Q?\nChoices:\n(A) x\n(B) y\nSo:", ["(A)", "(B)"], "Q?\nChoices:\nSo:"),
        ("Q?\n- yes\n- no\nSo:", ["yes", "no"], "Q?\nSo:"),
        ("Is (A) or (B) right?", None, None),
        ("A: hello\nB: hi\nWho spoke?", None, None),
    ],
)
def test_choices_are_found_as_labels_or_as_they_are(
    text: str, choices: list[str] | None, left: str | None
) -> None:
    assert without_choices(text, choices) == left


@pytest.mark.parametrize(
    ("text", "choices", "left"),
    [
        ("Q?\nA. x\nB. y\nSo:", ["A", "B"], "A. x\nB. y\nSo:"),
        ("Q?\n(a) x (b) y\nSo:", ["a", "b"], "(a) x (b) y\nSo:"),
        ("Is it? Say yes or no.\nSo:", ["yes", "no"], "yes or no\nSo:"),
        ("Is it? Say A or B.\nSo:", ["A", "B"], None),
        ("Is it red fish or blue bird?\nSo:", _FISH, "red fish or blue bird\nSo:"),
        ("Choose from (1) red fish, or (2) blue bird.\nSo:", _FISH, "(1) red fish, or (2) blue bird\nSo:"),
        ("red fish or blue bird?\nA. red fish\nB. blue bird\nSo:", _FISH, "A. red fish\nB. blue bird\nSo:"),
        ("A. red fish\nB. blue bird\nWhich swims?\nSo:", _FISH, "A. red fish\nB. blue bird\nSo:"),
        ("- red fish;\n\n- blue bird.\n\nSo:", _FISH, "- red fish;\n\n- blue bird.\n\nSo:"),
        ("A red fish met us in summer, not a blue bird.\nSo:", _FISH, None),
        ("Who spoke?\nSo:", None, None),
    ],
)
def test_the_stem_goes_and_the_list_and_the_lead_in_stay(
    text: str, choices: list[str] | None, left: str | None
) -> None:
    assert without_stem(text, choices, "\nSo:") == left


def test_without_a_lead_in_nothing_but_the_list_stays() -> None:
    assert without_stem("Q?\nA. x\nB. y\nWhich?\n", ["A", "B"], "") == "A. x\nB. y\n"


def test_the_end_of_all_questions_begins_with_a_line() -> None:
    assert common_end(["Who is it?\nPick.\nSo:", "Is it?\nPick.\nSo:"]) == "\nPick.\nSo:"
    assert common_end(["Who?", "Why?"]) == ""
    assert common_end(["Who?\nSo:", "Who?\nSo:"]) == ""
