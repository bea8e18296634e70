"""The reference of settings, from the model that checks them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from cells import cell, code, table

from gilot_plugin.plugins.offers import absence_operators, attribution_methods, schemes, selection_strategies
from gilot_plugin.settings.config import GilotConfig
from gilot_plugin.settings.presets import PRESETS
from gilot_plugin.settings.schema import settings_schema

_LIMITS = {
    "minimum": "from {}",
    "exclusiveMinimum": "above {}",
    "maximum": "to {}",
    "exclusiveMaximum": "below {}",
}


def settings_fields(notes: Mapping[str, str]) -> str:
    """Every setting with its default, what is allowed, what it means, and the page's note.

    Raises:
        KeyError: The page has a note on what is no setting.
    """
    if unknown := set(notes) - set(GilotConfig.model_fields):
        raise KeyError(f"notes on what is no setting: {sorted(unknown)}")
    return "\n".join(_settings(notes))


def _settings(notes: Mapping[str, str]) -> Iterator[str]:
    schema = settings_schema()
    for name, field in GilotConfig.model_fields.items():
        rules = schema["properties"][name]
        description = str(field.description)
        yield f"### {name}"
        yield ""
        yield f"{description[0].upper()}{cell(description[1:])}."
        yield ""
        yield f"- default: {code(_spelled(rules.get('default'))) or 'none'}"
        yield f"- allowed: {_allowed(rules)}"
        for preset, settings in PRESETS.items():
            if name in settings:
                yield f"- preset `{preset}`: {code(_spelled(settings[name]))}"
        yield ""
        if name in notes:
            yield notes[name].strip()
            yield ""


def _spelled(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value if not isinstance(value, tuple) else list(value)).replace('"', "")


def _allowed(rules: Mapping[str, Any]) -> str:
    names = [*rules.get("enum", ()), *([rules["const"]] if "const" in rules else ())]
    if names:
        return ", ".join(code(_spelled(name)) for name in names)
    if "examples" in rules:
        listed = ", ".join(
            code(_spelled(name[0] if isinstance(name, list) else name)) for name in rules["examples"]
        )
        return f"{listed}, or what its description says"
    if "anyOf" in rules:
        return " or ".join(dict.fromkeys(_allowed(option) for option in rules["anyOf"]))
    limits = " ".join(words.format(rules[limit]) for limit, words in _LIMITS.items() if limit in rules)
    kind = _KINDS.get(str(rules.get("type")), "see its description")
    return f"{kind} {limits}".strip()


_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "boolean": "`true` or `false`",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}


def offered_names(notes: Mapping[str, str]) -> str:
    """What is installed for the settings that plugins can add names to."""
    del notes
    offers: Mapping[str, Mapping[str, Any]] = {
        "methods": attribution_methods(),
        "scheme": schemes(),
        "absence": absence_operators(),
        "select.strategy": selection_strategies(),
    }
    lines: list[str] = []
    for setting, found in offers.items():
        lines += [f"### Values of {setting}", ""]
        lines += table(
            ("name", "what it is"),
            ((code(name), cell(offer.summary)) for name, offer in found.items()),
        )
    return "\n".join(lines)
