"""The reference of the Python interface and of the hooks: directives that mkdocstrings fills in."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import gilot_plugin
from gilot_plugin import extension, hookspecs


def python_interface(notes: Mapping[str, str]) -> str:
    """Every public name of the package."""
    del notes
    lines = ["## Functions and classes", ""]
    for name, home in sorted(gilot_plugin._HOMES.items(), key=lambda item: (item[0][0].isupper(), item[0])):
        if name != "hookimpl":
            lines += [f"::: gilot_plugin.{home}.{name}", ""]
    return "\n".join(lines)


def hooks(notes: Mapping[str, str]) -> str:
    """Every hook, and every name that plugins may import."""
    del notes
    lines = ["## Hooks", ""]
    for name, found in inspect.getmembers(hookspecs, inspect.isfunction):
        if name.startswith("gilot_"):
            lines += [f"::: {found.__module__}.{name}", ""]
    lines += ["## What plugins may import", ""]
    for name in sorted(extension.__all__):
        value = getattr(extension, name)
        if name in gilot_plugin._HOMES:
            lines += [f"[`{name}`][{value.__module__}.{name}] is told with the Python interface.", ""]
        elif inspect.isclass(value) or inspect.isfunction(value):
            lines += [f"::: {value.__module__}.{value.__qualname__}", ""]
    return "\n".join(lines)
