"""Tiny random models of whatever families the installed transformers has, from their own default settings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoModel, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCAB_SIZE = 320

#: Tokens that windows, chunks, selections of keys and original lengths are cut to: more than the few that a
#: model is tried out with, fewer than the prompts of a comparison have.
REACH = 20

#: Settings by the names that say what they are, the first that matches; a number or, of the old one, another.
_SHRUNK: tuple[tuple[str, int], ...] = (
    (r"(^|_)vocab_size", VOCAB_SIZE),
    (r"(window|attention_chunk_size|index_topk$|original_max_position|local_attention$|index_local)", REACH),
    (r"max_position|n_positions|n_ctx$|max_seq|context_length|seq_length$", 256),
    (
        r"(num|n)_?(hidden_)?layers?$|^depth$|num_blocks$|n_layer$|encoder_layers$|decoder_layers$|layer_depth",
        2,
    ),
    (r"(num|n)_?(key_value|kv)_?heads?$|num_query_groups", 2),
    (r"index_block_size$|sparse_block_size$", 4),
    (r"index_topk_blocks$|sparse_topk_blocks$", 2),
    # Few heads would tie over what they select.
    (r"^index_n(_heads)?$|index_n_heads|index_heads", 32),
    (r"num_?(attention|attn)?_?heads?$|attention_heads$|n_heads?$", 4),
    (r"experts_per_tok|^top_?k$|moe_top_?k|num_selected|topk_experts|moe_k$|num_experts_per", 2),
    (r"topk_group$|n_group$|num_expert_groups?$", 1),
    (r"num_shared|n_shared|shared_experts", 1),
    (r"experts?$|n_routed", 4),
    (r"^qk_head_dim$", 16),
    (r"^rotary_dim$", 8),
    (r"head_?dim|kv_channels|d_kv|head_size", 8),
    (r"intermediate|ffn|feed_?forward|d_ff|n_inner|d_inner$|mlp_dim|shared_expert.*size", 64),
    (r"rank$|_rank_", 8),
    (
        r"(^|_)(hidden_size|d_model|n_embd|hidden_dim|embed_dim|dim|model_dim|width|embedding_size|lru_width|emb_dim)$",
        32,
    ),
)

#: A model that drafts what another one says, all of whose layers look at that one's keys and values.
_ASSISTANT = {
    "vocab_size": VOCAB_SIZE,
    "vocab_size_per_layer_input": 0,
    "hidden_size": 32,
    "hidden_size_per_layer_input": 0,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_kv_shared_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "layer_types": ["sliding_attention", "full_attention"],
    "sliding_window": REACH,
    "use_double_wide_mlp": False,
}

#: What sizes cannot be told from, by type of model or of its part: patterns of layers, languages, factors of
#: sizes that were cut, sizes of neighbours.
_SETTINGS: dict[str, dict[str, Any]] = {
    "deepseek_v2": {"topk_group": 1, "n_group": 1, "num_experts_per_tok": 2},
    "zamba": {
        "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
        "num_hidden_layers": 4,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
    },
    "zamba2": {
        "layers_block_type": ["linear_attention", "hybrid"],
        "num_hidden_layers": 2,
        "mamba_ngroups": 1,
        "attention_hidden_size": 64,
    },
    "nemotron": {"num_key_value_heads": 2},
    "nemotron_h": {"mamba_num_heads": 4, "mamba_head_dim": 8, "n_groups": 1},
    "granitemoehybrid": {
        "layer_types": ["mamba", "attention"],
        "mamba_n_heads": 8,
        "mamba_d_head": 8,
        "mamba_n_groups": 1,
    },
    "minimax_m3_vl_text": {"layer_types": ["full_attention", "minimax_m3_sparse"]},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}
    },
    "dory": {
        "layer_types": ["sliding_attention", "mlp", "full_attention", "mlp", "sliding_attention", "mlp"],
        "num_hidden_layers": 6,
        "n_input_layers": 2,
        "n_output_layers": 2,
        "n_recurrent_layers": 2,
    },
    "qwen4_exp_text": {
        "ngram_vocab_size_base": 500,
        "indexer_n_heads": 32,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": REACH,
        "indexer_compress_ratio": 4,
    },
    "gemma4_assistant": {"text_config": {**_ASSISTANT, "model_type": "gemma4_text"}},
    "gemma4_unified_assistant": {"text_config": {**_ASSISTANT, "model_type": "gemma4_unified_text"}},
    # The frequency is set where published checkpoints have it, too.
    "dbrx": {"attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 1e4}},
    "dots3_note_audio_encoder": {"adapter_input_size": 32, "adapter_out_dim": 32},
    "dots3_note_vision_encoder": {"adapter_in_dim": 32, "adapter_out_dim": 32, "per_layer_config": None},
    "xlstm": {"hidden_size": 128, "embedding_dim": 128},
    "blt": {"vocab_size": VOCAB_SIZE, "encoder_hash_byte_group_vocab": 500},
    "blt_local_encoder": {"vocab_size": VOCAB_SIZE, "hidden_size_global": 32},
    "blt_local_decoder": {"vocab_size": VOCAB_SIZE, "hidden_size_global": 32},
    "blt_patcher": {"vocab_size": VOCAB_SIZE},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "num_layers": 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "reformer": {"axial_pos_embds": False, "attn_layers": ["local", "local"]},
    "xmod": {"default_language": "en_XX"},
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
    },
    "recurrent_gemma": {"num_hidden_layers": 3},
    "bamba": {"attn_layer_indices": [1], "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1},
    "falcon_h1": {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 1},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1},
}

#: Lists with a kind for each layer.
_PATTERNS = ("layer_types", "layers_block_type", "mlp_layer_types", "indexer_types")

#: What is as it is.
_KEPT = ("model_type", "transformers_version", "architectures")

#: Ids of special tokens.
_IDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}


def families() -> Iterator[tuple[str, str]]:
    """Model types with a class for causal language models, and the class."""
    for model_type, names in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        yield model_type, names if isinstance(names, str) else names[0]


def tiny_model(model_type: str, class_name: str, **settings: Any) -> Any:
    """A model of a family with tiny random weights, the same at every call.

    Args:
        model_type: As transformers names it.
        class_name: The causal language model's class.
        settings: What it has instead of shrunk defaults.

    Raises:
        Exception: Whatever transformers says of settings that it cannot make a model of.
    """
    model_class = getattr(transformers, class_name)
    config = shrunk_config(CONFIG_MAPPING[model_type], settings)
    if not isinstance(config, model_class.config_class):
        config = config.get_text_config(decoder=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with _parts_left_out():
            model = model_class(config)
        _draw(model)
    return model.float().eval()


def shrunk_config(config_class: Any, settings: dict[str, Any]) -> Any:
    """Default settings of a class, all sizes cut down and windows switched on."""
    try:
        default = config_class()
    except Exception:
        # The defaults of its parts need not go with one another.
        default = config_class(**_SETTINGS[config_class.model_type])
    return config_class(**{**_shrunk(default), **settings})


def _shrunk(config: PreTrainedConfig) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    own = _own(config)
    for name, value in own.items():
        if isinstance(value, PreTrainedConfig):
            changed[name] = type(value)(**_shrunk(value))
        elif (small := _small(name, value)) is not None:
            changed[name] = small
    patterns = {name: value for name in _PATTERNS if isinstance(value := own.get(name), list) and value}
    if patterns:
        # Each kind of layer once, in their order.
        kinds = list(zip(*patterns.values(), strict=False))
        chosen = list(dict.fromkeys(kinds))
        chosen += chosen[: max(0, 2 - len(chosen))]
        changed |= dict(zip(patterns, map(list, zip(*chosen, strict=True)), strict=True))
        changed["num_hidden_layers"] = len(chosen)
    changed |= {name: token for name, token in _IDS.items() if name in own}
    if own.get("kv_lora_rank"):
        # Every head has keys and values of its own, unfolded from what they share.
        changed["num_key_value_heads"] = changed.get("num_attention_heads")
    if "is_decoder" in own:
        changed["is_decoder"] = True
    if "use_sliding_window" in own:
        changed |= {"use_sliding_window": True, "max_window_layers": 0}
    return {**changed, **_SETTINGS.get(config.model_type, {})}


@contextmanager
def _parts_left_out() -> Iterator[None]:
    """Leave out parts whose packages are not installed: they look at images, and no prompt here has any."""
    build = AutoModel.from_config

    def build_if_possible(config: Any, **options: Any) -> Any:
        try:
            return build(config, **options)
        except ImportError:
            return torch.nn.Identity()

    with mock.patch.object(AutoModel, "from_config", build_if_possible):
        yield


def _own(config: PreTrainedConfig) -> dict[str, Any]:
    """Settings that a configuration can be made with, and its parts."""
    names = (*config.to_dict(), *inspect.signature(type(config)).parameters)
    found: dict[str, Any] = {}
    for name in names:
        fixed = getattr(type(config), name, None)
        if name.startswith("_") or name in _KEPT or (isinstance(fixed, property) and fixed.fset is None):
            continue
        try:
            found[name] = getattr(config, name)
        except AttributeError:
            continue
        except Exception:
            # Settings that differ from layer to layer are not told by their name alone.
            found[name] = config.to_dict().get(name)
    return found


def _small(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return None
    if value is None:
        return {"sliding_window": REACH, "head_dim": 8, "num_key_value_heads": 2}.get(name)
    for pattern, size in _SHRUNK:
        if re.search(pattern, name):
            if isinstance(value, int):
                return min(value, size) if value > 0 else None
            if isinstance(value, list) and value and all(isinstance(entry, int) for entry in value):
                return [min(entry, size) for entry in value[:2]]
            return None
    return None


def _draw(model: torch.nn.Module) -> None:
    """Weights with which every token of a prompt shows in what follows."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.is_floating_point():
                continue
            if parameter.dim() >= 2:
                scale = 0.5 if "embed" in name or "wte" in name else parameter.shape[-1] ** -0.5
                parameter.normal_(0.0, scale)
            elif not parameter.any():
                parameter.normal_(0.0, 0.2)
