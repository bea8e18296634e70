"""Strategies that are made of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field, FieldSerializationInfo, field_serializer, field_validator

from gilot_plugin.extension.samples import ChosenSample, Sample
from gilot_plugin.extension.strategies import Options, SelectionContext
from gilot_plugin.plugins.offers import selection_strategies
from gilot_plugin.settings.selection import Selection, parse_selection
from gilot_plugin.strategies.ordering import in_order


class CombinedOptions(Options):
    """Options of ``union`` and ``chain``: other selections."""

    of: list[Selection] = Field(min_length=1)

    @field_validator("of", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            return value
        parts = [parse_selection(one) for one in value]
        if any(part.over != "task" for part in parts):
            raise ValueError("'over' is for the selection as a whole, not for its parts")
        return parts

    @field_serializer("of")
    def _without_over(self, parts: list[Selection], info: FieldSerializationInfo) -> list[dict[str, Any]]:
        dumped = [part.model_dump(mode=info.mode) for part in parts]
        return [{name: value for name, value in part.items() if name != "over"} for part in dumped]


def choose(
    selection: Selection, samples: Sequence[Sample], context: SelectionContext
) -> Sequence[ChosenSample]:
    """Choose samples.

    Args:
        selection: What was set.
        samples: In document order.
        context: What the strategy may ask.

    Returns:
        The chosen samples, each once.

    Raises:
        ConfigError: The samples are not what the strategy needs.
    """
    strategy = selection_strategies()[selection.strategy]
    return strategy.choose(samples, selection.options, context)


def union(
    samples: Sequence[Sample], options: CombinedOptions, context: SelectionContext
) -> list[ChosenSample]:
    """Whatever any of several selections chooses."""
    reasons: dict[int, list[ChosenSample]] = {}
    for part in options.of:
        for one in choose(part, samples, context):
            reasons.setdefault(id(one.sample), []).append(one)
    chosen = [
        ChosenSample(same[0].sample, "; ".join(one.reason for one in same)) for same in reasons.values()
    ]
    return in_order(samples, chosen)


def chain(
    samples: Sequence[Sample], options: CombinedOptions, context: SelectionContext
) -> list[ChosenSample]:
    """What each selection chooses among what the one before it chose."""
    left = [ChosenSample(sample, "") for sample in samples]
    for part in options.of:
        before = {id(one.sample): one.reason for one in left}
        left = [
            ChosenSample(one.sample, ", then ".join(filter(None, (before[id(one.sample)], one.reason))))
            for one in choose(part, [one.sample for one in left], context)
        ]
    return left
