"""A package ``vllm`` whose engine is the stand-in, for lm-eval's own class over it."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from unittest.mock import patch

from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.backends._vllm.stand_in import SamplingParams, StandInLlm

_HARNESS = "lm_eval.models.vllm_causallms"


@dataclass
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str


def make_llm(model: str, *, max_model_len: int | None = None, **arguments: Any) -> StandInLlm:
    loaded = AutoModelForCausalLM.from_pretrained(model, revision=arguments.get("revision"))
    sizes = {} if max_model_len is None else {"max_model_len": max_model_len}
    kept = {name: arguments[name] for name in ("max_logprobs", "logprobs_mode") if name in arguments}
    return StandInLlm(
        loaded.eval(),
        tokenizer=AutoTokenizer.from_pretrained(model),
        model=model,
        revision=arguments.get("revision"),
        trust_remote_code=False,
        hf_config=loaded.config,
        try_get_generation_config=loaded.generation_config.to_diff_dict,
        **sizes,
        **kept,
    )


def _modules() -> dict[str, ModuleType]:
    parts: dict[str, dict[str, Any]] = {
        "vllm": {"LLM": make_llm, "SamplingParams": SamplingParams, "TokensPrompt": dict},
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": LoRARequest},
        "vllm.renderers": {},
        "vllm.renderers.hf": {"resolve_chat_template": lambda tokenizer, **_: tokenizer.chat_template},
        "vllm.tokenizers": {
            "get_tokenizer": lambda name, tokenizer_mode=None, **settings: AutoTokenizer.from_pretrained(
                name, **settings
            )
        },
    }
    found = {}
    for name, members in parts.items():
        found[name] = ModuleType(name)
        vars(found[name]).update(members)
    return found


@contextmanager
def stand_in_package() -> Iterator[Any]:
    """Let lm-eval find the package; gives its module of the class ``vllm``."""
    version_of = importlib.metadata.version

    def version(name: str) -> str:
        return "0.32.0" if name == "vllm" else version_of(name)

    with patch.dict(sys.modules, _modules()), patch("importlib.metadata.version", version):
        sys.modules.pop(_HARNESS, None)  # patch.dict brings it back
        module = importlib.import_module(_HARNESS)
        with patch.object(module, "find_spec", lambda name: name):
            yield module
