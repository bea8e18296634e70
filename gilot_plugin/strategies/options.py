"""Options of the strategies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from gilot_plugin.extension.strategies import CountOptions, Options
from gilot_plugin.strategies.functions import is_place

_DocId = Annotated[int, Field(ge=0, strict=True)]


class IdOptions(Options):
    """Options of ``ids``: lm-eval's document numbers, for every task or by task name."""

    ids: list[_DocId] | dict[str, list[_DocId]]


class MetricOptions(CountOptions):
    """Options of strategies that look at a metric, ``"metric"`` or ``"metric,filter"``."""

    metric: str | None = None


class FlipOptions(MetricOptions):
    """Options of ``flips``: what lm-eval logged of an earlier run, and which way the samples went since."""

    against: str = Field(min_length=1)
    direction: Literal["to_wrong", "to_right", "both"] = "both"

    @field_validator("against")
    @classmethod
    def _exists(cls, value: str) -> str:
        if not Path(value).exists():
            raise ValueError("there is no such file or folder")
        return value


class StratumOptions(CountOptions):
    """Options of ``stratified``: a field of the documents, dots for nesting; ``n`` for each of its values."""

    by: str = Field(min_length=1)
    n: int | None = Field(2, ge=1, strict=True)


class FunctionOptions(CountOptions):
    """Options of ``function``: where it is, ``"package.module:name"``."""

    function: str

    @field_validator("function")
    @classmethod
    def _is_a_place(cls, value: str) -> str:
        # Settings come from task files, too, and checking them must not run what they name.
        if not is_place(value):
            raise ValueError("write package.module:name")
        return value
