"""What inspect_ai's ``hf`` provider fed to its model, from the log of a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inspect_ai.event import ModelEvent
from inspect_ai.model import ChatMessage, ChatMessageAssistant
from inspect_ai.tool import ToolInfo

from gilot_plugin.attribution.types import QUESTION_SEGMENT, Segment
from gilot_plugin.errors import PromptError
from gilot_plugin.harness.state.conversations import Message, layout_of, message_segments

#: Where one turn of the user is all that is asked, it is the question.
_USER = "user"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the model.

    Attributes:
        messages: What it was asked with, as its provider got it.
        tools: What it might have called.
        answer: What it said.
    """

    messages: tuple[ChatMessage, ...]
    tools: tuple[ToolInfo, ...]
    answer: str


def last_call(state: Any, events: Sequence[Any]) -> Call:
    """The call whose answer the sample's output is.

    Args:
        state: The sample's ``TaskState``.
        events: Of its transcript. The call's messages are taken from there: they are what was sent, with
            turns joined and earlier thoughts left out as the provider wants it.

    Raises:
        PromptError: The sample has no answer.
    """
    answer = state.output.completion
    if not answer:
        raise PromptError("the sample has no answer in text")
    calls = (event for event in reversed(events) if isinstance(event, ModelEvent))
    call = next((event for event in calls if event.output.completion == answer), None)
    if call is not None and call.input:
        return Call(tuple(call.input), tuple(call.tools), answer)
    # Stored logs keep messages apart from events, and may leave events out.
    messages = list(state.messages)
    while messages and isinstance(messages[-1], ChatMessageAssistant):
        messages.pop()
    if not messages:
        raise PromptError("the log does not say what the model was asked")
    return Call(tuple(messages), () if call is None else tuple(call.tools), answer)


def prompt_ids(api: Any, call: Call) -> list[int]:
    """Tokens of the prompt, made by the provider as for the evaluation.

    Args:
        api: inspect_ai's ``HuggingFaceAPI``.
        call: The call.
    """
    text = api.hf_chat(list(call.messages), list(call.tools))
    return list(api.tokenizer(text, **api.tokenizer_call_args)["input_ids"])


def named_parts(api: Any, call: Call, text: str) -> tuple[Segment, ...]:
    """Parts of the prompt: messages by their roles, the only turn of a user as ``question``, the template.

    Args:
        api: inspect_ai's ``HuggingFaceAPI``.
        call: The call.
        text: The decoded prompt.
    """
    messages: list[Message] = [{"role": message.role, "content": message.text} for message in call.messages]
    if [message["role"] for message in messages].count(_USER) == 1:
        names = {_USER: QUESTION_SEGMENT}
    else:
        names = {}

    def render(marked: list[Message]) -> str:
        contents = [message["content"] for message in marked]
        copies = [
            message.model_copy(update={"content": content})
            for message, content in zip(call.messages, contents, strict=True)
        ]
        return str(api.hf_chat(copies, list(call.tools)))

    found = message_segments(text, messages, layout_of(render, messages))
    return tuple(Segment(part.start, part.end, names.get(part.name, part.name)) for part in found)
