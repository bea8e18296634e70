from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gilot_plugin.artifacts.quick_checks import quick_check
from gilot_plugin.artifacts.schemas import SchemaName, load_schema, schema_problems, shown
from tests.artifacts import factories


@pytest.mark.parametrize("name", ["record", "manifest"])
def test_the_schemas_are_json_schemas_of_draft_2020_12(name: SchemaName) -> None:
    schema = load_schema(name)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", ["record", "manifest"])
def test_every_field_of_an_artifact_is_described(name: SchemaName) -> None:
    schema = load_schema(name)
    assert all("description" in field for field in schema["properties"].values())


def test_any_validator_accepts_what_is_written() -> None:
    records = [
        factories.make_record(),
        factories.make_record("pairs", choices=factories.CHOICES),
        factories.make_skipped(),
    ]
    for record in records:
        Draft202012Validator(load_schema("record")).validate(record)
    Draft202012Validator(load_schema("manifest")).validate(factories.make_manifest(records))


@pytest.mark.parametrize("value", [None, 3, [], "text", [{}]])
def test_what_is_no_object_is_refused(value: Any) -> None:
    assert next(schema_problems(value, "record")).startswith("must be an object")


def test_a_later_version_is_named_and_nothing_else() -> None:
    found = list(schema_problems({"schema_version": "2.0", "new": 1}, "record"))
    assert found == ["schema_version: '2.0' is not known; this release reads '1.0', '1.1'"]


def test_values_are_shown_short_and_harmless() -> None:
    assert shown("\x1b[31m\u202e") == repr("\x1b[31m\u202e")
    assert len(shown("x" * 100_000)) < 100
    assert len(shown(10**1000)) < 100
    assert (shown({"a": 1}), shown([1, 2]), shown(None), shown(True)) == (
        "an object",
        "a list of 2",
        "null",
        "true",
    )


def values() -> Iterator[Any]:
    for number in (0, 1, -1, 0.0, 0.5, -0.5, 1.0, True, False, None, "a", [], {}, float("nan")):
        yield number
        yield [number]
        yield {"id": number, "text": "a", "start": 0, "end": 1}
        yield {"from": "a", "to": "b", "mass": number, "cost": 0}
    yield {"id": 1, "text": "a", "start": 0}
    yield {"id": 1, "text": "a", "start": 0, "end": 1, "more": 1}


@pytest.mark.parametrize("definition", ["token", "unit", "flow", "token_ids", "probability", "choice"])
def test_what_a_quick_check_passes_is_valid(definition: str) -> None:
    definitions = load_schema("record")["$defs"]
    quick = quick_check({"$ref": f"#/$defs/{definition}"}, definitions)
    assert quick is not None
    full = Draft202012Validator({"$ref": f"#/$defs/{definition}", "$defs": definitions})
    passed = [value for value in values() if quick(value)]
    assert all(full.is_valid(value) for value in passed)
    # Integers are stricter than the specification, for which 1.0 is one.
    refused = [value for value in values() if not quick(value) and full.is_valid(value)]
    assert all("1.0" in repr(value) or "0.0" in repr(value) or "nan" in repr(value) for value in refused)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"enum": [1]},
        {"type": "string", "pattern": "a"},
        {"type": "array"},
        {"type": "object"},
        {"$ref": "#/$defs/sha256"},
    ],
)
def test_rules_that_are_not_simple_have_no_quick_check(schema: dict[str, Any]) -> None:
    assert quick_check(schema, load_schema("record")["$defs"]) is None
