"""At full speed, and with the right numbers, whichever releases are installed."""

from __future__ import annotations

import pytest

from gilot_plugin.backends.transformers import TransformersBackend
from tests.attribution import engine_calls, serial
from tests.attribution.closeness import assert_close
from tests.attribution.engine_calls import PROMPT, SPANS

#: Settings of families that no other test goes through.
MORE = {"gemma": {"num_key_value_heads": 2, "head_dim": 8}}


@pytest.mark.any_release
@pytest.mark.parametrize("absence", ["delete", "mask"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "gemma", "gemma2"])
def test_trees_are_used_and_scores_are_those_of_the_serial_loop(make_tiny_model, family, absence):
    model = make_tiny_model(family, **MORE.get(family, {}))
    used = TransformersBackend(model).cache_use
    assert (used.key_value_cache, used.prefix_trees, used.reason, used.errors) == (True, True, None, ())
    sizes = {"num_beams": 3, "max_new_tokens": 3, "absence": absence}
    found = engine_calls.generation(model, PROMPT, SPANS, **sizes)
    assert_close(found, serial.scores(model, PROMPT, SPANS, **sizes))
