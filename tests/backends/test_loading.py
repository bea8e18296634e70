"""Models that are loaded in other ways than whole and plain: adapters, offloaded weights, odd embeddings."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from accelerate import dispatch_model
from peft import LoraConfig, PromptTuningConfig, get_peft_model

from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scoring.sessions import TokenTree
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.errors import ConfigError, UnsupportedModelError
from gilot_plugin.resolve import make_recipe
from gilot_plugin.settings.config import GilotConfig
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
    rows = backend.embeddings.input(IDS)
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
        rows = TransformersBackend(wrapped).embeddings.input(IDS)
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
    assert torch.equal(backend.embeddings.input(IDS), TransformersBackend(plain).embeddings.input(IDS))
    assert_same(
        engine_calls.generation(model, PROMPT, SPANS, num_threads=2, **SIZES),
        engine_calls.generation(plain, PROMPT, SPANS, **SIZES),
    )
    assert model.get_input_embeddings().weight.is_meta


def test_offloaded_embeddings_in_threads(make_tiny_model, tmp_path):
    """The weights come and go with each call, so calls must not overlap with one another or with passes."""
    backend = TransformersBackend(on_disk(make_tiny_model("llama", tie_word_embeddings=True), tmp_path))
    expected = backend.embeddings.input(IDS)
    with ThreadPoolExecutor(4) as threads:
        found = [threads.submit(backend.embeddings.input, IDS) for _ in range(200)]
        for _ in range(20):
            opened(backend, [Row(PROMPT)]).prompt.logits()
        assert all(torch.equal(future.result(), expected) for future in found)


@pytest.mark.parametrize("chunk_bytes", [1, 128 * 7, 2**26])
def test_mean_embedding_is_that_of_the_vocabulary(make_tiny_model, monkeypatch, chunk_bytes):
    monkeypatch.setattr("gilot_plugin.backends._transformers.embedding._CHUNK_BYTES", chunk_bytes)
    model = adapted(make_tiny_model("llama", tie_word_embeddings=False), target_modules=["embed_tokens"])
    backend = TransformersBackend(model)
    mean = backend.embeddings.mean
    assert mean.dtype == torch.float32
    assert backend.embeddings.mean is mean
    table = model.merge_and_unload().get_input_embeddings().weight.detach().double()
    np.testing.assert_allclose(mean, table.mean(dim=0), atol=1e-6)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "phi", "opt", "mamba"])
@pytest.mark.parametrize("tied", [False, True])
def test_output_embeddings_are_what_logits_come_from(make_tiny_model, family, tied):
    model = make_tiny_model(family, tie_word_embeddings=tied)
    rows = TransformersBackend(model).embeddings.output(IDS)
    assert torch.equal(rows, model.lm_head.weight.detach()[IDS])
    assert rows.dtype == torch.float32
    assert torch.equal(rows, model.get_input_embeddings().weight.detach()[IDS]) is tied


def test_output_embeddings_in_half_precision(make_tiny_model):
    model = make_tiny_model("llama", tie_word_embeddings=False).bfloat16()
    rows = TransformersBackend(model).embeddings.output(IDS)
    assert torch.equal(rows, model.lm_head.weight.detach()[IDS].float())


@pytest.mark.parametrize("tied", [False, True])
def test_offloaded_output_embeddings(make_tiny_model, tmp_path, tied):
    plain = make_tiny_model("llama", tie_word_embeddings=tied)
    backend = TransformersBackend(on_disk(make_tiny_model("llama", tie_word_embeddings=tied), tmp_path))
    assert torch.equal(backend.embeddings.output(IDS), plain.lm_head.weight.detach()[IDS])
    assert torch.equal(backend.embeddings.mean, TransformersBackend(plain).embeddings.mean)


def test_output_embeddings_that_an_adapter_saves(make_tiny_model):
    model = adapted(
        make_tiny_model("llama", tie_word_embeddings=False),
        target_modules=["q_proj"],
        modules_to_save=["lm_head"],
    )
    rows = TransformersBackend(model).embeddings.output(IDS)
    with model.disable_adapter():
        without = TransformersBackend(model).embeddings.output(IDS)
    assert torch.equal(rows, model.merge_and_unload().lm_head.weight.detach()[IDS])
    assert not torch.allclose(rows, without)


def _without_head(model):
    model.get_output_embeddings = lambda: None


def _with_a_packed_head(model):
    model.lm_head.weight = torch.nn.Parameter(torch.zeros(5, 5, dtype=torch.uint8), requires_grad=False)


def _with_a_lost_head(model):
    model.lm_head = torch.nn.Linear(32, 320, device="meta")


def _with_a_scaled_head(model):
    model.lm_head.register_forward_hook(lambda module, given, logits: 1.1 * logits)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_without_head, "no output embeddings that can be read"),
        (_with_a_packed_head, "kept in a format of Linear"),
        (_with_a_lost_head, "no output embeddings that can be read"),
        (_with_a_scaled_head, "does more than multiply"),
    ],
)
def test_output_embeddings_that_cannot_be_read(make_tiny_model, change, reason):
    model = make_tiny_model("llama", tie_word_embeddings=False)
    change(model)
    with pytest.raises(UnsupportedModelError, match=f"ground_cost='output'.*LlamaFor.*{reason}.*'cosine'"):
        TransformersBackend(model).embeddings.output(IDS)


def test_a_ground_cost_that_the_model_lacks_is_refused_before_any_sample(make_tiny_model, tiny_tokenizer):
    model = make_tiny_model("llama", tie_word_embeddings=False)
    _without_head(model)
    backend = TransformersBackend(model)
    with pytest.raises(ConfigError, match=r"ground_cost='output'.*no output embeddings"):
        make_recipe(GilotConfig(ground_cost="output"), backend, tiny_tokenizer)
    recipe = make_recipe(GilotConfig(ground_cost="truncated", cost_limit=0.25), backend, tiny_tokenizer)
    assert recipe.ground_cost.largest == 0.25


def test_output_embeddings_with_an_adapter_beside_them(make_tiny_model):
    model = adapted(make_tiny_model("llama", tie_word_embeddings=False), target_modules=["lm_head"])
    with pytest.raises(UnsupportedModelError, match="not merged"):
        TransformersBackend(model).embeddings.output(IDS)
    merged = model.merge_and_unload()
    rows = TransformersBackend(merged).embeddings.output(IDS)
    assert torch.equal(rows, merged.lm_head.weight.detach()[IDS])


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
    assert torch.equal(backend.embeddings.input(IDS), model.model.embed_tokens.weight.detach()[IDS])
    model.model.embed_tokens = kind(320, 32, device="meta")
    with pytest.raises(UnsupportedModelError, match=f"{kind.__name__}.*not in memory"):
        TransformersBackend(model).embeddings.input(IDS)
