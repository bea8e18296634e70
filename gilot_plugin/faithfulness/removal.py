"""Which units are removed at each fraction."""

from __future__ import annotations

from typing import NamedTuple

from gilot_plugin.attribution.types import FIXED_SEGMENTS
from gilot_plugin.errors import PromptError
from gilot_plugin.faithfulness.curves import FRACTIONS
from gilot_plugin.faithfulness.ranked import RankedSample, Ranking

#: Places in a sample's ``units``, in the order of the prompt.
Removed = tuple[int, ...]


class Removals(NamedTuple):
    """What is removed in the order of a ranking.

    Attributes:
        morf: For each fraction, the most relevant units.
        lerf: For each fraction, the least relevant units.
    """

    morf: tuple[Removed, ...]
    lerf: tuple[Removed, ...]


def removed_counts(units: int) -> tuple[int, ...]:
    """How many of the units are removed at each fraction; halves go to the even number."""
    steps = len(FRACTIONS) - 1
    return tuple(round(step * units / steps) for step in range(steps + 1))


def removals_of(ranking: Ranking) -> Removals:
    """What is removed at each fraction, from either end of a ranking.

    Raises:
        ValueError: The ranking does not name each place once.
    """
    if sorted(ranking) != list(range(len(ranking))):
        raise ValueError("a ranking names each of the units once")
    counts = removed_counts(len(ranking))
    return Removals(
        tuple(tuple(sorted(ranking[:count])) for count in counts),
        tuple(tuple(sorted(ranking[len(ranking) - count :])) for count in counts),
    )


def checked_removals(sample: RankedSample) -> dict[str, Removals]:
    """What is removed under each of a sample's rankings.

    Raises:
        PromptError: There are no units, or some hold tokens of the template or special tokens.
        ValueError: A ranking does not name each unit once.
    """
    if not sample.units:
        raise PromptError(f"{sample.key}: there is nothing that can be removed")
    for unit in sample.units:
        if not FIXED_SEGMENTS.isdisjoint(sample.prompt.segments[unit.start_token : unit.end_token]):
            raise PromptError(
                f"{sample.key}: the unit {unit.text!r} holds tokens of the template or special tokens, "
                "which are never removed: use units of scope 'content'"
            )
    found = {name: removals_of(ranking) for name, ranking in sample.rankings.items()}
    for name, ranking in sample.rankings.items():
        if len(ranking) != len(sample.units):
            raise ValueError(f"{sample.key}: the ranking {name!r} is not one of {len(sample.units)} units")
    return found
