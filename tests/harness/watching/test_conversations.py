"""Where contents stand in a rendered conversation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gilot_plugin.attribution.types import Segment
from gilot_plugin.harness.state.conversations import Layout, Message, layout_of, message_segments
from tests.harness.evaluations import generation_task, records_of

pytestmark = pytest.mark.lm_eval

CONVERSATION: list[Message] = [
    {"role": "system", "content": "es"},
    {"role": "user", "content": "s"},
    {"role": "assistant", "content": "system"},
    {"role": "user", "content": " user \n"},
]


def written(render: Callable[[list[Message]], str], messages: list[Message]) -> list[tuple[str, str]]:
    """Names and texts of the segments."""
    text = render(messages)
    segments = message_segments(text, messages, layout_of(render, messages))
    assert [segment.start for segment in segments] == [0, *(segment.end for segment in segments)][:-1]
    assert not segments or segments[-1].end == len(text)
    return [(segment.name, text[segment.start : segment.end]) for segment in segments]


def turns(messages: list[Message]) -> str:
    return "".join(f"<{message['role']}>{message['content']}</s>" for message in messages)


def test_contents_that_the_template_has_too() -> None:
    assert written(turns, CONVERSATION) == [
        ("template", "<system>"),
        ("system", "es"),
        ("template", "</s><user>"),
        ("user", "s"),
        ("template", "</s><assistant>"),
        ("assistant", "system"),
        ("template", "</s><user> "),
        ("user", "user"),
        ("template", " \n</s>"),
    ]


def test_contents_that_are_stripped() -> None:
    def render(messages: list[Message]) -> str:
        return turns([{**message, "content": message["content"].strip()} for message in messages])

    assert written(render, CONVERSATION)[-3:] == [
        ("template", "</s><user>"),
        ("user", "user"),
        ("template", "</s>"),
    ]


def test_messages_in_another_order_left_out_and_repeated() -> None:
    def render(messages: list[Message]) -> str:
        system, first, _, last = (message["content"] for message in messages)
        return f"{first}|{last}|{system}|{first}"

    assert written(render, CONVERSATION) == [
        ("user", "s"),
        ("template", "| "),
        ("user", "user"),
        ("template", " \n|"),
        ("system", "es"),
        ("template", "|"),
        ("user", "s"),
    ]


def test_no_contents() -> None:
    empty: list[Message] = [{"role": "user", "content": ""}, {"role": "assistant", "content": " \n"}]
    assert {name for name, _ in written(turns, empty)} == {"template"}
    assert written(turns, []) == []


def test_contents_that_are_rewritten_are_searched_for() -> None:
    """As templates do that drop the reasoning of earlier turns."""

    def render(messages: list[Message]) -> str:
        return turns(
            [{**message, "content": message["content"].split("</think>")[-1]} for message in messages]
        )

    messages = [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "Hm.</think>Because."},
        {"role": "user", "content": "Oh?"},
    ]
    assert written(render, messages) == [
        ("template", "<user>"),
        ("user", "Why?"),
        ("template", "</s><assistant>Because.</s><user>"),
        ("user", "Oh?"),
        ("template", "</s>"),
    ]


@pytest.mark.parametrize("stripped", [False, True])
def test_parts_of_contents(stripped: bool) -> None:
    """They are counted in the content as given, whatever the template strips."""

    def render(messages: list[Message]) -> str:
        return turns([{**message, "content": message["content"].strip()} for message in messages])

    used = render if stripped else turns
    messages = [{"role": "user", "content": " \nWhy? So: "}]
    text = used(messages)
    parts = [[Segment(0, 6, "question"), Segment(6, 11, "lead_in")]]
    segments = message_segments(text, messages, layout_of(used, messages), parts)
    found = {segment.name: text[segment.start : segment.end] for segment in segments}
    assert (found["question"], found["lead_in"]) == ("Why?", " So:")
    assert [segment.start for segment in segments] == [0, *(segment.end for segment in segments)][:-1]


def test_layout_that_is_not_known() -> None:
    segments = message_segments("[Why?]", [{"role": "user", "content": "Why?"}], None)
    assert [(segment.start, segment.end, segment.name) for segment in segments] == [
        (0, 1, "template"),
        (1, 5, "user"),
        (5, 6, "template"),
    ]


def test_layout_of_another_template_is_not_believed() -> None:
    segments = message_segments("<Why?>", [{"role": "user", "content": "Why?"}], Layout(("[", "]"), (0,)))
    assert [segment.name for segment in segments] == ["template", "user", "template"]


@pytest.mark.parametrize("refuse", ["raise_exception('no marks')", "1 // 0", "undefined_function()"])
def test_template_that_refuses_marks(make_lm: Callable[..., Any], refuse: str) -> None:
    """The evaluation goes on, and so does its attribution."""
    lm = make_lm()
    lm.tokenizer.chat_template = (
        "{% for m in messages %}{% if m['content'] > '\u00ff' %}{{ " + refuse + " }}{% endif %}"
        "<{{ m['role'] }}>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    )
    settings = {"units": "segment", "methods": ["l2"]}
    (record,) = records_of(
        lm, [generation_task("answers", ["Why?"])], settings=settings, apply_chat_template=True
    )
    assert [(unit["segment"], unit["text"]) for unit in record["units"]] == [("question", "Why?")]
