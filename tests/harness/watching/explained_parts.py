"""Questions that are explained, and the parts of their prompts."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from tests.harness.evaluations import (
    choices_task,
    essence,
    evaluate,
    explain,
    generation_task,
)

EXAMPLES = [
    {"text": "Can a bird fly?", "target": "It can", "options": ["It can", "No"], "begin": "Say:"},
    {"text": "Can a dog fly?", "target": "It cannot", "options": ["It cannot", "No"], "begin": "Say:"},
    {"text": "Can a fox fly?", "target": "No fox", "options": ["No fox", "All"], "begin": "Say:"},
]
SHOTS = {"fewshot_config": {"sampler": "first_n", "samples": EXAMPLES}}
ASKED = {"doc_to_text": "Question: {{text}}\nAnswer:"}
DOCUMENT = "Is the movie good?"
ENDINGS = [" It is", " No"]

CHAT = {"apply_chat_template": True, "system_instruction": "Be brief."}

Parts = list[tuple[str, str]]


def parts_of(record: Mapping[str, Any]) -> Parts:
    """Names and texts of the prompt's parts, from units that are segments of the whole prompt."""
    assert record["status"] == "ok", record["reason"]
    units = record["units"]
    assert [unit["start_token"] for unit in units] == [0, *(unit["end_token"] for unit in units)][:-1]
    texts = [
        "".join(token["text"] for token in record["prompt_tokens"][unit["start_token"] : unit["end_token"]])
        for unit in units
    ]
    return [(unit["segment"], text) for unit, text in zip(units, texts, strict=True)]


def whole(parts: Parts) -> dict[str, str]:
    """The text of each segment, wherever in the prompt."""
    return {name: "".join(text for other, text in parts if other == name) for name in dict(parts)}


def parts(lm: Any, tasks: Sequence[Any], **arguments: Any) -> list[Parts]:
    """Parts of each explained prompt of an evaluation that is the same as without the plugin."""
    plain = evaluate(lm, tasks, **arguments)
    state = random.getstate()
    settings = {"units": "segment", "scope": "all", "methods": ["l2"]}
    explained, run = explain(lm, tasks, settings, **arguments)
    assert essence(explained) == essence(plain)
    assert random.getstate() == state
    return [parts_of(record) for record in run.records]


def asked(kind: str, **config: Any) -> dict[str, Any]:
    """One question of either kind that is explained."""
    if kind == "choices":
        defaults = {"fewshot_config": {**SHOTS["fewshot_config"], "doc_to_target": "{{target}}"}}
        return choices_task("endings", [(DOCUMENT, ENDINGS)], **{**defaults, **config})
    return generation_task("answers", [DOCUMENT], **{**SHOTS, **config})


KINDS = ("generation", "choices")
