"""Where settings come from, and which source wins.

From weakest to strongest: the fields' defaults, the settings that ship for well-known tasks
(``task_configs/``), a task's own ``metadata: {gilot: ...}``, a section of lm-eval's
``--config`` file, the YAML file (``--gilot``), ``--gilot_args``.
Settings of a stronger source replace those of a weaker one key by key; ``select`` as a whole if it names a
strategy, option by option if not. A preset counts with the strength of the source that names it, and decides
every setting of the method. A setting that has no effect because of what a stronger source says gives way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from gilot_plugin.errors import ConfigError
from gilot_plugin.settings.ablation import ablation_functions
from gilot_plugin.settings.config import GilotConfig, uncombined
from gilot_plugin.settings.merging import GaveWay, Merged, Settings, Source, merge_sources, settle
from gilot_plugin.settings.selection import functions_in

#: Settings that hold for a run, and for no task alone.
_OF_RUNS = ("budget", "resume", "output_path")

#: Name of the section with settings in lm-eval's own configuration file.
SECTION = "gilot"

_QUOTES = "'\""
_CLOSERS = {"(": ")", "[": "]", "{": "}", "'": "'", '"': '"'}


class _Loader(yaml.SafeLoader):
    """Reads ``yes``, ``no``, ``on`` and ``off`` as the words that they are, as YAML 1.2 does."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def _load_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)


def parse_args(arguments: Iterable[str]) -> dict[str, Any]:
    """Read ``--gilot_args``: ``key=value`` separated by commas or blanks, values in YAML, dots for nesting.

    Commas inside brackets, braces and quotes belong to the value: ``methods=[ot,kl],select.n=5``. Of a
    setting that is given twice, the last value counts.

    Raises:
        ConfigError: A part is not ``key=value``, a value is not YAML, or a setting has both a value and
            nested ones.
    """
    settings: dict[str, Any] = {}
    for part in (part for argument in arguments for part in split_arguments(argument)):
        key, equals, text = part.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--gilot_args {part!r}: write key=value, e.g. num_beams=4")
        try:
            value = _load_yaml(text)
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


def split_arguments(argument: str) -> list[str]:
    """Split at commas that are not inside brackets, braces or quotes.

    Raises:
        ConfigError: A bracket, brace or quote is not closed.
    """
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


def read_yaml(path: Path, option: str = "--gilot") -> dict[str, Any]:
    """Read a settings file.

    Args:
        path: The file.
        option: How it was named, for messages.

    Raises:
        ConfigError: It cannot be read, is not YAML, or is not a mapping.
    """
    try:
        content = _load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{option} {path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{option} {path}: not valid YAML ({error})") from None
    return as_mapping(content, f"{option} {path}")


def as_mapping(content: Any, where: str) -> dict[str, Any]:
    """Settings as they were read from a file.

    Raises:
        ConfigError: They are no mapping from names; the message begins with ``where``.
    """
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: must be a mapping of settings, not {type(content).__name__}")
    for key in content:
        if not isinstance(key, str):
            raise ConfigError(f"{where}: {key!r} is not the name of a setting")
    return content


@cache
def _shipped() -> tuple[tuple[tuple[str, ...], Source], ...]:
    """Name patterns and settings of ``task_configs/``."""
    packaged = resources.files("gilot_plugin") / "task_configs"
    # An editable install has the folder beside the package instead of in it.
    folder = Path(str(packaged)) if packaged.is_dir() else Path(__file__).parents[2] / "task_configs"
    loaded = []
    for path in sorted(folder.glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        source = Source(f"task_configs/{path.name}", content["settings"])
        loaded.append((tuple(content["tasks"]), source))
    return tuple(loaded)


def shipped_source(task: str) -> Source:
    """Settings that ship for a task's name; of several patterns that match it, the longest counts."""
    matching = [
        (len(pattern), source)
        for patterns, source in _shipped()
        for pattern in patterns
        if fnmatchcase(task, pattern)
    ]
    return max(matching, key=lambda match: match[0])[1] if matching else Source("task_configs", {})


def _of_given_tokens(count: int) -> dict[str, Any]:
    return {"hypotheses": "response", "max_new_tokens": count, "steps": "mean"}


def given_settings(settings: GilotConfig | Settings | None) -> dict[str, Any]:
    """What is given for a run, before the tasks' own settings are known.

    Args:
        settings: In any form that the Python interface takes.

    Returns:
        The settings that were given, each valid by itself.

    Raises:
        ConfigError: A setting is unknown or not allowed, or some that were given cannot stand together.
    """
    if settings is not None and not isinstance(settings, (GilotConfig, Mapping)):
        raise ConfigError(f"settings must be a GilotConfig or a mapping, not {type(settings).__name__}")
    config = settings if isinstance(settings, GilotConfig) else uncombined(settings or {})
    given = {name: getattr(config, name) for name in config.model_fields_set}
    found = [one for one in config.contradictions() if one.setting in given and one.because in given]
    if found:
        raise ConfigError("; ".join(one.message for one in found))
    selection = settings.get("select") if isinstance(settings, Mapping) else None
    if isinstance(selection, Mapping) and "strategy" not in selection:
        # Of a strategy that a task may name.
        given["select"] = dict(selection)
    return given


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """Settings as they hold for a task.

    Attributes:
        config: The settings.
        origins: The source of each one that is given anywhere; the others are defaults.
        gave_way: Settings that have no effect because of what a stronger source says.
    """

    config: GilotConfig
    origins: Mapping[str, str]
    gave_way: tuple[GaveWay, ...]


def read_section(file: str) -> Source:
    """The attribution settings in lm-eval's configuration file; none where it has no such section.

    Raises:
        ConfigError: The file cannot be read, or the section is not a mapping.
    """
    name = f"--config {file}: {SECTION}"
    return Source(name, as_mapping(read_yaml(Path(file), "--config").get(SECTION), name))


def command_sources(file: Path | None, arguments: Iterable[str], section: Source | None = None) -> Merged:
    """What a command line gives: the section of lm-eval's configuration, the YAML file, the arguments.

    Raises:
        ConfigError: One of them cannot be read, or a setting is unknown or not allowed.
    """
    sources = [section] if section is not None else []
    if file is not None:
        sources.append(Source(f"--gilot {file}", read_yaml(file)))
    return settle([*sources, Source("--gilot_args", parse_args(arguments))])


def task_config(
    task: str, metadata: Settings | None, given: Settings, output_type: str | None = None
) -> GilotConfig:
    """Settings of one task, see :func:`task_settings`.

    Raises:
        ConfigError: They are wrong; the message names the task.
    """
    return task_settings(task, metadata, Source("given", given), output_type).config


def task_settings(
    task: str, metadata: Settings | None, given: Source, output_type: str | None = None
) -> TaskSettings:
    """Settings of one task, with the sources they came from.

    With ``rolling_target=N``, a task whose texts are scored as a whole is explained by what its last N tokens
    are, one after the other, unless something else is given.

    Args:
        task: Its name; empty for any that has no settings of its own.
        metadata: What its YAML has under ``metadata: {gilot: ...}``.
        given: What the user gave for the run (YAML file and arguments merged, or the fields set in Python).
        output_type: lm-eval's ``output_type`` of the task, where it is known already.

    Raises:
        ConfigError: They are wrong; the message names the task.
    """
    own = as_mapping(metadata, f"task {task}: metadata.gilot")
    for place in functions_in(own.get("select")):
        raise ConfigError(
            f"task {task}: metadata.gilot: select.function={place!r} is code to be run, which is taken from "
            "your own command line, settings file or Python call only: give it there if you trust it"
        )
    for place in ablation_functions(own.get("ablate")):
        raise ConfigError(
            f"task {task}: metadata.gilot: ablate.function={place!r} is code to be run, which is taken from "
            "your own command line, settings file or Python call only: give it there if you trust it"
        )
    if of_runs := [name for name in _OF_RUNS if name in own]:
        raise ConfigError(
            f"task {task}: metadata.gilot: {of_runs[0]} holds for a whole run: give it with --gilot or "
            "--gilot_args"
        )
    sources = [shipped_source(task), Source("the task's own metadata", own), given]
    rolling = merge_sources(sources).values.get("rolling_target")
    if output_type == "loglikelihood_rolling" and isinstance(rolling, int):
        sources.insert(0, Source(f"rolling_target={rolling}", _of_given_tokens(rolling)))
    try:
        merged = settle(sources)
        config = GilotConfig(**merged.values)
    except ConfigError as error:
        raise ConfigError(f"task {task}: {error}" if task else str(error)) from None
    return TaskSettings(config, merged.origins, merged.gave_way)
