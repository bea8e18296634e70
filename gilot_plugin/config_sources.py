"""Where settings come from, and which source wins.

From weakest to strongest: the fields' defaults, the settings that ship for well-known tasks
(``task_configs/``), a task's own ``metadata: {gilot: ...}``, the YAML file (``--gilot``), ``--gilot_args``.
Settings of a stronger source replace those of a weaker one key by key; ``select`` is replaced as a whole. A
preset counts with the strength of the source that names it, and decides every setting of the method.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from gilot_plugin.config import PRESETS, GilotConfig, preset_settings
from gilot_plugin.errors import ConfigError
from gilot_plugin.selections import functions_in

Settings = Mapping[str, Any]

_QUOTES = "'\""
_CLOSERS = {"(": ")", "[": "]", "{": "}", "'": "'", '"': '"'}


def parse_args(arguments: Iterable[str]) -> dict[str, Any]:
    """Read ``--gilot_args``: ``key=value`` separated by commas or blanks, values in YAML, dots for nesting.

    Commas inside brackets, braces and quotes belong to the value: ``methods=[ot,kl],select.n=5``. Of a
    setting that is given twice, the last value counts.

    Raises:
        ConfigError: A part is not ``key=value``, a value is not YAML, or a setting has both a value and
            nested ones.
    """
    settings: dict[str, Any] = {}
    for part in (part for argument in arguments for part in _split(argument)):
        key, equals, text = part.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--gilot_args {part!r}: write key=value, e.g. num_beams=4")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--gilot_args {key}={text!r}: not a YAML value ({error})") from None
        *parents, leaf = key.strip().split(".")
        nested = settings
        for parent in parents:
            nested = nested.setdefault(parent, {})
            if not isinstance(nested, dict):
                raise ConfigError(f"--gilot_args {key}={text!r}: {parent!r} has a value already")
        if isinstance(nested.get(leaf), dict) and not isinstance(value, dict):
            raise ConfigError(f"--gilot_args {key}={text!r}: {leaf!r} has nested values already")
        nested[leaf] = value
    return settings


def _split(argument: str) -> list[str]:
    """Split at commas that are not inside brackets, braces or quotes."""
    parts: list[str] = []
    open_until: list[str] = []
    current = ""
    for character in argument:
        quoted = bool(open_until) and open_until[-1] in _QUOTES
        # As in YAML, a quote within a word is an apostrophe.
        starts_value = not current.strip() or current.rstrip()[-1] in "=:,[{("
        if open_until and character == open_until[-1]:
            open_until.pop()
        elif character in _CLOSERS and not quoted and (character not in _QUOTES or starts_value):
            open_until.append(_CLOSERS[character])
        if character == "," and not open_until:
            parts.append(current)
            current = ""
        else:
            current += character
    if open_until and "," in current:
        raise ConfigError(
            f"--gilot_args {current!r}: {open_until[-1]!r} is missing; put quotes around such values"
        )
    return [part for part in (*parts, current) if part.strip()]


def merge(*sources: Settings) -> dict[str, Any]:
    """Merge sources of settings, weakest first."""
    merged: dict[str, Any] = {}
    for source in sources:
        preset = source.get("preset")
        if isinstance(preset, str) and preset in PRESETS:
            merged.update(preset_settings(preset))
        merged.update(source)
    return merged


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a settings file.

    Raises:
        ConfigError: It cannot be read, is not YAML, or is not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--gilot {path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"--gilot {path}: not valid YAML ({error})") from None
    return _mapping(content, f"--gilot {path}")


def _mapping(content: Any, where: str) -> dict[str, Any]:
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: must be a mapping of settings, not {type(content).__name__}")
    for key in content:
        if not isinstance(key, str):
            raise ConfigError(f"{where}: {key!r} is not the name of a setting")
    return content


@cache
def _shipped() -> tuple[tuple[tuple[str, ...], Settings], ...]:
    """Name patterns and settings of ``task_configs/``."""
    packaged = resources.files("gilot_plugin") / "task_configs"
    # An editable install has the folder beside the package instead of in it.
    folder = Path(str(packaged)) if packaged.is_dir() else Path(__file__).parent.parent / "task_configs"
    loaded = []
    for path in sorted(folder.glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        loaded.append((tuple(content["tasks"]), content["settings"]))
    return tuple(loaded)


def shipped_settings(task: str) -> Settings:
    """Settings that ship for a task's name; of several patterns that match it, the longest counts."""
    matching = [
        (len(pattern), settings)
        for patterns, settings in _shipped()
        for pattern in patterns
        if fnmatchcase(task, pattern)
    ]
    return max(matching, key=lambda match: match[0])[1] if matching else {}


def _of_given_tokens(count: int) -> dict[str, Any]:
    return {"hypotheses": "response", "max_new_tokens": count, "steps": "mean"}


def task_config(
    task: str, metadata: Settings | None, given: Settings, output_type: str | None = None
) -> GilotConfig:
    """Settings of one task.

    With ``rolling_target=N``, a task whose texts are scored as a whole is explained by what its last N tokens
    are, one after the other, unless something else is given.

    Args:
        task: Its name.
        metadata: What its YAML has under ``metadata: {gilot: ...}``.
        given: What the user gave for the run (YAML file and arguments merged, or the fields set in Python).
        output_type: lm-eval's ``output_type`` of the task, where it is known already.

    Returns:
        The merged settings.

    Raises:
        ConfigError: They are wrong; the message names the task.
    """
    own = _mapping(metadata, f"task {task}: metadata.gilot")
    for place in functions_in(own.get("select")):
        raise ConfigError(
            f"task {task}: metadata.gilot: select.function={place!r} is code to be run, which is taken from "
            "your own command line, settings file or Python call only: give it there if you trust it"
        )
    merged = merge(shipped_settings(task), own, given)
    if output_type == "loglikelihood_rolling" and isinstance(merged.get("rolling_target"), int):
        merged = {**_of_given_tokens(merged["rolling_target"]), **merged}
    try:
        return GilotConfig(**merged)
    except ConfigError as error:
        raise ConfigError(f"task {task}: {error}") from None
