"""The committed JSON Schemas of artifacts, made from the models by ``make schemas``."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Container, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import DataclassSchema, ModelSchema

from gilot_plugin.artifacts.ablations import ABLATION_VERSION, Line
from gilot_plugin.artifacts.faithfulness import FAITHFULNESS_VERSION, Faithfulness
from gilot_plugin.artifacts.manifest_models import ManifestFields
from gilot_plugin.artifacts.models import SCHEMA_VERSION, RecordFields

#: What is made of what, by the names in the package.
SCHEMA_FILES: Mapping[str, Any] = MappingProxyType(
    {
        f"record-{SCHEMA_VERSION}.json": RecordFields,
        f"manifest-{SCHEMA_VERSION}.json": ManifestFields,
        f"faithfulness-{FAITHFULNESS_VERSION}.json": Faithfulness,
        f"ablation-{ABLATION_VERSION}.json": Line,
    }
)

_FOLDER = Path(__file__).parent / "schema"


class _Described(GenerateJsonSchema):
    """Takes descriptions from docstrings, where fields are told under ``Attributes:``."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # it would be the field's name again

    def model_schema(self, schema: ModelSchema) -> dict[str, Any]:
        return self._with_texts(super().model_schema(schema), schema["cls"])

    def dataclass_schema(self, schema: DataclassSchema) -> dict[str, Any]:
        return self._with_texts(super().dataclass_schema(schema), schema["cls"])

    def _with_texts(self, found: dict[str, Any], model: type) -> dict[str, Any]:
        if "description" in found:
            found["description"] = found["description"].partition("\n")[0]
        for name, text in _attribute_texts(model).items():
            if name in found.get("properties", {}):
                found["properties"][name].setdefault("description", text)
        return found


def _attribute_texts(model: type) -> dict[str, str]:
    texts: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        _, _, told = (inspect.cleandoc(owner.__doc__ or "")).partition("\nAttributes:\n")
        for name, text in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", told, flags=re.MULTILINE):
            texts[name] = re.sub(r"\s+", " ", text.replace("``", "")).strip()
    return texts


def schema_text(model: Any) -> str:
    """The schema (draft 2020-12) of what a model, or a union of them, describes, as it is committed.

    It says what the model says and nothing that a reader of JSON has no use for: no defaults, as an absent
    field is absent, and no titles that repeat a name.
    """
    made = TypeAdapter(model).json_schema(schema_generator=_Described)
    definitions = made.pop("$defs", {})
    # Definitions that allow null themselves.
    nullable = {
        f"#/$defs/{_snake(name)}"
        for name, rules in definitions.items()
        if isinstance(rules.get("type"), list)
    }
    schema = {"$schema": GenerateJsonSchema.schema_dialect, **_plain(made, nullable)}
    schema["$defs"] = {
        _snake(name): _plain(rules if rules.get("title") != name else _without(rules, "title"), nullable)
        for name, rules in sorted(definitions.items())
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _plain(rules: Any, nullable: Container[str]) -> Any:
    if isinstance(rules, list):
        return [_plain(rule, nullable) for rule in rules]
    if not isinstance(rules, dict):
        return rules
    found = {
        key: {name: _plain(of_field, nullable) for name, of_field in value.items()}
        if key == "properties"
        else _plain(value, nullable)
        for key, value in rules.items()
        # ``discriminator`` is OpenAPI's, and says what the constants of the alternatives say.
        if key not in ("default", "discriminator") and not (key == "additionalProperties" and value is True)
    }
    if "$ref" in found:
        found["$ref"] = f"#/$defs/{_snake(rules['$ref'].removeprefix('#/$defs/'))}"
    if "enum" in found:
        found.pop("type", None)
    match found:
        case {"anyOf": [{"type": str(kind)} as rule, {"type": "null"}]}:
            return {**_without(found, "anyOf"), **rule, "type": [kind, "null"]}
        case {"anyOf": [{"$ref": str(reference)} as rule, {"type": "null"}]} if reference in nullable:
            return {**_without(found, "anyOf"), **rule}
    return found


def _without(rules: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in rules.items() if name != key}


def _snake(name: str) -> str:
    return re.sub(
        r"(?<=[a-z0-9])(?=[A-Z])", "_", name.removesuffix("Fields").removeprefix("Recorded")
    ).lower()


def write_schemas(folder: Path = _FOLDER) -> None:
    """Write the files."""
    for name, model in SCHEMA_FILES.items():
        (folder / name).write_text(schema_text(model), encoding="utf-8")


if __name__ == "__main__":
    write_schemas()
