from __future__ import annotations

from typing import Any

import pytest

from gilot_plugin.artifacts.chosen_by import answer_strategies, chosen_by_answer


def manifest(strategy: str, **options: Any) -> dict[str, Any]:
    return {"tasks": {"films": {"selection": {"strategy": strategy, "options": options}}}}


@pytest.mark.parametrize(
    ("found", "names"),
    [
        (manifest("first", n=3), ()),
        (manifest("stratified", by="label"), ()),
        (manifest("incorrect", n=3), ("incorrect",)),
        (manifest("chain", of=[{"strategy": "incorrect"}, {"strategy": "random", "n": 3}]), ("incorrect",)),
        (
            manifest(
                "union", of=[{"strategy": "chain", "of": [{"strategy": "margin"}]}, {"strategy": "flips"}]
            ),
            ("margin", "flips"),
        ),
        (manifest("function", function="a.b:c"), ("function?",)),
        (manifest("of_another_package"), ("of_another_package?",)),
        (None, ()),
        ({"tasks": {}}, ()),
    ],
)
def test_strategies_that_look_at_answers_are_found_wherever_they_are(
    found: dict[str, Any] | None, names: tuple[str, ...]
) -> None:
    assert answer_strategies(found, "films") == names


def test_what_is_certain_is_told_as_such() -> None:
    assert (
        chosen_by_answer(["function?", "margin"]) == "samples were chosen by what a model answered (margin)"
    )
    told = chosen_by_answer(["function?"])
    assert told == "samples may have been chosen by what a model answered (function)"
