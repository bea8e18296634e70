"""What rows have in common with each other is read once, and reads as in a plain pass."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from gilot_plugin.backends._transformers.tree.beginnings import heavy_path
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.transformers import TransformersBackend
from tests.backends.plain import plain_logprobs, prompt_of

PROMPT = prompt_of(120)
PARTS = [slice(start, start + 15) for start in range(0, 120, 15)]


def without(*absent):
    gone = {place for part in absent for place in range(120)[PARTS[part]]}
    return Row(tuple(token for place, token in enumerate(PROMPT) if place not in gone))


def test_heavy_path_goes_where_most_texts_go():
    assert heavy_path([(1, 2, 3, 4), (1, 2, 5, 6), (1, 2, 5, 7), (1, 9)]) == (1, 2, 5)
    assert heavy_path([(1, 2), (1, 2)]) == (1, 2)
    assert heavy_path([(1, 2, 3), (1, 2)]) == (1, 2)
    assert heavy_path([(3, 4), (5, 6)]) == ()


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "mistral", "gemma3_text"])
def test_pairs_of_absent_units(tiny_model, family):
    """Windows shorter than the rows among them; each row goes on from the one without its first unit."""
    model = tiny_model(family)
    backend = TransformersBackend(model, pass_tokens=64)
    rows = [without(*pair) for pair in combinations(range(8), 2)]
    session = backend.prefill(rows, 2, [Row(PROMPT)] * len(rows))
    for row, logits in zip(rows, session.prompt.logits(), strict=True):
        torch.testing.assert_close(logits.log_softmax(-1), plain_logprobs(model, row), rtol=1e-4, atol=1e-4)
    read = backend.model_tokens - 119
    # From the first unit on, once; from the second one on, for each row.
    alone = sum(len(row.token_ids) - row.begins_like(Row(PROMPT)) for row in rows)
    firsts = sum(120 - 15 * (first + 1) for first in range(7))
    seconds = sum(120 - 15 * (second + 1) for _, second in combinations(range(8), 2))
    assert read < 0.8 * alone
    assert read <= firsts + seconds + 40


def test_prompts_that_begin_alike_share_that_too(tiny_model):
    """Examples that different questions follow, without a prompt that is known."""
    model = tiny_model("llama")
    backend = TransformersBackend(model, pass_tokens=64)
    rows = [Row((*PROMPT, *prompt_of(10 + place)[-5:], place + 5)) for place in range(6)]
    session = backend.prefill(rows, 1)
    for row, logits in zip(rows, session.prompt.logits(), strict=True):
        torch.testing.assert_close(logits.log_softmax(-1), plain_logprobs(model, row), rtol=1e-4, atol=1e-4)
    assert backend.model_tokens <= 120 + 6 * 6


def test_little_in_common_is_not_worth_a_pass(tiny_model):
    backend = TransformersBackend(tiny_model("llama"))
    rows = [Row((*PROMPT[:20], place + 5, 7)) for place in range(4)]
    _ = backend.prefill(rows, 1).prompt
    assert backend.model_tokens == 4 * 22


def test_rows_that_hide_tokens_read_what_they_do_not_share_with_their_prompt(tiny_model):
    model = tiny_model("llama")
    backend = TransformersBackend(model, pass_tokens=16)
    shown = [tuple(place not in (3, 40 + row) for place in range(120)) for row in range(5)]
    rows = [Row(PROMPT, tuple(range(120)), one) for one in shown]
    session = backend.prefill(rows, 1, [Row(PROMPT)] * 5)
    for row, logits in zip(rows, session.prompt.logits(), strict=True):
        torch.testing.assert_close(logits.log_softmax(-1), plain_logprobs(model, row), rtol=1e-4, atol=1e-4)
    assert backend.model_tokens == 119 + 5 * (120 - 3 - 2)
