"""Memory that is short, and what the engine refuses."""

from __future__ import annotations

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from gilot_plugin.backends.scoring.sessions import Need
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.errors import BudgetError, NonFiniteLogitsError, PromptError, UnsupportedModelError
from tests.attribution import engine_calls, serial
from tests.attribution.altered_models import before_forward, bias_output
from tests.attribution.closeness import assert_close, assert_same
from tests.attribution.engine_calls import EVERY_TOKEN, PROMPT, SPANS


def _refuse_batches_above(limit: int):
    def check(input_ids: torch.Tensor) -> None:
        if len(input_ids) > limit:
            raise torch.OutOfMemoryError(f"{len(input_ids)} rows")

    return check


@pytest.mark.parametrize(("limit", "batch_size"), [(4, 1), (12, 3), (31, 7)])
def test_out_of_memory_goes_on_in_smaller_batches(make_tiny_model, tiny_model, limit, batch_size):
    model = before_forward(make_tiny_model("llama"), _refuse_batches_above(limit))
    attribution = engine_calls.generation(model, PROMPT, EVERY_TOKEN, batch_size=64)
    assert attribution.diagnostics.batch_size == batch_size
    assert_same(attribution, engine_calls.generation(tiny_model("llama"), PROMPT, EVERY_TOKEN))


def test_out_of_memory_of_choices(make_tiny_model, tiny_model):
    continuations = [(5, 6), (7,)]
    model = before_forward(make_tiny_model("llama"), _refuse_batches_above(6))
    attribution = engine_calls.choices(model, PROMPT, EVERY_TOKEN, continuations, batch_size=64)
    assert attribution.diagnostics.batch_size == 3
    assert_same(attribution, engine_calls.choices(tiny_model("llama"), PROMPT, EVERY_TOKEN, continuations))


def test_out_of_memory_with_a_single_prompt_is_raised(make_tiny_model):
    model = before_forward(make_tiny_model("llama"), _refuse_batches_above(3))
    with pytest.raises(torch.OutOfMemoryError):
        engine_calls.generation(model, PROMPT, SPANS)


def test_budget_below_one_prompt(tiny_model):
    with pytest.raises(BudgetError, match="memory_budget"):
        engine_calls.generation(tiny_model("llama"), PROMPT, SPANS, batch_size=None, memory_budget=1000)


def test_budget_sets_the_batch(tiny_model, monkeypatch):
    model = tiny_model("llama")
    methods = engine_calls.methods("l2")
    usual = engine_calls.generation(model, PROMPT, EVERY_TOKEN, methods=methods)
    mib = 2**20
    monkeypatch.setattr(TransformersBackend, "memory", lambda self, load: Need(mib, mib))
    # Outcomes count, too, but these are small.
    budget = 4 * mib + mib // 2
    found = engine_calls.generation(
        model, PROMPT, EVERY_TOKEN, batch_size=None, memory_budget=budget, methods=methods
    )
    assert_same(found, usual)
    assert found.diagnostics.batch_size == 3


def test_batch_without_settings_fits_the_machine(tiny_model):
    attribution = engine_calls.generation(tiny_model("llama"), PROMPT, SPANS, batch_size=None)
    assert attribution.diagnostics.batch_size >= 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite(make_tiny_model, value):
    model = bias_output(make_tiny_model("llama"), {5: value})
    with pytest.raises(NonFiniteLogitsError, match="dtype"):
        engine_calls.generation(model, PROMPT, SPANS)
    with pytest.raises(NonFiniteLogitsError, match="dtype"):
        engine_calls.choices(model, PROMPT, SPANS, [(4,), (8,)])


def test_nothing_is_possible(make_tiny_model):
    model = bias_output(make_tiny_model("llama"), {}, others=float("-inf"))
    with pytest.raises(NonFiniteLogitsError):
        engine_calls.generation(model, PROMPT, SPANS)


def test_encoder_decoder():
    config = T5Config(vocab_size=32, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=4)
    with pytest.raises(UnsupportedModelError, match="encoder-decoder"):
        engine_calls.generation(T5ForConditionalGeneration(config), PROMPT, SPANS)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_prompt_that_just_fits_and_prompt_that_does_not(make_tiny_model, family):
    model = make_tiny_model(family, max_position_embeddings=16)
    fits = engine_calls.generation(model, PROMPT[:11], SPANS[:2])
    assert_close(fits, serial.scores(model, PROMPT[:11], SPANS[:2]))
    with pytest.raises(PromptError, match="need 17 positions, the model has 16"):
        engine_calls.generation(model, PROMPT[:12], SPANS[:2])
