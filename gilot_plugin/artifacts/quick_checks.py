"""Checks that are compiled from simple schemas, because most of a record is thousands of them fulfilled.

jsonschema takes about 0.1 ms a token, most of it to prepare messages that nobody needs. What passes a quick
check is valid; what does not may be, and jsonschema decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

#: Says of a value that it certainly follows its schema.
QuickCheck = Callable[[Any], bool]

_CLASSES: Mapping[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}

#: Rules that the checks below observe, or that ask for nothing.
_SCALAR_RULES = frozenset({"type", "minimum", "title", "description"})
_ARRAY_RULES = frozenset({"type", "items", "title", "description"})
_OBJECT_RULES = frozenset({"type", "properties", "required", "additionalProperties", "title", "description"})


def quick_check(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> QuickCheck | None:
    """Compile a schema.

    Args:
        schema: JSON Schema, draft 2020-12.
        definitions: What ``$ref: "#/$defs/..."`` refers to.

    Returns:
        The check; None where the schema has a rule that is not simple.
    """
    if "$ref" in schema:
        rest = schema.keys() - {"$ref", "title", "description"}
        name = schema["$ref"].removeprefix("#/$defs/")
        return None if rest else quick_check(definitions[name], definitions)
    rules = schema.keys()
    if schema.get("type") == "object" and rules <= _OBJECT_RULES:
        return _object_check(schema, definitions)
    if schema.get("type") == "array" and rules <= _ARRAY_RULES:
        return _array_check(schema, definitions)
    if "type" in schema and rules <= _SCALAR_RULES:
        return _scalar_check(schema)
    return None


def _object_check(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> QuickCheck | None:
    properties, required = schema.get("properties", {}), frozenset(schema.get("required", ()))
    if schema.get("additionalProperties") is not False or not required <= properties.keys():
        return None
    checks = {name: quick_check(rules, definitions) for name, rules in properties.items()}
    known = {name: check for name, check in checks.items() if check is not None}
    if len(known) < len(checks):
        return None

    def check_object(value: Any) -> bool:
        return (
            type(value) is dict
            and required <= value.keys() <= known.keys()
            and all(known[name](item) for name, item in value.items())
        )

    return check_object


def _array_check(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> QuickCheck | None:
    item = quick_check(schema.get("items", {}), definitions)
    if item is None:
        return None
    return lambda value: type(value) is list and all(map(item, value))


def _scalar_check(schema: Mapping[str, Any]) -> QuickCheck:
    kinds = schema["type"]
    # Exact classes: a bool is an int to Python, and a number to nobody else.
    classes = frozenset(
        kind for name in ([kinds] if isinstance(kinds, str) else kinds) for kind in _CLASSES[name]
    )
    if "minimum" not in schema:
        return lambda value: type(value) in classes
    minimum = schema["minimum"]
    return lambda value: type(value) in classes and (type(value) not in (int, float) or value >= minimum)
