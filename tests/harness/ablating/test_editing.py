"""Prompts of each arm, to the character."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from gilot_plugin.harness.ablating.ablate import ablate, plan_job
from gilot_plugin.harness.ablating.arms import arms_of, emptied, obstacle
from gilot_plugin.harness.ablating.bench import Bench, build, build_full
from gilot_plugin.harness.ablating.jobs import Job
from gilot_plugin.settings.ablation import Ablation, Arm, arms_named, without
from tests.harness.ablating.answering import ECHO
from tests.harness.ablating.benches import load, make_bench
from tests.harness.evaluations import choices_task, inline_task

pytestmark = pytest.mark.lm_eval

_SHOTS = [{"text": f"Q{number}?", "target": f"A{number}"} for number in range(1, 6)]


def _shown(**config: Any) -> dict[str, Any]:
    """A task of two examples and a description."""
    defaults = {
        "num_fewshot": 2,
        "fewshot_config": {"sampler": "first_n", "samples": _SHOTS},
        "description": "About {{text}}. ",
        "doc_to_text": "{{text}}\nAnswer:",
    }
    return inline_task(
        "shown",
        "generate_until",
        [{"text": "Who?", "target": "me"}, {"text": "Why?", "target": "so"}],
        **{**defaults, **config},
    )


def _prompt(bench: Bench, arm: Arm, document: int = 0) -> str:
    return build(bench, arm, 0).contexts(document)[0]


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        (Arm("full", "full"), "SYS\n\nAbout Who?. Q1?\nAnswer: A1\n\nQ2?\nAnswer: A2\n\nWho?\nAnswer:"),
        (without("system"), "About Who?. Q1?\nAnswer: A1\n\nQ2?\nAnswer: A2\n\nWho?\nAnswer:"),
        (without("description"), "SYSQ1?\nAnswer: A1\n\nQ2?\nAnswer: A2\n\nWho?\nAnswer:"),
        (without("shots"), "SYS\n\nAbout Who?. Who?\nAnswer:"),
        (without("shot_1"), "SYS\n\nAbout Who?. Q2?\nAnswer: A2\n\nWho?\nAnswer:"),
        (without("question"), "SYS\n\nAbout Who?. Q1?\nAnswer: A1\n\nQ2?\nAnswer: A2\n\nAnswer:"),
        (without("lead_in"), "SYS\n\nAbout Who?. Q1?\nAnswer: A1\n\nQ2?\nAnswer: A2\n\nWho?"),
        (Arm("", "only_question"), "Who?\nAnswer:"),
        (Arm("", "shot_order"), "SYS\n\nAbout Who?. Q2?\nAnswer: A2\n\nQ1?\nAnswer: A1\n\nWho?\nAnswer:"),
        (Arm("", "regex", r"Answer:|A\d"), "SYS\n\nAbout Who?. Q1?\n \n\nQ2?\n \n\nWho?\n"),
    ],
    ids=lambda value: value.name or value.kind if isinstance(value, Arm) else "",
)
def test_a_part_is_taken_away_and_nothing_else(arm: Arm, expected: str) -> None:
    assert _prompt(make_bench(_shown(), system_instruction="SYS"), arm) == expected


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        (without("system"), "[system]About Why?. [end][user]Q1?\nAnswer:"),
        (Arm("", "only_question"), "[user]Why?\nAnswer:[end][assistant]"),
    ],
    ids=["system", "only the question"],
)
def test_what_is_gone_leaves_no_message_behind(arm: Arm, expected: str) -> None:
    bench = make_bench(
        _shown(), system_instruction="SYS", apply_chat_template=True, fewshot_as_multiturn=True
    )
    assert _prompt(bench, arm, 1).startswith(expected)


def test_an_example_that_is_gone_leaves_no_turn_behind() -> None:
    bench = make_bench(_shown(description=""), apply_chat_template=True, fewshot_as_multiturn=True)
    found = _prompt(bench, without("shot_1"))
    assert found == "[user]Q2?\nAnswer:[end][assistant]A2[end][user]Who?\nAnswer:[end][assistant]"


def test_examples_drawn_at_random_are_those_of_the_evaluation() -> None:
    drawn = _shown(fewshot_config={"sampler": "default", "samples": _SHOTS}, description="")
    bench = make_bench(drawn)
    full, second = build_full(bench), build(bench, without("shot_1"), 0)
    for document in full.requests:
        (whole,), (left,) = full.contexts(document), second.contexts(document)
        assert whole.endswith(left)
    task = load(drawn)
    task.build_all_requests(limit=None, rank=0, world_size=1)
    assert [one.args[0] for one in task.instances] == [full.contexts(number)[0] for number in full.requests]


def test_examples_of_another_task_come_in_its_own_words() -> None:
    other = inline_task(
        "other",
        "generate_until",
        [{"text": "B", "target": "c"}],
        doc_to_text="<{{text}}>",
        num_fewshot=1,
        fewshot_config={"sampler": "first_n", "samples": [{"text": "X", "target": "y"}] * 3},
    )
    bench = make_bench(_shown(description=""), {"other": other})
    assert _prompt(bench, Arm("", "shots_of", "other")) == "<X> y\n\n<X> y\n\nWho?\nAnswer:"


def test_a_function_says_what_is_left() -> None:
    arm = Arm("", "function", f"{__name__}:keep_half")
    assert _prompt(make_bench(_shown(description="", num_fewshot=0)), arm) == "question of Who?"


def keep_half(text: str, doc: Mapping[str, Any], part: str) -> str:
    """What a user may write."""
    return f"{part} of {doc['text']}"


@pytest.mark.parametrize("choices", [["red fish", "blue bird"], ["A", "B"]])
def test_choices_leave_the_question(choices: list[str]) -> None:
    config = choices_task(
        "listed", [("Which?\nA. red fish\nB. blue bird\n", choices)], doc_to_text="{{text}}Answer:"
    )
    assert _prompt(make_bench(config), without("choices")) == "Which?\nAnswer:"


_LISTED = "Q: {{text}}\nOptions:\nA. {{options[0]}}\nB. {{options[1]}}\nAnswer:"


def _listed(**config: Any) -> dict[str, Any]:
    """A task with one example, whose prompts list the choices."""
    example = {"text": "Which sea?", "options": ["Red Sea", "North Sea"]}
    defaults = {
        "doc_to_text": _LISTED,
        "description": "Choose. ",
        "num_fewshot": 1,
        "fewshot_config": {"sampler": "first_n", "samples": [example]},
    }
    documents = [
        ("Which fish, red fish or blue bird?", ["red fish", "blue bird"]),
        ("Which ant?", ["red ant", "blue bee"]),
    ]
    return choices_task("listed", documents, **{**defaults, **config})


_EXAMPLE = "Q: Which sea?\nOptions:\nA. Red Sea\nB. North Sea\nAnswer: Red Sea\n\n"


@pytest.mark.parametrize("doc_to_text", [_LISTED, lambda doc: _worded(doc)], ids=["template", "function"])
@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("stem", f"Choose. {_EXAMPLE}A. red fish\nB. blue bird\nAnswer:"),
        ("choices", f"Choose. {_EXAMPLE}Q: Which fish, red fish or blue bird?\nOptions:\nAnswer:"),
        (
            "all_choices",
            "Choose. Q: Which sea?\nOptions:\nAnswer: Red Sea\n\n"
            "Q: Which fish, red fish or blue bird?\nOptions:\nAnswer:",
        ),
    ],
)
def test_parts_of_a_question_that_lists_its_choices(part: str, expected: str, doc_to_text: Any) -> None:
    assert _prompt(make_bench(_listed(doc_to_text=doc_to_text)), without(part)) == expected


def _worded(doc: Mapping[str, Any]) -> str:
    first, second = doc["options"]
    return f"Q: {doc['text']}\nOptions:\nA. {first}\nB. {second}\nAnswer:"


def test_where_one_example_lists_no_choices_all_of_them_stay() -> None:
    shots = [
        {"text": "Which sea?", "options": ["Red Sea", "North Sea"]},
        {"text": "Which lake?", "options": ["Lake Van", ""]},
    ]
    drawn = _listed(num_fewshot=2, fewshot_config={"sampler": "default", "samples": shots})
    bench = make_bench(drawn)
    full = build_full(bench)
    assert build(bench, without("all_choices"), 0).contexts(0) == full.contexts(0)
    assert build(bench, without("choices"), 0).contexts(0) != full.contexts(0)


def test_lists_are_found_by_their_labels_where_a_task_has_no_choices() -> None:
    documents = [{"text": f"Who?\n(A) red fish\n(B) {name}", "target": name} for name in ("blue bird", "bee")]
    config = inline_task("free", "generate_until", documents, doc_to_text="{{text}}\nLet us think.")
    bench = make_bench(config)
    assert _prompt(bench, without("stem")) == "(A) red fish\n(B) blue bird\nLet us think."
    assert _prompt(bench, without("choices")) == "Who?\nLet us think."
    assert "without stem" in [arm.name for arm in arms_of(bench, Ablation())]


def test_arms_are_those_that_change_a_prompt_each_in_its_own_way() -> None:
    names = [arm.name for arm in arms_of(make_bench(_shown(), system_instruction="S"), Ablation())]
    assert names == [
        *("without system", "without description", "without shots", "without shot_1", "without shot_2"),
        *("without question", "only the question", "shots in another order"),
    ]
    assert [arm.name for arm in arms_of(make_bench(ECHO), Ablation())] == []


def test_what_does_not_apply_is_said() -> None:
    bench = make_bench(ECHO)
    full = build_full(bench)
    named = ["shots", "shot_3", "shot_order", {"shots_of": "other"}]
    reasons = [obstacle(bench, full, arm) for arm in arms_named(named, 0)]
    assert reasons == [
        "there are no examples in its prompts",
        "there are no examples in its prompts",
        "there are no examples in its prompts",
        "there are no examples in its prompts",
    ]
    assert "nothing is left of 40 prompts" in str(emptied(bench, build(bench, without("question"), 0)))
    rolling = make_bench(inline_task("texts", "loglikelihood_rolling", [{"text": "", "target": "a b"}]))
    assert "scored as a whole" in str(obstacle(rolling, build_full(rolling), without("question")))


def test_what_cannot_be_lent_fails_alone() -> None:
    bench = make_bench(_shown(description=""))
    job = Job(bench, Ablation(arms=({"shots_of": "nowhere"}, "shots")), "m", "m", "d", None, None)
    found = ablate(job, *plan_job(job))
    assert [line.status for line in found.arms.values()] == ["ok", "failed", "ok"]
