"""The JSON Schema of settings files, which editors complete and check by."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from gilot_plugin.attribution.names import SOLVER_NAMES
from gilot_plugin.attribution.prompt.units import SCOPES, UNIT_KINDS
from gilot_plugin.plugins.offers import absence_operators, attribution_methods, schemes, selection_strategies
from gilot_plugin.settings.config import GilotConfig
from gilot_plugin.settings.fields import AUTO_UNITS
from gilot_plugin.settings.presets import PRESETS

#: Where the committed copy lies in the package.
SCHEMA_FILE = "artifacts/schema/settings-1.0.json"

_LIMITS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}


def settings_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of a mapping of settings, made from :class:`GilotConfig`.

    It says of each setting what the setting alone may be; which ones cannot stand together is no part of it.
    Where plugins can offer more names, those of the package are examples.
    """
    schema = _with_limits(GilotConfig.model_json_schema())
    properties = schema["properties"]
    closed: dict[str, Iterable[str]] = {"preset": PRESETS, "solver": SOLVER_NAMES}
    for name, names in closed.items():
        properties[name]["enum"] = list(names)
    open_to_plugins: dict[str, Iterable[str]] = {
        "absence": absence_operators(),
        "scheme": schemes(),
        "scope": SCOPES,
        "units": (*UNIT_KINDS, AUTO_UNITS),
    }
    for name, names in open_to_plugins.items():
        properties[name]["examples"] = list(names)
    properties["methods"]["examples"] = [[name] for name in attribution_methods()]
    properties["select"]["examples"] = list(selection_strategies())
    properties["select"]["default"] = {"strategy": "first"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Settings of gilot-plugin",
        "description": "A file for `gilot run --gilot FILE`, or the value of `gilot` in a task's metadata.",
    }


def _with_limits(part: Any) -> Any:
    """Limits of optional numbers by the names that JSON Schema has for them; pydantic leaves its own."""
    if isinstance(part, dict):
        return {_LIMITS.get(key, key): _with_limits(value) for key, value in part.items()}
    return list(map(_with_limits, part)) if isinstance(part, list) else part


def schema_text() -> str:
    """The schema as it is committed and printed."""
    return json.dumps(settings_schema(), indent=2, sort_keys=True) + "\n"
