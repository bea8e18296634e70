"""Attribution settings in task files, read before tasks are built.

Building a task loads its dataset, and lm-eval does so after the model; the YAML file alone tells the settings earlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml


def own_settings(manager: Any, names: Iterable[str | Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Settings under ``metadata: {gilot: ...}`` of the named tasks, groups and tags.

    Args:
        manager: lm-eval's ``TaskManager``.
        names: Names as resolved by lm-eval; inline configurations, too.

    Yields:
        Task name and settings, for tasks that have some.
    """
    seen: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        config = name if isinstance(name, Mapping) else _registered(manager, name)
        label = str(config.get("task", config.get("group", name)))
        if label in seen:
            continue
        seen.add(label)
        metadata = config.get("metadata")
        if isinstance(metadata, Mapping) and metadata.get("gilot") is not None:
            yield label, metadata["gilot"]
        members = config.get("members", config.get("task"))
        if isinstance(members, list):
            pending.extend(member for member in members if isinstance(member, (str, Mapping)))


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
