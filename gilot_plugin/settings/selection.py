"""The setting ``select``: which samples are explained, as far as it can be checked without any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gilot_plugin import plugins
from gilot_plugin.settings.checking import explained, member

#: Among what the samples are chosen: those of each task, of each group that was asked for, or of the run.
Over = Literal["task", "group", "run"]


class Options(BaseModel):
    """Base of the options of a strategy; a wrong or unknown option is refused with its name."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CountOptions(Options):
    """Options of strategies that take a number of samples, None for all."""

    n: int | None = Field(10, ge=1, strict=True)


def checked_selection(value: Any) -> dict[str, Any]:
    """A selection with all its options.

    Args:
        value: The name of a strategy, a mapping ``{"strategy": ..., option: ...}``, or a list of such, which
            stands for their union.

    Returns:
        The mapping, with ``strategy``, ``over`` and every option.

    Raises:
        ValueError: A strategy or an option is unknown or not allowed.
    """
    if isinstance(value, (list, tuple)):
        value = {"strategy": "union", "of": value}
    given = {"strategy": value} if isinstance(value, str) else value
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise ValueError(
            "must be the name of a strategy, a mapping such as {strategy: first, n: 10}, or a list of those"
        )
    options = dict(given)
    strategies = plugins.selection_strategies()
    name = member(options.pop("strategy", "first"), strategies, "strategy")
    over = member(options.pop("over", "task"), get_args(Over), "over")
    model = strategies[name].options
    try:
        checked = model.model_validate(options)
    except ValidationError as error:
        raise ValueError(f"strategy {name!r}: {explained(error, model)}") from None
    return {"strategy": name, "over": over, **checked.model_dump()}


def functions_in(value: Any) -> Iterator[str]:
    """Places of the functions that a selection, checked or not, would run."""
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from functions_in(part)
    elif isinstance(value, Mapping):
        if value.get("strategy") == "function":
            yield str(value.get("function"))
        yield from functions_in(value.get("of"))


def options_of(selection: Mapping[str, Any]) -> dict[str, Any]:
    """What a checked selection says beside its strategy and what it chooses among."""
    return {name: value for name, value in selection.items() if name not in ("strategy", "over")}
