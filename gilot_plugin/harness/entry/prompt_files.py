"""A file of prompts, and each prompt as lm-eval would feed it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gilot_plugin.attribution.prompt.tokens import decode, make_prompt
from gilot_plugin.attribution.types import Prompt, Segment
from gilot_plugin.errors import ConfigError, PromptError
from gilot_plugin.faithfulness.curves import SampleKey
from gilot_plugin.harness.state.conversations import Message, layout_of, message_segments

_JSON_LINES = (".jsonl", ".json")


class WrittenPrompt(NamedTuple):
    """A prompt of a file.

    Attributes:
        line: Its line, from 0.
        messages: The conversation; a single message of the user for a plain prompt.
        is_conversation: Whether the file has messages, so that the chat template is needed in any case.
    """

    line: int
    messages: tuple[Message, ...]
    is_conversation: bool


def read_prompts(path: Path) -> tuple[WrittenPrompt, ...]:
    """Read prompts: JSON objects with ``prompt`` or ``messages`` in a ``.jsonl`` file, else one a line.

    Empty lines are skipped.

    Raises:
        ConfigError: The file cannot be read, has no prompts, or a line is not a prompt.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--prompts {path}: cannot be read ({error})") from None
    as_json = path.suffix in _JSON_LINES
    found = []
    for number, line in enumerate(lines):
        if line.strip():
            where = f"--prompts {path}, line {number + 1}"
            found.append(_from_json(line, number, where) if as_json else _plain(line.rstrip("\r"), number))
    if not found:
        raise ConfigError(f"--prompts {path}: has no prompts")
    return tuple(found)


def _plain(text: str, number: int) -> WrittenPrompt:
    return WrittenPrompt(number, ({"role": "user", "content": text},), False)


def _from_json(line: str, number: int, where: str) -> WrittenPrompt:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{where}: not JSON ({error})") from None
    if isinstance(content, dict):
        match content:
            case {"prompt": str(text)} if text.strip():
                return _plain(text, number)
            case {"messages": [*messages]} if messages and all(map(_is_message, messages)):
                kept = ({"role": one["role"], "content": one["content"]} for one in messages)
                return WrittenPrompt(number, tuple(kept), True)
    raise ConfigError(
        f'{where}: write {{"prompt": TEXT}} or {{"messages": [{{"role": ROLE, "content": TEXT}}, ...]}}'
    )


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("role", "content"))


def feed(lm: Any, task: str, written: WrittenPrompt, apply_chat_template: bool) -> tuple[SampleKey, Prompt]:
    """The prompt as lm-eval would feed it.

    Args:
        lm: lm-eval's model object.
        task: Name of the file.
        written: The prompt.
        apply_chat_template: Whether plain prompts go through the chat template.

    Raises:
        PromptError: It is longer than the model's window, or it is not known which part of it is the
            template's.
        ConfigError: The tokenizer has no chat template.
    """
    messages = written.messages
    templated = apply_chat_template or written.is_conversation
    text = _rendered(lm, messages) if templated else messages[0]["content"]
    ids = lm.tok_encode(text)
    if len(ids) >= lm.max_length:
        raise PromptError("the prompt leaves no room for an answer in the model's window")
    segments: Sequence[Segment] = ()
    if templated:
        decoded = decode(lm.tokenizer, ids)
        shift = decoded.rfind(text)
        if shift < 0:
            raise PromptError("which part of the prompt is chat template is not known")
        layout = layout_of(lambda others: _rendered(lm, others), messages)
        segments = [
            Segment(part.start + shift, part.end + shift, part.name)
            for part in message_segments(text, messages, layout)
        ]
    key = SampleKey(task, written.line, hashlib.sha256(text.encode()).hexdigest())
    return key, make_prompt(lm.tokenizer, ids, segments)


def _rendered(lm: Any, messages: Sequence[Message]) -> str:
    if not getattr(lm.tokenizer, "chat_template", None):
        raise ConfigError(
            "the tokenizer has no chat template: write plain prompts, and leave out --apply_chat_template"
        )
    return str(lm.apply_chat_template([dict(message) for message in messages]))
