"""Models that are loaded in other ways than whole and plain: adapters, offloaded weights, odd embeddings."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from accelerate import dispatch_model
from peft import LoraConfig, PromptTuningConfig, get_peft_model

from gilot_plugin.backends.protocol import Row, TokenTree
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.errors import UnsupportedModelError
from tests.attribution import engine_calls, serial
from tests.attribution.closeness import assert_close, assert_same
from tests.attribution.engine_calls import PROMPT, SPANS
from tests.backends.opening import opened

SIZES = {"num_beams": 3, "max_new_tokens": 3}
IDS = torch.tensor([3, 5, 3, 250])


def adapted(model, **settings):
    """The model with an adapter of nonzero weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        wrapped = get_peft_model(model, LoraConfig(r=4, lora_alpha=16, init_lora_weights=False, **settings))
        for name, parameter in wrapped.named_parameters():
            if "modules_to_save" in name:
                torch.nn.init.normal_(parameter, std=0.5)
    return wrapped.eval()


@pytest.mark.parametrize(
    ("family", "settings", "moves_embeddings"),
    [
        ("llama", {"target_modules": ["q_proj", "v_proj", "down_proj"]}, False),
        ("llama", {"target_modules": ["q_proj", "embed_tokens"]}, True),
        ("llama", {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}, True),
        ("gpt2", {"target_modules": ["c_attn", "wte"], "fan_in_fan_out": True}, True),
    ],
)
def test_adapter_is_as_the_merged_model(make_tiny_model, family, settings, moves_embeddings):
    # Merging an adapter of tied embeddings would change the output layer too.
    wrapped = adapted(make_tiny_model(family, tie_word_embeddings=False), **settings)
    scores = engine_calls.generation(wrapped, PROMPT, SPANS, **SIZES)
    backend = TransformersBackend(wrapped)
    assert backend.recomputes is None
    assert backend.takes_positions
    rows = backend.embeddings(IDS)
    assert rows.dtype == torch.float32
    assert not rows.requires_grad
    merged = wrapped.merge_and_unload()
    assert_same(scores, engine_calls.generation(merged, PROMPT, SPANS, **SIZES))
    assert_close(scores, serial.scores(merged, PROMPT, SPANS, **SIZES))
    weight = merged.get_input_embeddings().weight.detach()
    np.testing.assert_allclose(rows, weight[IDS], rtol=1e-5, atol=1e-5)
    plain = make_tiny_model(family, tie_word_embeddings=False)
    assert torch.equal(weight, plain.get_input_embeddings().weight) is not moves_embeddings
    without = engine_calls.generation(plain, PROMPT, SPANS, **SIZES)
    assert max(np.abs(np.subtract(scores.scores["ot"], without.scores["ot"]))) > 0.01


def test_adapter_that_is_switched_off_stays_off(make_tiny_model):
    wrapped = adapted(make_tiny_model("llama"), target_modules=["q_proj", "embed_tokens"])
    with wrapped.disable_adapter():
        scores = engine_calls.generation(wrapped, PROMPT, SPANS, **SIZES)
        rows = TransformersBackend(wrapped).embeddings(IDS)
    plain = make_tiny_model("llama")
    assert_same(scores, engine_calls.generation(plain, PROMPT, SPANS, **SIZES))
    assert torch.equal(rows, plain.get_input_embeddings().weight.detach()[IDS])
    again = engine_calls.generation(wrapped, PROMPT, SPANS, **SIZES)
    assert max(np.abs(np.subtract(again.scores["ot"], scores.scores["ot"]))) > 0.01


def test_adapter_of_virtual_tokens(make_tiny_model):
    """PEFT puts the virtual tokens before whatever it is fed, continuations included."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        wrapped = get_peft_model(
            make_tiny_model("llama"), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
        ).eval()
        torch.nn.init.normal_(wrapped.prompt_encoder["default"].embedding.weight)
    backend = TransformersBackend(wrapped)
    assert backend.recomputes is not None
    assert not backend.takes_positions
    rows, tree = [Row(PROMPT), Row((5, 6))], TokenTree((7, 8), (-1, 0))
    for level in opened(backend, rows).read_trees([tree, tree]):
        for row, node, found in zip(level.rows, level.nodes, level.predictions.logits(), strict=True):
            ids = torch.tensor([[*rows[row].token_ids, *tree.tokens[: node + 1]]])
            with torch.no_grad():
                expected = wrapped(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
            np.testing.assert_allclose(found, expected[-1], rtol=1e-4, atol=1e-4)


def on_disk(model, folder):
    """The model with its embedding, last layer and head on disk."""
    modules = {module: name for name, module in model.named_modules()}
    body = model.base_model
    layers = body.h if hasattr(body, "h") else body.layers
    disk = [model.get_input_embeddings(), layers[-1], model.lm_head]
    leaves = [*(child for child in body.children() if child is not layers), *layers, model.lm_head]
    places = {modules[module]: "disk" if module in disk else "cpu" for module in leaves}
    return dispatch_model(model, places, main_device="cpu", offload_dir=folder, force_hooks=True)


@pytest.mark.parametrize(
    ("family", "tied"), [("llama", False), ("llama", True), ("gpt2", False), ("gemma2", False)]
)
def test_offloaded_weights(make_tiny_model, tmp_path, family, tied):
    plain = make_tiny_model(family, tie_word_embeddings=tied)
    model = on_disk(make_tiny_model(family, tie_word_embeddings=tied), tmp_path)
    assert model.get_input_embeddings().weight.is_meta
    backend = TransformersBackend(model)
    assert backend.device == torch.device("cpu")
    assert backend.recomputes is None
    assert torch.equal(backend.embeddings(IDS), TransformersBackend(plain).embeddings(IDS))
    assert_same(
        engine_calls.generation(model, PROMPT, SPANS, num_threads=2, **SIZES),
        engine_calls.generation(plain, PROMPT, SPANS, **SIZES),
    )
    assert model.get_input_embeddings().weight.is_meta


def test_offloaded_embeddings_in_threads(make_tiny_model, tmp_path):
    """The weights come and go with each call, so calls must not overlap with one another or with passes."""
    backend = TransformersBackend(on_disk(make_tiny_model("llama", tie_word_embeddings=True), tmp_path))
    expected = backend.embeddings(IDS)
    with ThreadPoolExecutor(4) as threads:
        found = [threads.submit(backend.embeddings, IDS) for _ in range(200)]
        for _ in range(20):
            opened(backend, [Row(PROMPT)]).prompt.logits()
        assert all(torch.equal(future.result(), expected) for future in found)


class _WantsMore(torch.nn.Embedding):
    def forward(self, ids, positions):
        return super().forward(ids) + positions


class _GivesMore(torch.nn.Embedding):
    def forward(self, ids):
        return super().forward(ids), None


@pytest.mark.parametrize("kind", [_WantsMore, _GivesMore])
def test_embedding_that_is_more_than_a_table(make_tiny_model, kind):
    model = make_tiny_model("llama")
    model.model.embed_tokens = kind(320, 32)
    backend = TransformersBackend(model)
    assert torch.equal(backend.embeddings(IDS), model.model.embed_tokens.weight.detach()[IDS])
    model.model.embed_tokens = kind(320, 32, device="meta")
    with pytest.raises(UnsupportedModelError, match=f"{kind.__name__}.*not in memory"):
        TransformersBackend(model).embeddings(IDS)
