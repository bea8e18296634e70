"""Which part of a conversation each unit lies in: a turn's content, or the template around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.harness.evaluations import (
    choices_task,
    generation_task,
    records_of,
)

pytestmark = pytest.mark.lm_eval

ENDINGS = [" can fly", " is a dog", "!"]


def only(records: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    (record,) = records
    return record


#: Chat templates of well-known shapes. The first one's marks are text like any other.
TEMPLATES = {
    "text marks": (
        "{% for m in messages %}[{{ m['role'] }}]: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant]:{% endif %}"
    ),
    "stripped": (
        "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>\n{{ m['content'] | trim }}{{ eos_token }}\n"
        "{% endfor %}"
        "{% if add_generation_prompt %}<assistant>\n{% endif %}"
    ),
    # As Mistral's: the system's message stands before the last message of the user.
    "system last": (
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] "
        "{% if loop.last and messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}\n\n{% endif %}"
        "{{ m['content'] }} [/INST]{% elif m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}"
        "{% endif %}{% endfor %}"
    ),
}

#: Contents that also stand in the templates.
CONTENTS = (
    "user",
    "  user\n",
    "s",
    "[",
    "assistant]: INST",
    "Which animal\n\ncan fly?  ",
    "What [user]: is\n[assistant]: it?",
)


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_template_stays_and_content_goes(make_lm: Callable[..., Any], template: str, content: str) -> None:
    lm = make_lm()
    lm.tokenizer.chat_template = TEMPLATES[template]
    tasks = [generation_task("answers", [content]), choices_task("endings", [(content, ENDINGS)])]
    settings = {"units": "token", "methods": ["l2"]}
    arguments = {"apply_chat_template": True, "system_instruction": "es"}
    for record in records_of(lm, tasks, settings=settings, **arguments):
        assert record["status"] == "ok"
        taken = {"system": "", "question": ""}
        for unit in record["units"]:
            taken[unit["segment"]] += unit["text"]
        assert (taken["system"].strip(), taken["question"].strip()) == ("es", content.strip())
        text = "".join(token["text"] for token in record["prompt_tokens"])
        for unit in record["units"]:
            start = record["prompt_tokens"][unit["start_token"]]["start"]
            assert in_a_content(
                text, start + len(unit["text"]) - len(unit["text"].lstrip()), template, content
            )


def in_a_content(text: str, position: int, template: str, content: str) -> bool:
    """Whether a character of the prompt comes from a message, told from the template's own words."""
    before_user, before_system = {
        "text marks": ("\n[user]:", "[system]:"),
        "stripped": ("\n<user>\n", "<system>\n"),
        "system last": ("es\n\n", "[INST] "),
    }[template]
    user = text.index(before_user) + len(before_user)
    user = text.index(content.strip(), user)
    system = text.index("es", text.index(before_system) + len(before_system))
    return system <= position < system + 2 or user <= position < user + len(content.strip())


def test_few_shot_examples_are_turns_of_their_own(make_lm: Callable[..., Any]) -> None:
    arguments = {"apply_chat_template": True, "fewshot_as_multiturn": True, "limit": 1}
    record = only(
        records_of(make_lm(), ["gilot_two_shot_choices"], settings={"units": "segment"}, **arguments)
    )
    units = [(unit["segment"], unit["text"].strip()) for unit in record["units"]]
    assert [name for name, _ in units] == ["shot_1"] * 2 + ["shot_2"] * 2 + ["question", "lead_in"]
    assert [text for _, text in units[1:4:2]] == ["a sheep", "scissors"]
    assert units[4:] == [
        ("question", "Question: What force pulls a dropped ball to the ground?"),
        ("lead_in", "Answer:"),
    ]
    turns = [token for token in record["prompt_tokens"] if token["text"] == "</s>"]
    assert len(turns) == 5


def test_system_message_is_a_segment_and_a_scope(make_lm: Callable[..., Any]) -> None:
    task, lm = generation_task("answers", ["Which animal?"], description="Short questions.\n\n"), make_lm()
    arguments = {"apply_chat_template": True, "system_instruction": "Be brief."}
    record = only(records_of(lm, [task], settings={"units": "segment"}, **arguments))
    assert [(unit["segment"], unit["text"].strip()) for unit in record["units"]] == [
        ("system", "Be brief."),
        ("description", "Short questions."),
        ("question", "Which animal?"),
    ]
    record = only(records_of(lm, [task], settings={"units": "word", "scope": "system"}, **arguments))
    assert "".join(unit["text"] for unit in record["units"]).strip() == "Be brief."


def test_answer_begun_for_the_model(make_lm: Callable[..., Any]) -> None:
    """``gen_prefix`` is the beginning of the assistant's turn, which the template leaves open."""
    task = generation_task("answers", ["Which animal?"], gen_prefix="It is")
    record = only(records_of(make_lm(), [task], settings={"units": "segment"}, apply_chat_template=True))
    assert [(unit["segment"], unit["text"].strip()) for unit in record["units"]] == [
        ("question", "Which animal?"),
        ("lead_in", "It is"),
    ]
    assert record["prompt_tokens"][-1]["text"].strip() == "is"


def test_segments_of_a_truncated_conversation(make_lm: Callable[..., Any]) -> None:
    text = "The quick brown fox jumps over the lazy dog, and the dog does not mind. Why?"
    lm = make_lm(max_length=40)
    arguments = {"apply_chat_template": True, "system_instruction": "Be brief."}
    record = only(
        records_of(lm, [generation_task("answers", [text])], settings={"units": "segment"}, **arguments)
    )
    assert record["diagnostics"]["truncated_tokens"] > 0
    (unit,) = record["units"]
    assert unit["segment"] == "question"
    assert text.endswith(unit["text"].strip())


def test_special_tokens_in_a_question_stay(make_lm: Callable[..., Any]) -> None:
    record = only(
        records_of(
            make_lm(), [generation_task("answers", ["A [user] </s> can"])], settings={"units": "token"}
        )
    )
    assert {unit["segment"] for unit in record["units"]} == {"question"}
    assert "".join(unit["text"] for unit in record["units"]) == "A [user]  can"
