"""Kinds of fields that models of artifacts are made of."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from gilot_plugin.artifacts.values import NeverNull

Natural = Annotated[int, Field(ge=0)]
NotNegative = Annotated[float, Field(ge=0)]
Words = Annotated[str, Field(min_length=1)]

Sha256 = TypeAliasType(
    "Sha256",
    Annotated[str, Field(pattern="^[0-9a-f]{64}$", title="a SHA-256 in 64 lower-case hexadecimal digits")],
)
TokenIds = TypeAliasType("TokenIds", tuple[Natural, ...])
TokenIndices = TypeAliasType("TokenIndices", tuple[Natural, ...])
UnitIndices = TypeAliasType("UnitIndices", tuple[Natural, ...])
Probability = TypeAliasType(
    "Probability",
    Annotated[NotNegative, Field(description="Share among its kind; the shares sum to 1.")],
)


def optional(*, description: str, absent: Any = None) -> Any:
    """A field that may be absent, which is not the same as null.

    Args:
        description: For the schema.
        absent: What its value is then.
    """
    if isinstance(absent, dict):
        return Field(default_factory=dict, description=description)
    return Field(absent, description=description)


_T = TypeVar("_T")

#: Of a field whose value is None where it is absent, and which is never null.
OrAbsent = Annotated[_T | None, NeverNull()]


class Closed(BaseModel):
    """Base of objects that have no other fields."""

    model_config = ConfigDict(extra="forbid")


class Open(BaseModel):
    """Base of objects that may have fields which are not described."""

    model_config = ConfigDict(extra="allow")
