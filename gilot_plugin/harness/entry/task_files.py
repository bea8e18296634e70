"""Attribution settings in task files, read before tasks are built.

Building a task loads its dataset, and lm-eval does so after the model; the YAML file alone tells the settings
earlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gilot_plugin.errors import ConfigError, one_of


class TaskFile(NamedTuple):
    """What a task's configuration says before the task is built.

    Attributes:
        name: Of the task.
        settings: Its ``metadata: {gilot: ...}``; None where it has none.
        output_type: lm-eval's kind of requests; None where the configuration cannot be read without running
            code.
    """

    name: str
    settings: Any
    output_type: str | None


def task_files(manager: Any, names: Iterable[str | Mapping[str, Any]]) -> Iterator[TaskFile]:
    """Tasks that are named, and members of groups and tags.

    Args:
        manager: lm-eval's ``TaskManager``.
        names: Names as resolved by lm-eval; inline configurations, too.

    Raises:
        ConfigError: A configuration names neither a task nor a group, or a group has settings, which lm-eval
            does not hand on to its tasks.
    """
    seen: set[str] = set()
    pending = [config if isinstance(config, Mapping) else _registered(manager, config) for config in names]
    while pending:
        config = pending.pop()
        metadata = config.get("metadata")
        settings = metadata.get("gilot") if isinstance(metadata, Mapping) else None
        members = config.get("members", config.get("task"))
        if isinstance(members, str):
            yield TaskFile(members, settings, config.get("output_type"))
            continue
        if "group" not in config:
            raise ConfigError(f"a task file names neither a task nor a group; it has {one_of(tuple(config))}")
        group = str(config["group"])
        if settings is not None:
            raise ConfigError(
                f"group {group}: metadata.gilot has no effect, because lm-eval does not hand the metadata of "
                "groups on to tasks; give it to the tasks"
            )
        if group not in seen and isinstance(members, list):
            pending.extend(
                _member(manager, member) for member in members if isinstance(member, (str, Mapping))
            )
        seen.add(group)


def _member(manager: Any, member: str | Mapping[str, Any]) -> Mapping[str, Any]:
    """Configuration of an entry in a group's list, with what the entry overrides."""
    if isinstance(member, str):
        return _registered(manager, member)
    name = member.get("group", member.get("task"))
    if isinstance(name, str) and name in manager.task_index:
        return {**_registered(manager, name), **member}
    return member


def _registered(manager: Any, name: str) -> Mapping[str, Any]:
    """What the index knows of a name: its file's content, or the members of a group or tag."""
    entry = manager.task_index.get(name)
    if entry is None:
        return {"task": name}
    if _attribute(entry, "cfg"):
        return dict(entry.cfg)
    path = _attribute(entry, "yaml_path")
    if path is None or path == -1:
        tagged = _attribute(entry, "tags") or _attribute(entry, "task")
        return {"group": name, "members": sorted(tagged) if isinstance(tagged, (list, set, tuple)) else []}
    return _with_includes(Path(path))


def _attribute(entry: Any, name: str) -> Any:
    """Entries are objects since lm-eval 0.4.12, mappings before."""
    return entry.get(name) if isinstance(entry, Mapping) else getattr(entry, name, None)


def _with_includes(path: Path) -> dict[str, Any]:
    """A task file merged over the files that it includes."""
    content: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=_Lenient) or {}
    included = content.pop("include", [])
    merged: dict[str, Any] = {}
    for other in [included] if isinstance(included, str) else included:
        merged.update(_with_includes(path.parent / other))
    return {**merged, **content}


class _Lenient(yaml.SafeLoader):
    """Reads task files without running the functions that they name."""


_Lenient.add_multi_constructor("", lambda loader, suffix, node: None)
