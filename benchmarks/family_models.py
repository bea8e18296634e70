"""Tiny random models of whatever families the installed transformers has, from their own default settings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCAB_SIZE = 320

#: Tokens that windows, chunks, selections of keys and original lengths are cut to: more than the few that a model
#: is tried out with, fewer than the prompts of a comparison have.
REACH = 20

#: Settings by the names that say what they are, the first that matches; a number or, of the old one, another.
_SHRUNK: tuple[tuple[str, int], ...] = (
    (r"(^|_)vocab_size", VOCAB_SIZE),
    (r"(window|attention_chunk_size|index_topk$|original_max_position|local_attention$|index_local)", REACH),
    (r"max_position|n_positions|n_ctx$|max_seq|context_length|seq_length$", 256),
    (r"(num|n)_?(hidden_)?layers?$|^depth$|num_blocks$|n_layer$|encoder_layers$|decoder_layers$|layer_depth", 2),
    (r"(num|n)_?(key_value|kv)_?heads?$|num_query_groups", 2),
    (r"num_?(attention|attn)?_?heads?$|attention_heads$|n_heads?$", 4),
    (r"experts_per_tok|^top_?k$|moe_top_?k|num_selected|topk_experts|moe_k$|num_experts_per", 2),
    (r"topk_group$|n_group$|num_expert_groups?$", 1),
    (r"num_shared|n_shared|shared_experts", 1),
    (r"experts?$|n_routed", 4),
    (r"head_?dim|kv_channels|d_kv|head_size", 8),
    (r"intermediate|ffn|feed_?forward|d_ff|n_inner|d_inner$|mlp_dim|shared_expert.*size", 64),
    (r"rank$|_rank_", 8),
    (r"(^|_)(hidden_size|d_model|n_embd|hidden_dim|embed_dim|dim|model_dim|width|embedding_size|lru_width|emb_dim)$", 32),
)

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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model_class(config)
        _draw(model)
    return model.float().eval()


def shrunk_config(config_class: Any, settings: dict[str, Any]) -> Any:
    """Default settings of a class, all sizes cut down and windows switched on."""
    return config_class(**{**_shrunk(config_class()), **settings})


def _shrunk(config: PreTrainedConfig) -> dict[str, Any]:
    taken = inspect.signature(type(config)).parameters
    own = {name: getattr(config, name) for name in (*config.to_dict(), *taken) if hasattr(config, name)}
    changed: dict[str, Any] = {}
    for name, value in own.items():
        if name in ("model_type", "transformers_version", "architectures", "layer_types") or name.startswith("_"):
            continue
        if isinstance(value, PreTrainedConfig):
            changed[name] = type(value)(**_shrunk(value))
        elif (small := _small(name, value)) is not None:
            changed[name] = small
    kinds = getattr(config, "layer_types", None)
    if kinds:
        # Each kind of layer once, in their order.
        chosen = list(dict.fromkeys(kinds))
        chosen += chosen[: max(0, 2 - len(chosen))]
        changed["layer_types"] = chosen
        changed |= {name: len(chosen) for name in ("num_hidden_layers",) if hasattr(config, name)}
    changed |= {name: token for name, token in _IDS.items() if hasattr(config, name)}
    if "is_decoder" in own:
        changed["is_decoder"] = True
    if "use_sliding_window" in own:
        changed |= {"use_sliding_window": True, "max_window_layers": 0}
    return changed


def _small(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return None
    if value is None:
        return REACH if name == "sliding_window" else None
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
                scale = 1.0 if "embed" in name or "wte" in name else 1.5 * parameter.shape[-1] ** -0.5
                parameter.normal_(0.0, scale)
            elif not parameter.any():
                parameter.normal_(0.0, 0.2)
