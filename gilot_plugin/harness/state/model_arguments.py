"""How lm-eval is told to load a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lm_eval.utils
import torch

from gilot_plugin.errors import ConfigError

#: Arguments that open doors and change no number.
_SECRETS = frozenset({"token", "hf_token", "use_auth_token", "api_key"})


@dataclass(frozen=True)
class ModelArguments:
    """How lm-eval was told to load a model, as a manifest keeps it.

    Attributes:
        model: Name of lm-eval's model class.
        arguments: For it; JSON values, without access tokens.
    """

    model: str
    arguments: Mapping[str, Any]


def model_arguments(call: Mapping[str, Any]) -> ModelArguments | None:
    """What a call of lm-eval's ``simple_evaluate`` says of the model.

    Args:
        call: The arguments of the call.

    Returns:
        None where it was given a model that was loaded already, or arguments that no file can hold.
    """
    name, given = call.get("model"), call.get("model_args")
    if not isinstance(name, str):
        return None
    parsed = dict(given) if isinstance(given, Mapping) else parse_model_args(str(given or ""))
    kept = {
        key: _dtype_name(value) if isinstance(value, torch.dtype) else value
        for key, value in parsed.items()
        if key not in _SECRETS
    }
    try:
        json.dumps(kept, allow_nan=False)
    except (TypeError, ValueError):
        return None
    return ModelArguments(name, kept)


def arguments_of_model(lm: Any) -> ModelArguments | None:
    """What a model that was loaded before says of itself; None where it cannot be loaded by what it says."""
    pretrained = getattr(lm, "pretrained", None)
    if type(lm).__name__ != "HFLM" or not isinstance(pretrained, str):
        return None
    told = {name: getattr(lm, name, None) for name in ("revision", "peft", "delta")}
    dtype = getattr(getattr(lm, "_model", None), "dtype", None)
    if isinstance(dtype, torch.dtype):
        told["dtype"] = _dtype_name(dtype)
    known = {name: value for name, value in told.items() if isinstance(value, str)}
    return ModelArguments("hf", {"pretrained": pretrained, **known})


def _dtype_name(dtype: torch.dtype) -> str:
    """As lm-eval takes it, e.g. ``float16``."""
    return str(dtype).removeprefix("torch.")


def parse_model_args(text: str) -> dict[str, Any]:
    """Read ``--model_args`` as lm-eval does.

    Raises:
        ConfigError: It is not ``key=value,...``.
    """
    if not all(equals for _, equals, _ in (part.partition("=") for part in text.split(",") if part)):
        raise ConfigError(f"--model_args {text!r}: write key=value, e.g. pretrained=gpt2")
    arguments: dict[str, Any] = lm_eval.utils.simple_parse_args_string(text)
    return arguments
