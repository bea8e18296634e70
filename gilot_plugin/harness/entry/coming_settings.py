"""The settings that a run will have, told before it starts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gilot_plugin.settings.merging import Source
from gilot_plugin.settings.sources import (
    TaskSettings,
    command_sources,
    given_settings,
    read_section,
    read_yaml,
    task_settings,
)


def coming_settings(
    file: Path | None,
    arguments: Sequence[str],
    tasks: Sequence[str] | None,
    include_path: str | None,
    config: str | None,
) -> dict[str, TaskSettings]:
    """Settings by task.

    Args:
        file: Of settings.
        arguments: Settings as ``key=value``.
        tasks: Names as lm-eval takes them; None for those that ``config`` names.
        include_path: Folder of other tasks than lm-eval's.
        config: lm-eval's configuration file.

    Returns:
        By name of the task, in alphabetical order; where no task is named, one entry with an empty name.

    Raises:
        ConfigError: A setting, a file or a task's name is wrong.
    """
    section = read_section(config) if config else None
    merged = command_sources(file, arguments, section)
    given = Source("given", given_settings(merged.values), merged.origins)

    def held(task: str, own: Any, output_type: str | None) -> TaskSettings:
        found = task_settings(task, own, given, output_type)
        return replace(found, gave_way=(*merged.gave_way, *found.gave_way))

    if not tasks and not (config and read_yaml(Path(config), "--config").get("tasks")):
        return {"": held("", None, None)}
    # lm-eval takes seconds to import, and is needed for its tasks only.
    from gilot_plugin.harness.entry.command import named_tasks
    from gilot_plugin.harness.entry.harness_config import without_section

    options = argparse.Namespace(
        tasks=[name for names in tasks or () for name in names.split(",")] or None,
        include_path=include_path,
        config=config,
    )
    with without_section():
        _, found = named_tasks(options)
    return {task.name: held(*task) for task in sorted(found, key=lambda task: task.name)}
