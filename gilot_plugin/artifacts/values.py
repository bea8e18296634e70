"""Between JSON and values, by the names of fields: what a model says of them is all that is known here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypeAliasType

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class As:
    """Says that what is annotated stands in JSON as an object that a model describes.

    Attributes:
        model: The model. The annotated type has fields of the same names, or is a mapping, which stays as it
            is when it is read; what is written in its place has fields of the same names.
    """

    model: type

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Take values as they are, and what is JSON as the model does."""
        held = _held_as(source)
        found = object_codec(held, self.model)

        def checked(value: Any, check: Callable[[Any], Any]) -> Any:
            if isinstance(value, held) and held is not Mapping:
                return value
            check(value)
            return found.read(value)

        return core_schema.no_info_wrap_validator_function(checked, handler.generate_schema(self.model))


@dataclasses.dataclass(frozen=True)
class NullFor:
    """Says that a number for which JSON has no text stands there as null.

    Attributes:
        number: The number.
    """

    number: float


class NeverNull:
    """Says that a field which is None where it is absent is never null in JSON."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The schema of what is not None."""
        return handler(cast("Any", schema)["schema"])


class Codec(NamedTuple):
    """How something is read from JSON and written to it. None of them checks anything.

    Attributes:
        read: From JSON to the value.
        write: From the value to what :mod:`json` takes.
    """

    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


_PLAIN = Codec(_same, _same)


class _Field(NamedTuple):
    name: str
    key: str
    codec: Codec
    required: bool
    default: Any
    nullable: bool


def codec_of(annotation: Any) -> Codec:
    """The codec of whatever is annotated so in a model."""
    if isinstance(annotation, TypeAliasType):
        return codec_of(annotation.__value__)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _codec_of_annotated(arguments[0], arguments[1:])
    if origin in (Union, UnionType):
        kinds = [argument for argument in arguments if argument is not NoneType]
        found = codec_of(kinds[0]) if len(kinds) == 1 else _PLAIN
        return found if found is _PLAIN else Codec(_unless_none(found.read), _unless_none(found.write))
    if origin is tuple:
        if len({*arguments} - {Ellipsis}) > 1:
            raise TypeError(f"a tuple of different kinds, {annotation}, cannot be read by its annotation")
        inner = codec_of(arguments[0])
        return Codec(_mapped(tuple, inner.read), _mapped(list, inner.write))
    if origin is dict:
        inner = codec_of(arguments[1])
        return Codec(_by_key(inner.read), _by_key(inner.write))
    if origin is list:
        raise TypeError(f"records do not change: write {annotation} as a tuple")
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        raise TypeError(f"say with `As` what holds {annotation.__name__}")
    return object_codec(annotation, annotation) if hasattr(annotation, "__pydantic_fields__") else _PLAIN


@cache
def object_codec(held: Any, model: Any) -> Codec:
    """The codec of an object of JSON.

    Args:
        held: What it is as a value.
        model: What describes it.

    Raises:
        TypeError: They have not the same fields.
    """
    fields = tuple(_fields(model))
    if held is Mapping:
        return Codec(_same, lambda value: _written(value, fields, model))
    _check_fields(held, model)
    own = _defaults(held) if held is not model else frozenset()
    read_alike = all(field.codec is _PLAIN and field.key == field.name for field in fields)

    def read(content: Mapping[str, Any]) -> Any:
        if read_alike and len(content) == len(fields) and held is not model:
            return held(**content)
        values = {}
        for field in fields:
            if field.required or field.key in content:
                values[field.name] = field.codec.read(content[field.key])
            elif field.name not in own:
                values[field.name] = field.default
        return held(**values) if held is not model else unchecked(held, values)

    return Codec(read, lambda value: _written(value, fields, held))


def unchecked(held: type[_T], values: Mapping[str, Any]) -> _T:
    """A pydantic dataclass of values that are known to be right, which it would check one by one."""
    found = object.__new__(held)
    found.__dict__.update(values)
    return found


def value_of(model: type[_T], content: Mapping[str, Any]) -> _T:
    """An object of JSON as its model has it; that it is valid is known."""
    described: Any = model
    found: _T = object_codec(described, described).read(content)
    return found


def field_names(model: Any) -> tuple[str, ...]:
    """Names of a model's fields, in its order."""
    return tuple(field.name for field in _fields(model))


def written(model: type, name: str, value: Any) -> Any:
    """A value of one field of a model as it stands in JSON.

    Raises:
        TypeError: A part of it has other fields than the model says.
    """
    return _field(model, name).codec.write(value)


def empty_of(model: type, name: str) -> Any:
    """What an object of JSON has where nothing is known of a field."""
    found = _field(model, name)
    return {} if found.default == {} else found.codec.write(found.default)


def _field(model: type, name: str) -> _Field:
    return next(field for field in _fields(model) if field.name == name)


def _written(value: Any, fields: Iterable[_Field], described: Any) -> dict[str, Any]:
    if type(value) is not described:
        _check_fields(cast("Any", type(value)), described)
    pairs = ((field, getattr(value, field.name)) for field in fields)
    return {field.key: field.codec.write(one) for field, one in pairs if one is not None or field.nullable}


@cache
def _check_fields(held: Any, model: Any) -> None:
    have, described = set(_names(held)), set(_names(model))
    if have != described:
        raise TypeError(
            f"{held.__name__} and {model.__name__} differ in their fields: {sorted(have ^ described)}"
        )


def _codec_of_annotated(inner: Any, markers: Iterable[Any]) -> Codec:
    for marker in markers:
        if isinstance(marker, As):
            held, model = _held_as(inner), cast("Any", marker.model)
            return object_codec(held, model)
        if isinstance(marker, NullFor):
            return _null_for(marker.number)
    return codec_of(inner)


def _null_for(number: float) -> Codec:
    return Codec(
        lambda value: number if value is None else value,
        lambda value: None if value == number else value,
    )


def _held_as(annotated: Any) -> Any:
    return get_origin(annotated) or annotated


def _names(described: Any) -> Iterable[str]:
    if dataclasses.is_dataclass(described):
        return [field.name for field in dataclasses.fields(described)]
    return tuple(described.__pydantic_fields__ if issubclass(described, BaseModel) else described._fields)


def _defaults(held: Any) -> frozenset[str]:
    if dataclasses.is_dataclass(held):
        missing = dataclasses.MISSING
        return frozenset(
            field.name
            for field in dataclasses.fields(held)
            if field.default is not missing or field.default_factory is not missing
        )
    return frozenset(held._field_defaults)


@cache
def _fields(model: Any) -> tuple[_Field, ...]:
    hints = get_type_hints(model, include_extras=True)
    return tuple(
        _Field(
            name,
            field.alias or name,
            codec_of(hints[name]),
            field.is_required(),
            None if field.is_required() else field.get_default(call_default_factory=True),
            _allows_null(hints[name]),
        )
        for name, field in model.__pydantic_fields__.items()
    )


def _allows_null(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        inner, *markers = get_args(annotation)
        return not any(isinstance(marker, NeverNull) for marker in markers) and _allows_null(inner)
    return NoneType in get_args(annotation) or annotation is Any


def _unless_none(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


def _mapped(kind: type, convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return kind if convert is _same else lambda values: kind(map(convert, values))


def _by_key(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return dict if convert is _same else lambda values: {key: convert(value) for key, value in values.items()}
