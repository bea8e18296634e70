"""lm-eval's model ``gilot``: any other model, attributed.

``--model gilot --model_args base=hf,pretrained=gpt2,gilot.num_beams=2``; the entry point in the group
``lm_eval.models`` makes it known to lm-eval 0.4.14 and later.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from lm_eval.api.model import LM
from lm_eval.api.registry import get_model

from gilot_plugin.errors import ConfigError
from gilot_plugin.harness.entry.attach import is_attached
from gilot_plugin.harness.entry.engines import telling_engines
from gilot_plugin.harness.entry.process import attach_process, environment_settings
from gilot_plugin.settings.merging import Source, settle
from gilot_plugin.settings.sources import parse_args, read_yaml, split_arguments

#: The model argument that names a settings file, and what precedes the name of a setting in others.
_FILE, _PREFIX = "gilot", "gilot."


class GilotLM(LM):  # type: ignore[misc] # lm-eval has no types
    """Makes the model that the argument ``base`` names (``hf`` unless given), and attaches to the process.

    What lm-eval gets is that very model, so its scores cannot be others. ``gilot=FILE.yaml`` and
    ``gilot.SETTING=VALUE`` among the arguments are settings; they win over those of the environment.

    Raises:
        ConfigError: The settings are wrong; said before the model loads.
    """

    def __new__(cls, base: str = "hf", **arguments: Any) -> Any:
        """Make the model that ``base`` names."""
        return cls.create_from_arg_obj({"base": base, **arguments})

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> Any:
        """Make the model from ``base=...,key=value,...``, as lm-eval does it."""
        own: dict[str, Any] = {}
        others = []
        for part in split_arguments(arg_string):
            key, _, value = part.partition("=")
            if _is_own(key.strip()):
                own[key.strip()] = value
            else:
                others.append(part)
        with telling_engines(own.get("base"), {}):
            return _base(own).create_from_arg_string(",".join(others), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> Any:
        """Make the model from ``{"base": ..., ...}``, as lm-eval does it."""
        own = {key: value for key, value in arg_dict.items() if _is_own(key)}
        others = {key: value for key, value in arg_dict.items() if key not in own}
        with telling_engines(own.get("base"), {}):
            return _base(own).create_from_arg_obj(others, additional_config)

    def loglikelihood(self, requests: Any) -> NoReturn:
        """Never called: no object of this class exists."""
        raise NotImplementedError

    def loglikelihood_rolling(self, requests: Any) -> NoReturn:
        """Never called: no object of this class exists."""
        raise NotImplementedError

    def generate_until(self, requests: Any) -> NoReturn:
        """Never called: no object of this class exists."""
        raise NotImplementedError


def _is_own(key: str) -> bool:
    return key in ("base", _FILE) or key.startswith(_PREFIX)


def _base(own: Mapping[str, Any]) -> Any:
    """Attach, and find the class of the model."""
    name = str(own.get("base", "hf"))
    if name == "gilot":
        raise ConfigError("base=gilot: name the model class that is to be explained, e.g. base=hf")
    try:
        found = get_model(name)
    except (ValueError, KeyError) as error:
        raise ConfigError(f"base={name}: {error}") from None
    given = {key.removeprefix(_PREFIX): value for key, value in own.items() if key.startswith(_PREFIX)}
    sources = [
        Source("environment", environment_settings()),
        Source(_FILE, read_yaml(Path(str(own[_FILE]))) if _FILE in own else {}),
        Source("--model_args", parse_args(f"{key}={value}" for key, value in given.items())),
    ]
    settings = settle(sources).values
    if not is_attached():
        attach_process(settings)
    elif given or _FILE in own:
        raise ConfigError(
            "gilot is attached to this process already, so that settings in --model_args would have no "
            "effect: give them where it was attached"
        )
    return found
