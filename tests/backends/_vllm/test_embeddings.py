from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from gilot_plugin.backends._vllm.embeddings import CheckpointEmbeddings
from gilot_plugin.errors import UnsupportedModelError

IDS = torch.tensor([5, 317, 5, 0])


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "opt", "bloom", "gemma2", "mixtral"])
@pytest.mark.parametrize("tied", [True, False])
def test_tables_are_those_of_the_model(make_tiny_model, tmp_path, family, tied):
    model = make_tiny_model(family, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path, max_shard_size="50KB")
    table = CheckpointEmbeddings(str(tmp_path))
    assert torch.equal(table.input(IDS), model.get_input_embeddings().weight[IDS])
    assert torch.equal(table.output(IDS), model.get_output_embeddings().weight[IDS])
    assert torch.allclose(table.mean, model.get_input_embeddings().weight.mean(0), atol=1e-6)


def test_half_precision_gives_single(make_tiny_model, tmp_path):
    model = make_tiny_model("llama").to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    found = CheckpointEmbeddings(str(tmp_path)).input(IDS)
    assert found.dtype == torch.float32
    assert torch.equal(found, model.get_input_embeddings().weight[IDS].float())


@pytest.mark.parametrize("rename", ["without", "beneath"])
def test_checkpoints_that_call_them_something_else(make_tiny_model, tmp_path, rename):
    model = make_tiny_model("gpt2")
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    names = {
        "without": lambda name: name.removeprefix("transformer."),
        "beneath": lambda name: f"language_model.{name}",
    }
    save_file({names[rename](name): tensor for name, tensor in load_file(file).items()}, file)
    found = CheckpointEmbeddings(str(tmp_path)).input(IDS)
    assert torch.equal(found, model.get_input_embeddings().weight[IDS])


def test_a_head_that_a_tied_checkpoint_has_beside_it_is_not_used(make_tiny_model, tmp_path):
    model = make_tiny_model("llama", tie_word_embeddings=True)
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({**load_file(file), "lm_head.weight": torch.zeros(320, 32)}, file)
    assert torch.equal(
        CheckpointEmbeddings(str(tmp_path)).output(IDS), model.get_input_embeddings().weight[IDS]
    )


def test_without_safetensors_it_is_refused(make_tiny_model, tmp_path):
    make_tiny_model("llama").config.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match=r"no file \*\.safetensors has .*gilot explain"):
        CheckpointEmbeddings(str(tmp_path))


def test_packed_numbers_are_refused(make_tiny_model, tmp_path):
    make_tiny_model("llama").save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({**load_file(file), "model.embed_tokens.weight": torch.zeros(320, 4, dtype=torch.int32)}, file)
    with pytest.raises(UnsupportedModelError, match=r"kept as torch\.int32"):
        CheckpointEmbeddings(str(tmp_path))


def test_unknown_names_are_refused(monkeypatch):
    with pytest.raises(UnsupportedModelError, match="neither a folder nor in the local cache"):
        CheckpointEmbeddings("no-such/model")


@pytest.fixture
def adapted(make_tiny_model, tmp_path):
    """Makes a checkpoint and an adapter that has weights of some modules."""
    model = make_tiny_model("llama", tie_word_embeddings=False)
    model.save_pretrained(tmp_path / "base")

    def make(*modules, safetensors=True):
        adapter = tmp_path / "adapter"
        adapter.mkdir()
        settings = {"target_modules": list(modules), "modules_to_save": None}
        (adapter / "adapter_config.json").write_text(json.dumps(settings))
        if safetensors:
            names = [f"base_model.model.model.{module}.lora_embedding_A" for module in modules]
            save_file({name: torch.ones(2, 2) for name in names}, adapter / "adapter_model.safetensors")
        return str(tmp_path / "base"), str(adapter)

    return make


@pytest.mark.parametrize("safetensors", [True, False])
def test_adapters_of_other_modules_leave_the_embeddings_as_they_are(adapted, safetensors):
    base, adapter = adapted("layers.0.self_attn.q_proj", safetensors=safetensors)
    plain = CheckpointEmbeddings(base)
    assert torch.equal(CheckpointEmbeddings(base, adapter=adapter).input(IDS), plain.input(IDS))


@pytest.mark.parametrize("safetensors", [True, False])
def test_adapters_of_embeddings_are_refused(adapted, safetensors):
    base, adapter = adapted("embed_tokens", safetensors=safetensors)
    with pytest.raises(UnsupportedModelError, match="changes the embeddings 'embed_tokens'"):
        CheckpointEmbeddings(base, adapter=adapter)


def test_adapters_of_the_head_are_refused_where_it_is_used(adapted):
    base, adapter = adapted("lm_head")
    table = CheckpointEmbeddings(base, adapter=adapter)
    with pytest.raises(UnsupportedModelError, match="changes the embeddings 'lm_head'"):
        table.output(IDS)
