"""Windows, chunks and positions that depend on the length: what is read is what one pass would have said."""

from __future__ import annotations

import pytest

from gilot_plugin.backends.protocol import Row
from gilot_plugin.backends.transformers import TransformersBackend
from tests.backends.plain import prompt_of, step_errors, tree_errors

#: Longer than any sequence that a probe reads.
_WINDOW = {"sliding_window": 20}
_IN_TURN = {"layer_types": ["sliding_attention", "full_attention"]}

#: Families with a window, the first three of which are told of it by the mask alone.
WINDOWED = {
    "qwen2_moe": {**_IN_TURN, "use_sliding_window": True, "num_experts": 4},
    "phimoe": {"num_key_value_heads": 2, "num_local_experts": 2},
    "doge": {},
    "mistral": {},
    "gemma3_text": {},
}

_ROPE = {"rope_theta": 10000.0}
_FACTORS = {"short_factor": [1.0] * 4, "long_factor": [1.5, 3.0, 5.0, 8.0]}
_LONGROPE = {"rope_type": "longrope", **_FACTORS}

#: Rotary frequencies that change when a sequence grows beyond 32 tokens.
SCALED = {
    "longrope": ("phi3", _LONGROPE, {"original_max_position_embeddings": 32, "num_key_value_heads": 2}),
    "dynamic": ("llama", {"rope_type": "dynamic", "factor": 4.0}, {"max_position_embeddings": 32}),
}


def scaled(make_tiny_model, name):
    family, rope, settings = SCALED[name]
    return make_tiny_model(family, rope_parameters={**_ROPE, **rope}, **settings)


def cuts(prompt, *places):
    return [Row(prompt), *(Row((*prompt[:place], *prompt[place + 1 :])) for place in places)]


@pytest.mark.parametrize("chunk", [8, 512])
@pytest.mark.parametrize("family", WINDOWED)
def test_windows(make_tiny_model, family, chunk):
    model = make_tiny_model(family, **_WINDOW, **WINDOWED[family])
    backend, rows = TransformersBackend(model, pass_tokens=chunk), cuts(prompt_of(40), 30)
    assert tree_errors(backend, model, rows) < 1e-4
    assert step_errors(backend, model, rows) < 1e-4


@pytest.mark.parametrize("chunk", [8, 512])
@pytest.mark.parametrize("tokens", [20, 30, 32, 33, 60])
@pytest.mark.parametrize("name", SCALED)
def test_lengths_that_change_the_frequencies(make_tiny_model, name, tokens, chunk):
    model = scaled(make_tiny_model, name)
    backend, rows = TransformersBackend(model, pass_tokens=chunk), cuts(prompt_of(tokens), tokens - 4)
    assert tree_errors(backend, model, rows) < 1e-4
    assert step_errors(backend, model, rows) < 1e-4
