"""What the backend finds out about a model, and what it does where a model cannot do what it promises."""

from __future__ import annotations

import copy
import logging

import pytest
import torch

from gilot_plugin.backends._transformers.tree import reader
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.errors import ConfigError, UnsupportedModelError
from gilot_plugin.resolve import make_recipe
from gilot_plugin.settings.config import GilotConfig
from tests.attribution import engine_calls, serial
from tests.attribution.closeness import assert_close
from tests.attribution.engine_calls import PROMPT, SPANS
from tests.backends._transformers.altered_passes import (
    around_forward,
    cache_in,
    confuse_runs,
    count_attended,
    fail_on_batches,
    have_no_reorder,
    ignore_mask,
    refuse,
    refuse_caches,
    refuse_masks_of_the_past,
    refuse_runs,
    reorder_nothing,
)
from tests.backends.opening import opened

SIZES = {"num_beams": 3, "max_new_tokens": 3}


@pytest.mark.parametrize(
    ("alter", "recomputes", "refuses_positions"),
    [
        pytest.param(lambda inputs: None, None, None, id="nothing"),
        pytest.param(
            ignore_mask,
            "padding changes what it predicts",
            "masked tokens still show in what it predicts",
            id="ignores the mask",
        ),
        pytest.param(
            reorder_nothing, "its state cannot be reordered and continued", None, id="reorders nothing"
        ),
        pytest.param(
            have_no_reorder,
            "its cache cannot be used (TypeError: 'NoneType' object is not callable)",
            None,
            id="has no reorder",
        ),
        pytest.param(
            refuse_caches,
            "its cache cannot be used (TypeError: forward() takes no cache)",
            None,
            id="refuses caches",
        ),
        # Rotary positions matter by their distance only, so that those of padded rows may be off.
        pytest.param(refuse("position_ids"), None, "it numbers the positions itself", id="refuses positions"),
        pytest.param(
            count_attended, None, "it takes no notice of explicit positions", id="counts attended tokens"
        ),
        pytest.param(refuse("logits_to_keep"), None, None, id="refuses to keep fewer logits"),
    ],
)
def test_model_that_does_not_do_as_it_says(make_tiny_model, alter, recomputes, refuses_positions):
    model, plain = around_forward(make_tiny_model("llama"), alter), make_tiny_model("llama")
    backend = TransformersBackend(model)
    assert (backend.recomputes, backend.refuses_positions) == (recomputes, refuses_positions)
    for batch_size in (1, 4):
        attribution = engine_calls.generation(model, PROMPT, SPANS, batch_size=batch_size, **SIZES)
        assert_close(attribution, serial.scores(plain, PROMPT, SPANS, **SIZES))
    choices = engine_calls.choices(model, PROMPT, SPANS, [(4, 5), (6,), (7, 8, 9)])
    for name, values in engine_calls.choices(plain, PROMPT, SPANS, [(4, 5), (6,), (7, 8, 9)]).scores.items():
        assert choices.scores[name] == pytest.approx(values, abs=1e-5)


def test_learned_positions_are_not_guessed(make_tiny_model):
    """A GPT-2 that is given no positions counts padding too."""
    model = around_forward(make_tiny_model("gpt2"), refuse("position_ids"))
    assert TransformersBackend(model).recomputes == "padding changes what it predicts"
    attribution = engine_calls.generation(model, PROMPT, SPANS, **SIZES)
    assert_close(attribution, serial.scores(make_tiny_model("gpt2"), PROMPT, SPANS, **SIZES))


def test_masks_of_batches_only(make_tiny_model):
    def ignore_mask_of_one(inputs):
        if len(inputs["input_ids"]) == 1:
            ignore_mask(inputs)

    backend = TransformersBackend(around_forward(make_tiny_model("llama"), ignore_mask_of_one))
    assert backend.recomputes is None
    assert backend.refuses_positions == "masked tokens still show in what it predicts"


def test_mask_that_later_steps_forget(make_tiny_model):
    def ignore_later_masks(inputs):
        cache = cache_in(inputs)
        if cache is not None and cache.get_seq_length():
            seen = inputs["attention_mask"]
            first = seen.argmax(dim=1, keepdim=True)
            inputs["attention_mask"] = (torch.arange(seen.shape[1]) >= first).long()

    backend = TransformersBackend(around_forward(make_tiny_model("llama"), ignore_later_masks))
    assert backend.recomputes is None
    assert backend.refuses_positions == "masked tokens still show in what it predicts"


def test_absence_by_masking_is_refused_with_the_reason(tiny_model, tiny_tokenizer):
    backend = TransformersBackend(tiny_model("recurrent_gemma"))
    with pytest.raises(ConfigError, match=r"'mask'.*masked tokens still show.*'delete' and 'replace'"):
        make_recipe(GilotConfig(absence="mask"), backend, tiny_tokenizer)
    with pytest.raises(UnsupportedModelError, match="'mask'"):
        engine_calls.generation(tiny_model("recurrent_gemma"), PROMPT, SPANS, absence="mask")


def test_probe_leaves_no_trace(make_tiny_model):
    model = make_tiny_model("gpt2", attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5)
    model.train()
    model.transformer.h[0].eval()
    modes = [module.training for module in model.modules()]
    config, weights = copy.deepcopy(model.config.to_dict()), copy.deepcopy(model.state_dict())
    state = torch.random.get_rng_state()
    backend = TransformersBackend(model)
    assert backend.recomputes is None
    assert backend.takes_positions
    assert backend.model_tokens == 0
    assert [module.training for module in model.modules()] == modes
    assert model.config.to_dict() == config
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("family", ["llama", "recurrent_gemma"])
def test_probe_is_short_and_done_once(make_tiny_model, family):
    fed = []
    model = around_forward(make_tiny_model(family), lambda inputs: fed.append(inputs["input_ids"].numel()))
    backend = TransformersBackend(model)
    assert not fed
    for _ in range(2):
        assert backend.takes_positions is (family == "llama")
        assert (backend.recomputes is None) is (family == "llama")
    assert len(fed) <= 14
    assert sum(fed) < 250
    before = len(fed)
    assert len(opened(backend, [Row(PROMPT)]).prompt) == 1
    assert len(fed) == before + 1


def test_slower_reading_is_said_once(tiny_model, caplog):
    backend = TransformersBackend(tiny_model("recurrent_gemma"))
    with caplog.at_level(logging.INFO, "gilot_plugin"):
        for _ in range(2):
            opened(backend, [Row((5, 6))])
    assert caplog.messages == [
        "RecurrentGemmaForCausalLM is read whole at every step, which is slower: padding changes what it "
        "predicts"
    ]
    caplog.clear()
    opened(TransformersBackend(tiny_model("llama")), [Row((5, 6))])
    assert not caplog.messages


def test_model_that_does_not_read_ids_is_refused(make_tiny_model):
    def fail(inputs):
        raise ValueError("inputs_embeds cannot be None\nand more lines")

    backend = TransformersBackend(around_forward(make_tiny_model("llama"), fail))
    refused = (
        r"cannot attribute LlamaForCausalLM: it does not read token ids by themselves "
        r"\(ValueError: inputs_embeds cannot be None\)$"
    )
    for use in (
        lambda: backend.recomputes,
        lambda: backend.cache_use,
        lambda: backend.refuses_positions,
        lambda: opened(backend, [Row((5,))]),
    ):
        with pytest.raises(UnsupportedModelError, match=refused):
            use()


def test_no_memory_is_no_finding(make_tiny_model):
    short = [True]

    def check(inputs):
        if short[0]:
            raise torch.OutOfMemoryError

    backend = TransformersBackend(around_forward(make_tiny_model("llama"), check))
    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError):
            opened(backend, [Row((5,))])
    short[0] = False
    assert backend.recomputes is None
    short[0] = True
    with pytest.raises(torch.OutOfMemoryError):
        assert backend.takes_positions
    short[0] = False
    assert backend.takes_positions


@pytest.mark.parametrize("longest", [6, 7, 8, 12])
def test_short_windows(make_tiny_model, longest):
    """Learned positions: the probe must not go beyond."""
    backend = TransformersBackend(make_tiny_model("gpt2", max_position_embeddings=longest))
    assert backend.recomputes is None
    assert backend.takes_positions


def errors_of(model):
    return TransformersBackend(model).cache_use.errors


def test_errors_of_the_probe_are_told(make_tiny_model, monkeypatch):
    assert errors_of(make_tiny_model("llama")) == ()
    assert errors_of(around_forward(make_tiny_model("llama"), refuse_caches)) == (
        "TypeError: forward() takes no cache",
    )
    backend = TransformersBackend(around_forward(make_tiny_model("llama"), fail_on_batches))
    assert backend.cache_use.errors == ("RuntimeError: no batches here",)
    assert backend.recomputes == (
        "it reads a batch otherwise than single sequences (RuntimeError: no batches here)"
    )

    def broken(*_):
        raise AttributeError("the next release has renamed it")

    monkeypatch.setattr(reader, "BodyAndHead", broken)
    use = TransformersBackend(make_tiny_model("llama")).cache_use
    assert (use.key_value_cache, use.prefix_trees) == (True, False)
    assert use.reason == "trees cannot be read (AttributeError: the next release has renamed it)"
    assert use.errors == ("AttributeError: the next release has renamed it",)


@pytest.mark.parametrize("alter", [refuse_runs, confuse_runs])
def test_caches_that_take_one_token_at_a_time(make_tiny_model, tiny_model, alter):
    model = around_forward(make_tiny_model("llama"), alter)
    backend = TransformersBackend(model)
    use = backend.cache_use
    assert (use.key_value_cache, use.prefix_trees, use.errors) == (True, False, ())
    assert use.reason == "its cache takes one token at a time"
    attribution = engine_calls.generation(model, PROMPT, SPANS[1:3], **SIZES)
    assert_close(attribution, serial.scores(tiny_model("llama"), PROMPT, SPANS[1:3], **SIZES))


def test_masks_that_padding_needs_are_not_left_out(make_tiny_model):
    """Without the mask, tokens that follow would see the padding of the prompts."""
    use = TransformersBackend(around_forward(make_tiny_model("llama"), refuse_masks_of_the_past)).cache_use
    assert (use.key_value_cache, use.errors) == (False, ("RuntimeError: sizes must match",))


def test_what_a_model_refuses_is_no_error(tiny_model):
    use = TransformersBackend(tiny_model("recurrent_gemma")).cache_use
    assert (use.key_value_cache, use.prefix_trees, use.errors) == (False, False, ())
    assert use.reason == "padding changes what it predicts"
