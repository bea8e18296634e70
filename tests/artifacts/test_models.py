"""The models are the one source of the fields: of the schemas, of what is written, and of what is read."""

from __future__ import annotations

import dataclasses
from importlib import resources

import pytest
from pydantic import BaseModel

from gilot_plugin.artifacts import manifest_models, models, typed
from gilot_plugin.artifacts.schema_files import SCHEMA_FILES, schema_text
from gilot_plugin.attribution import types
from tests.artifacts import factories


@pytest.mark.parametrize("name", SCHEMA_FILES)
def test_the_committed_schemas_are_those_of_the_models(name: str) -> None:
    committed = resources.files("gilot_plugin.artifacts") / "schema" / name
    made = schema_text(SCHEMA_FILES[name])
    assert committed.read_text(encoding="utf-8") == made, "write it again: make schemas"


@pytest.mark.parametrize(
    "name",
    [
        *("Token", "Unit", "Hypothesis", "Choice", "Flow", "TotalFlow", "CoarseUnit", "NoiseFloor"),
        *("Diagnostics", "ExplainedAnswer", "SchemeUse", "Interaction"),
    ],
)
def test_what_is_measured_has_the_fields_of_its_model(name: str) -> None:
    measured, model = getattr(types, name), getattr(models, f"{name}Fields")
    fields = (
        [field.name for field in dataclasses.fields(measured)]
        if dataclasses.is_dataclass(measured)
        else list(measured._fields)
    )
    assert set(fields) == set(model.model_fields)


def test_what_is_read_has_the_fields_of_the_model() -> None:
    read = {field.name for field in dataclasses.fields(typed.Record)}
    assert read - {"tokens"} == set(models.RecordFields.model_fields) - {"prompt_tokens", "record_sha256"}


def names_of(value: BaseModel) -> list[str]:
    return [field.alias or name for name, field in type(value).model_fields.items()]


@pytest.mark.parametrize(
    "record",
    [
        factories.make_record(),
        factories.make_record("pairs", choices=factories.CHOICES),
        factories.make_skipped(),
        factories.make_estimated(),
    ],
)
def test_what_is_written_is_what_the_model_says_in_its_order(record: dict[str, object]) -> None:
    model = models.RecordFields.model_validate(record)
    assert list(record) == [name for name in names_of(model) if name in record]


def test_a_manifest_is_what_the_model_says() -> None:
    manifest_models.ManifestFields.model_validate(factories.make_manifest([factories.make_record()]))


def test_what_was_estimated_is_read_as_it_was_measured() -> None:
    attribution = factories.estimated(factories.make_attribution())
    record = typed.Record.from_json(factories.make_estimated())
    for name in ("answer", "step_scores", "intervals", "scheme", "interactions"):
        assert getattr(record, name) == getattr(attribution, name)
