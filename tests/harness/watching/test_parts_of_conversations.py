"""Which part of a conversation each token is from, template included."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import pytest

from tests.harness.watching.explained_parts import (
    ASKED,
    CHAT,
    DOCUMENT,
    KINDS,
    asked,
    parts,
    whole,
)

pytestmark = pytest.mark.lm_eval


@pytest.mark.parametrize("described", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_conversation_of_turns(make_lm: Callable[..., Any], kind: str, described: bool) -> None:
    description = {"description": "Short answers."} if described else {}
    task = asked(kind, num_fewshot=2, gen_prefix="Say:", **description, **ASKED)
    (found,) = parts(make_lm(), [task], fewshot_as_multiturn=True, **CHAT)
    texts = [(name, text.strip()) for name, text in found if name not in ("template", "special")]
    assert texts == [
        ("system", "Be brief."),
        *([("description", "Short answers.")] if described else []),
        ("shot_1", "Question: Can a bird fly?\nAnswer:"),
        ("shot_1", "Say: It can"),
        ("shot_2", "Question: Can a dog fly?\nAnswer:"),
        ("shot_2", "Say: It cannot"),
        ("question", f"Question: {DOCUMENT}"),
        ("lead_in", "Answer:"),
        ("lead_in", "Say:"),
    ]
    template = [text for name, text in found if name == "template"]
    assert "".join("".join(template).split()) == "[system][user][assistant]" + "[user][assistant]" * 2
    assert found[-1][1].endswith("Say:")


@pytest.mark.parametrize("gen_prefix", [None, "Say:"])
@pytest.mark.parametrize("kind", KINDS)
def test_conversation_of_one_turn(make_lm: Callable[..., Any], kind: str, gen_prefix: str | None) -> None:
    begun = " Say:" if gen_prefix else ""
    task = asked(kind, num_fewshot=2, description="Short answers.\n\n", gen_prefix=gen_prefix, **ASKED)
    (found,) = parts(make_lm(), [task], fewshot_as_multiturn=False, **CHAT)
    merged = [
        (name, "".join(text for _, text in run))
        for name, run in groupby(found, key=lambda part: part[0])
        if name not in ("template", "special")
    ]
    assert [(name, text.strip(" ")) for name, text in merged] == [
        ("system", "Be brief.\n\n"),
        ("description", "Short answers."),
        ("shot_1", f"Question: Can a bird fly?\nAnswer:{begun} It can\n\n"),
        ("shot_2", f"Question: Can a dog fly?\nAnswer:{begun} It cannot\n\n"),
        ("question", f"Question: {DOCUMENT}"),
        ("lead_in", "\nAnswer:"),
        *([("lead_in", "Say:")] if gen_prefix else []),
    ]


def test_description_without_instruction_in_a_conversation(make_lm: Callable[..., Any]) -> None:
    task = asked("generation", description="Short answers.")
    (found,) = parts(make_lm(), [task], apply_chat_template=True)
    assert whole(found)["description"].strip() == "Short answers."
    assert "system" not in whole(found)


def test_template_without_a_system_role(make_lm: Callable[..., Any]) -> None:
    """The harness then leaves the system's message out."""
    lm = make_lm()
    lm.tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}"
        "<{{ m['role'] }}>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    )
    (found,) = parts(lm, [asked("generation", num_fewshot=1, **ASKED)], fewshot_as_multiturn=True, **CHAT)
    assert whole(found) == {
        "template": "<user><assistant><user>",
        "shot_1": "Question: Can a bird fly?\nAnswer:It can",
        "special": "<s>" + "</s>" * 3,
        "question": f"Question: {DOCUMENT}",
        "lead_in": "\nAnswer:",
    }
