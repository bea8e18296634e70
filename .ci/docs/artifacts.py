"""The reference of files, from their JSON Schemas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cells import cell, code, table

from gilot_plugin.artifacts.schema_files import SCHEMA_FILES, schema_text


def artifact_fields(notes: Mapping[str, str]) -> str:
    """Every field of every file, with the page's note on each file.

    Raises:
        KeyError: A file has no note that says what it is, or a note has no file.
    """
    files = {name.rpartition("-")[0]: (name, model) for name, model in SCHEMA_FILES.items()}
    if files.keys() != notes.keys():
        raise KeyError(f"files {sorted(files)}, noted {sorted(notes)}")
    lines: list[str] = []
    for kind, (name, model) in files.items():
        schema = _loaded(schema_text(model))
        lines += [f"## {kind.capitalize()}", "", notes[kind].strip(), ""]
        lines += [f"Schema: `gilot_plugin/artifacts/schema/{name}`", ""]
        lines += _fields(schema)
        for definition, rules in schema.get("$defs", {}).items():
            if "properties" in rules:
                lines += [f"### {kind}: {definition}", ""]
                if rules.get("description"):
                    lines += [cell(rules["description"]), ""]
                lines += _fields(rules)
    return "\n".join(lines)


def _loaded(text: str) -> dict[str, Any]:
    import json

    schema: dict[str, Any] = json.loads(text)
    return schema


def _fields(rules: Mapping[str, Any]) -> Iterator[str]:
    required = set(rules.get("required", ()))
    rows = (
        (
            code(name) + ("" if name in required else " (may be absent)"),
            _kind(field),
            cell(field.get("description", "")),
        )
        for name, field in rules.get("properties", {}).items()
    )
    if rules.get("properties"):
        yield from table(("field", "is", "means"), rows)


def _kind(rules: Mapping[str, Any]) -> str:
    if "$ref" in rules:
        return rules["$ref"].rpartition("/")[2].replace("_", " ")
    if "const" in rules:
        return code(rules["const"])
    if "enum" in rules:
        return ", ".join(code(name) for name in rules["enum"])
    for key in ("anyOf", "oneOf"):
        if key in rules:
            return " or ".join(dict.fromkeys(map(_kind, rules[key])))
    kinds = rules.get("type", "anything")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "array" in kinds and isinstance(rules.get("items"), dict):
        return f"list of {_kind(rules['items'])}" + (" or null" if "null" in kinds else "")
    if "object" in kinds and isinstance(rules.get("additionalProperties"), dict):
        return f"mapping to {_kind(rules['additionalProperties'])}"
    return " or ".join(kinds)
