"""Settings with their sources, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gilot_plugin.reports.visible import visible
from gilot_plugin.settings.config import GilotConfig
from gilot_plugin.settings.sources import TaskSettings

#: Tasks of a table whose names are told; of more, their number.
_NAMED = 4

DEFAULT = "default"


def print_settings(tasks: Mapping[str, TaskSettings], console: Console, *, with_defaults: bool) -> None:
    """Print a table for all tasks that have the same settings from the same sources.

    Args:
        tasks: Settings by task; an empty name stands for any task.
        console: Where to print.
        with_defaults: Whether settings that are as by default have a table of their own.
    """
    told: list[tuple[TaskSettings, list[str]]] = []
    for task, settings in tasks.items():
        alike = next((names for other, names in told if other == settings), None)
        if alike is None:
            told.append((settings, [task]))
        else:
            alike.append(task)
    for settings, names in told:
        changed, unchanged = _rows(settings)
        console.print(Text(_title(names), "bold"))
        _print_table(changed, "other than by default", console)
        if with_defaults:
            _print_table(unchanged, "as by default", console)
        for one in settings.gave_way:
            console.print(
                Text(
                    f"gives way: {one.setting}={visible(_spelled(one.value))} ({one.origin}): "
                    f"{visible(one.reason)}",
                    "yellow",
                )
            )


def _title(names: list[str]) -> str:
    if names == [""]:
        return "any task that has no settings of its own"
    first = ", ".join(map(visible, names[:_NAMED]))
    return f"{first} and {len(names) - _NAMED} more tasks" if len(names) > _NAMED else first


def _rows(settings: TaskSettings) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Name, value, default and source of the settings that are not as by default, and of the others."""
    defaults = GilotConfig().model_dump(mode="json")
    changed: list[tuple[str, ...]] = []
    unchanged: list[tuple[str, ...]] = []
    for name, value in settings.config.model_dump(mode="json").items():
        origin = settings.origins.get(name, DEFAULT)
        row = (name, _spelled(value), _spelled(defaults[name]), origin)
        (unchanged if value == defaults[name] else changed).append(row)
    return changed, unchanged


def _print_table(rows: list[tuple[str, ...]], title: str, console: Console) -> None:
    if not rows:
        console.print(Text(f"no setting is {title}", "dim"))
        return
    table = Table(title=title, title_justify="left", title_style="dim")
    for column in ("setting", "value", "default", "source"):
        table.add_column(column, overflow="fold", no_wrap=False)
    for row in rows:
        table.add_row(*(Text(visible(cell, console.encoding)) for cell in row))
    console.print(table)


def _spelled(value: Any) -> str:
    """As in YAML on one line; nothing is nothing."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_spelled(part)}' for key, part in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_spelled, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
