from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from lm_eval.models.huggingface import HFLM

from gilot_plugin.errors import ConfigError, PromptError
from gilot_plugin.harness.entry.prompt_files import feed, read_prompts

MESSAGES = json.dumps(
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Can a dog fly?"},
        ]
    }
)


def test_lines_of_text_are_prompts_and_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("One, two\n\n{not json}\r\n", newline="")
    found = read_prompts(path)
    assert [(one.line, one.messages[0]["content"]) for one in found] == [(0, "One, two"), (2, "{not json}")]


def test_the_template_is_told_from_what_was_written(make_lm: Callable[..., HFLM], tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(MESSAGES + "\n" + '{"prompt": "A bird can"}\n')
    lm = make_lm()
    conversation, plain = read_prompts(path)
    key, prompt = feed(lm, path.name, conversation, False)
    assert (key.task, key.doc_id) == ("prompts.jsonl", 0)
    said: dict[str, str] = {}
    for token, segment in zip(prompt.tokens, prompt.segments, strict=True):
        said[segment] = said.get(segment, "") + token.text
    assert said["system"].strip() == "Be brief."
    assert said["user"].strip() == "Can a dog fly?"
    assert "[assistant]" in said["template"]
    assert "fly" not in said["template"]
    # As lm-eval feeds the same conversation.
    text = lm.apply_chat_template([dict(message) for message in conversation.messages])
    assert list(prompt.token_ids) == lm.tok_encode(text)

    _, prompt = feed(lm, path.name, plain, False)
    assert list(prompt.token_ids) == lm.tok_encode("A bird can")
    assert set(prompt.segments) == {"special", "content"}
    _, templated = feed(lm, path.name, plain, True)
    assert "template" in templated.segments


def test_what_cannot_be_fed_says_why(make_lm: Callable[..., HFLM], tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(MESSAGES)
    (conversation,) = read_prompts(path)
    with pytest.raises(PromptError, match="no room for an answer"):
        feed(make_lm(max_length=4), path.name, conversation, False)
    lm = make_lm()
    lm.tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="no chat template"):
        feed(lm, path.name, conversation, False)
