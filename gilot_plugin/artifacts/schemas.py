"""The JSON Schemas that ship with the package, and their verdicts in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal, cast

from jsonschema import Draft202012Validator, ValidationError, validators
from jsonschema.protocols import Validator

from gilot_plugin.artifacts.jsontext import field_path
from gilot_plugin.artifacts.quick_checks import quick_check
from gilot_plugin.errors import one_of

SchemaName = Literal["record", "manifest", "faithfulness"]

_FILES: Mapping[SchemaName, str] = {
    "record": "record-1.1.json",
    "manifest": "manifest-1.1.json",
    "faithfulness": "faithfulness-1.0.json",
}

_KINDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a text",
}

_MAX_SHOWN = 60


def load_schema(name: SchemaName) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a record, of a manifest, or of faithfulness figures."""
    file = files("gilot_plugin.artifacts") / "schema" / _FILES[name]
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return schema


def schema_problems(value: Any, name: SchemaName) -> Iterator[str]:
    """Say where a value breaks its schema.

    Args:
        value: As read from JSON.
        name: Which schema.

    Yields:
        One sentence a broken rule, which names the field and shows at most the beginning of what it holds.
        Anything from the value is escaped, so the sentences are safe to print.
    """
    version = value.get("schema_version") if isinstance(value, Mapping) else None
    known = _versions(name)
    if isinstance(version, str) and version not in known:
        yield f"schema_version: {shown(version)} is not known; this release reads {one_of(known)}"
        return
    said: set[str] = set()
    for error in _validator(name).iter_errors(value):
        reason = _reason(error)
        # Each missing field is an error of its own that lists all of them.
        if reason not in said:
            said.add(reason)
            yield reason


@cache
def _versions(name: SchemaName) -> tuple[str, ...]:
    rule = load_schema(name)["properties"]["schema_version"]
    return tuple(rule["enum"]) if "enum" in rule else (rule["const"],)


def shown(value: Any) -> str:
    """A value from a file, short and safe to print."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = repr(value[:_MAX_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


@cache
def _validator(name: SchemaName) -> Validator:
    schema = load_schema(name)
    check_items = Draft202012Validator.VALIDATORS["items"]

    def items(validator: Validator, rules: Any, value: Any, parent: Any) -> Iterator[ValidationError]:
        quick = quick_check(rules, schema["$defs"])
        if quick is None or not isinstance(value, list) or not all(map(quick, value)):
            yield from check_items(validator, rules, value, parent)

    # The specification counts 1.0 as an integer; Python does not index by it.
    types = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    strict: type[Validator] = validators.extend(  # type: ignore[no-untyped-call]  # in jsonschema's stubs
        Draft202012Validator, {"items": items}, type_checker=types
    )
    return strict(schema)


def _reason(error: ValidationError) -> str:
    path = field_path(error.absolute_path)
    # Their types have a value for "not set yet", which errors of a validator never hold.
    rule, value, allowed = (
        str(error.validator),
        cast("Any", error.instance),
        cast("Any", error.validator_value),
    )
    schema = cast("Mapping[str, Any]", error.schema)
    match rule:
        case "type":
            kinds = [allowed] if isinstance(allowed, str) else list(allowed)
            text = f"must be {' or '.join(_KINDS[kind] for kind in kinds)}, not {shown(value)}"
        case "required":
            text = f"{', '.join(name for name in allowed if name not in value)} missing"
        case "additionalProperties":
            unknown = [shown(name) for name in value if name not in schema["properties"]]
            text = f"unknown field {', '.join(unknown)}"
        case "enum" | "const":
            options = allowed if rule == "enum" else [allowed]
            text = f"{shown(value)} is not {' or '.join(map(shown, options))}"
        case "minimum":
            text = f"{shown(value)} is less than {allowed}"
        case "minItems" | "minLength" | "minProperties":
            text = "is empty"
        case "pattern":
            text = f"{shown(value)} is not {schema.get('title') or f'of the form {allowed}'}"
        case _:
            text = f"{shown(value)} breaks the schema's rule {rule!r}"
    return f"{path}: {text}" if path else text
