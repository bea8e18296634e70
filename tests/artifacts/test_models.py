"""The models are the one source of the fields: of the schemas, of what is written, and of what is read."""

from __future__ import annotations

import dataclasses
from importlib import resources

import pytest
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass as pydantic_dataclass

from gilot_plugin.artifacts import manifest_models, models, typed
from gilot_plugin.artifacts.schema_files import SCHEMA_FILES, schema_text
from gilot_plugin.artifacts.values import empty_of, field_names, object_codec, written
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
    read = [field.name for field in dataclasses.fields(typed.Record)]
    assert read == list(field_names(models.RecordFields))


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
    checked = TypeAdapter(typed.Record).validate_python(record)
    assert list(record) == [name for name in field_names(models.RecordFields) if name in record]
    # Reading checks nothing, so that it is fast, and finds the same.
    assert typed.Record.from_json(record) == checked


def test_what_differs_from_its_model_is_refused_at_once() -> None:
    @dataclasses.dataclass
    class Token:
        id: int
        text: str
        start: int
        end: int
        weight: float

    with pytest.raises(TypeError, match=r"Token and TokenFields differ in their fields: \['weight'\]"):
        object_codec(Token, models.TokenFields)


def test_a_field_needs_one_edit_beside_its_value() -> None:
    """A field that a model gets is read, and written from what has a value of its name."""

    @pydantic_dataclass(frozen=True, kw_only=True)
    class Wider(typed.Record):
        entropies: tuple[tuple[float, ...], ...] = models.optional(description="New.", absent=())

    record = factories.make_record()
    assert object_codec(Wider, Wider).read({**record, "entropies": [[0.5, 1.0]]}).entropies == ((0.5, 1.0),)
    assert object_codec(Wider, Wider).read(record).entropies == ()
    assert written(Wider, "entropies", ((0.5,),)) == [[0.5]]
    assert empty_of(Wider, "entropies") == []


def test_a_manifest_is_what_the_model_says() -> None:
    manifest_models.ManifestFields.model_validate(factories.make_manifest([factories.make_record()]))


def test_what_was_estimated_is_read_as_it_was_measured() -> None:
    attribution = factories.estimated(factories.make_attribution())
    record = typed.Record.from_json(factories.make_estimated())
    for name in ("answer", "step_scores", "intervals", "scheme", "interactions"):
        assert getattr(record, name) == getattr(attribution, name)
