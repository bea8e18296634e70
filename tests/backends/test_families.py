"""Families of models beyond those that every test goes through, against the plain serial computation."""

from __future__ import annotations

import re

import pytest
import torch

from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.errors import UnsupportedModelError
from tests.attribution import engine_calls, serial
from tests.attribution.closeness import assert_close
from tests.attribution.engine_calls import PROMPT, SPANS
from tests.backends.opening import opened

#: Why sequences are read whole at every step, by family; the others continue from a cache.
RECOMPUTES = {
    "rwkv": "no cache that sequences can share",
    "recurrent_gemma": "padding changes",
    "minimax": "no cache but a MiniMaxCache of its own",
}

#: Families whose cache takes one token a pass.
ONE_BY_ONE = {"mamba", "jamba"}

#: Why tokens cannot be masked while the others keep their positions, by family; with the others they can.
REFUSES_POSITIONS = {
    "bloom": "numbers the positions itself",
    "mamba": "numbers the positions itself",
    "mamba2": "numbers the positions itself",
    "mpt": "numbers the positions itself",
    "rwkv": "numbers the positions itself",
    "falcon": "no notice of explicit positions",
    "jamba": "no notice of explicit positions",
    "recurrent_gemma": "masked tokens still show",
}

#: Families that do not read what prompts have in common once: whatever is read whole; attention of their own;
#: states beside it; chunks; keys and values that are unfolded after they were stored.
SHARES_NOTHING = {
    *RECOMPUTES,
    *ONE_BY_ONE,
    *("bloom", "mpt", "falcon"),
    *("lfm2", "falcon_h1", "qwen3_next", "mamba2"),
    "llama4_text",
    "deepseek_v3",
}

#: Families for which ``generate`` is no model: it reorders a state wrongly, or refuses to search.
SEARCHED_OTHERWISE = {"minimax", "rwkv"}

#: Families that take sequences of any length.
UNLIMITED = {"bloom", "mamba", "mamba2", "rwkv"}

SIZES = {"num_beams": 3, "max_new_tokens": 3}


@pytest.fixture(scope="module")
def other_family_scores(other_family_model):
    generate = other_family_model.config.model_type not in SEARCHED_OTHERWISE
    return serial.scores(other_family_model, PROMPT, SPANS, generate=generate, **SIZES)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_scores(other_family_model, other_family_scores, batch_size):
    attribution = engine_calls.generation(other_family_model, PROMPT, SPANS, batch_size=batch_size, **SIZES)
    assert_close(attribution, other_family_scores)


def test_mask(other_family_model):
    family, spans = other_family_model.config.model_type, SPANS[1:3]
    if family in REFUSES_POSITIONS:
        with pytest.raises(UnsupportedModelError, match="'mask'"):
            engine_calls.generation(other_family_model, PROMPT, spans, absence="mask", **SIZES)
        return
    generate = family not in SEARCHED_OTHERWISE
    expected = serial.scores(other_family_model, PROMPT, spans, absence="mask", generate=generate, **SIZES)
    for batch_size in (1, 3):
        attribution = engine_calls.generation(
            other_family_model, PROMPT, spans, absence="mask", batch_size=batch_size, **SIZES
        )
        assert_close(attribution, expected)


@pytest.mark.parametrize("family", ["gemma3_text", "lfm2"])
def test_mask_of_windows_and_convolutions(tiny_model, family):
    model = tiny_model(family)
    attribution = engine_calls.generation(model, PROMPT, SPANS, absence="mask", **SIZES)
    assert_close(attribution, serial.scores(model, PROMPT, SPANS, absence="mask", **SIZES))


def assert_reason(reason, expected):
    assert reason is None if expected is None else re.search(expected, reason), reason


def assert_described(model):
    backend, family = TransformersBackend(model), model.config.model_type
    assert_reason(backend.recomputes, RECOMPUTES.get(family))
    assert (backend.no_trees == "its cache takes one token at a time") is (family in ONE_BY_ONE)
    # What an architecture cannot do is no defect.
    assert backend.cache_use.errors == ()
    assert_reason(backend.refuses_positions, REFUSES_POSITIONS.get(family))
    assert backend.takes_positions is (family not in REFUSES_POSITIONS)
    assert backend.limits.max_positions == (None if family in UNLIMITED else 128)
    assert backend.limits.eos_token_ids == (1,)
    assert opened(backend, [Row(PROMPT)]).prompt.logits().shape == (1, backend.limits.vocab_size)
    assert backend.embeddings.input(torch.tensor([3, 5, 3])).shape == (3, 32)
    assert backend.reads_trees is (family not in SHARES_NOTHING)


def test_what_it_says_of_a_family(family_model):
    assert_described(family_model)


def test_what_it_says_of_other_families(other_family_model):
    assert_described(other_family_model)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_tied_and_untied_embeddings(make_tiny_model, family, tied):
    model = make_tiny_model(family, tie_word_embeddings=tied)
    same = model.get_input_embeddings().weight.data_ptr() == model.get_output_embeddings().weight.data_ptr()
    assert same is tied
    attribution = engine_calls.generation(model, PROMPT, SPANS, **SIZES)
    assert_close(attribution, serial.scores(model, PROMPT, SPANS, **SIZES))
