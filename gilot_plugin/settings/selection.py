"""The setting ``select``: which samples are explained, as far as it can be checked without any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    InstanceOf,
    SerializationInfo,
    ValidationError,
    model_serializer,
)

from gilot_plugin.extension.strategies import Options
from gilot_plugin.plugins.offers import selection_strategies
from gilot_plugin.settings.checking import explained, member

#: Among what the samples are chosen: those of each task, of each group that was asked for, or of the run.
Over = Literal["task", "group", "run"]


class Selection(BaseModel):
    """Which samples are explained.

    Attributes:
        strategy: Name of the strategy.
        over: Among what it chooses.
        options: Its options, of its own model.
    """

    model_config = ConfigDict(frozen=True)

    strategy: str
    over: Over
    options: InstanceOf[Options]

    @model_serializer
    def as_mapping(self, info: SerializationInfo) -> dict[str, Any]:
        """As it is given: the options beside the strategy."""
        return {"strategy": self.strategy, "over": self.over, **self.options.model_dump(mode=info.mode)}


def parse_selection(value: Any) -> Selection:
    """Read a selection.

    Args:
        value: The name of a strategy, a mapping ``{"strategy": ..., option: ...}``, or a list of such, which
            stands for their union; a selection stays what it is.

    Raises:
        ValueError: A strategy or an option is unknown or not allowed.
    """
    if isinstance(value, Selection):
        return value
    if isinstance(value, (list, tuple)):
        value = {"strategy": "union", "of": value}
    given = {"strategy": value} if isinstance(value, str) else value
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise ValueError(
            "must be the name of a strategy, a mapping such as {strategy: first, n: 10}, or a list of those"
        )
    options = dict(given)
    strategies = selection_strategies()
    name = member(options.pop("strategy", "first"), strategies, "strategy")
    over: Any = member(options.pop("over", "task"), get_args(Over), "over")
    model = strategies[name].options
    try:
        return Selection(strategy=name, over=over, options=model.model_validate(options))
    except ValidationError as error:
        raise ValueError(f"strategy {name!r}: {explained(error, model)}") from None


def functions_in(value: Any) -> Iterator[str]:
    """Places of the functions that a selection, read or as it was given, would run."""
    if isinstance(value, Selection):
        value = value.model_dump()
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from functions_in(part)
    elif isinstance(value, Mapping):
        if value.get("strategy") == "function":
            yield str(value.get("function"))
        yield from functions_in(value.get("of"))
