"""Nested values for long prompts: groups of neighbours first, then the parts of those that matter.

A part's value within its group is the mean of what its absence is worth from the full prompt and from the
empty one, moved so that the parts of a group add up to it (nested as in Owen 1977, with two of his coalitions
of the other groups rather than all). What is not cut further shares its value equally.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import regex

from gilot_plugin.attribution.schemes.exploring import Exploration
from gilot_plugin.attribution.schemes.protocol import Interrupted, SchemeAsking, SchemeResult, UnitsGame
from gilot_plugin.attribution.schemes.readings import Budget, Coalitions, Numbers, Readings, singles
from gilot_plugin.attribution.schemes.results import MATTERS
from gilot_plugin.attribution.schemes.surrogate import Surrogate
from gilot_plugin.attribution.types import Unit
from gilot_plugin.errors import PromptError

#: Groups that are looked at first: at most so many, and one for so many coalitions that may be read.
_MOST_GROUPS, _A_GROUP = 24, 8

#: Share of the budget that the groups may take; the rest is for their parts.
_FOR_GROUPS = 0.5

#: Parts that a group is cut into at a time.
_PARTS = 4

_SENTENCE_END = regex.compile(r"[.!?…。！？]['\"”’)\]]*\s*$")


class _Group(NamedTuple):
    """Neighbouring units.

    Attributes:
        start: Number of the first.
        end: One past the last.
        scores: ``[measures]``.
        lower: ``[measures]``, where the scores lie.
        upper: ``[measures]``.
    """

    start: int
    end: int
    scores: Numbers
    lower: Numbers
    upper: Numbers

    @property
    def weight(self) -> float:
        """How much it matters by the first measure."""
        return abs(float(self.scores[0]))


def nested(game: UnitsGame, budget: Budget, seed: int) -> SchemeAsking[SchemeResult]:
    """Scores of more units than can be taken away one by one.

    Raises:
        PromptError: The budget is not even enough for two groups.
    """
    expected = Readings(game, budget).expected(np.random.default_rng(seed))
    spans = cut(game.units, 0, len(game.units), max(2, min(_MOST_GROUPS, expected // _A_GROUP)))
    least = 2 * len(spans)
    if expected < least:
        raise PromptError(
            f"the budget is enough for about {expected} coalitions of the {len(game.units)} units, and "
            f"{least} are needed to tell {len(spans)} parts of them apart: allow more by coalitions or "
            "token_budget"
        )
    share = budget.part(_FOR_GROUPS) if _FOR_GROUPS * expected >= least else budget
    readings = Readings(game, share, [game.units[start:end] for start, end in spans])
    exploration, interrupted = Exploration(readings, seed), False
    try:
        yield from exploration.explore()
    except Interrupted:
        interrupted = True
    models = [exploration.model(column) for column in range(len(game.measures))]
    groups = [_Group(*span, *_of_player(models, player)) for player, span in enumerate(spans)]
    asked, left_out = readings.asked, readings.left_out
    everybody = readings.known(np.ones(len(spans), dtype=bool))
    try:
        while not interrupted and everybody is not None:
            chosen = _heaviest(groups)
            if chosen is None:
                break
            parts = _parts(game, budget, groups[chosen])
            if not parts.affords(_ends(parts)):
                break
            yield from parts.read(_ends(parts))
            asked, left_out = asked + parts.asked, left_out + parts.left_out
            groups[chosen : chosen + 1] = _shared_out(groups[chosen], parts, everybody)
    except Interrupted:
        interrupted = True
    names = [measure.name for measure in game.measures]
    return SchemeResult(
        scores={name: _each(groups, column) for column, name in enumerate(names)},
        intervals={name: _intervals(groups, column) for column, name in enumerate(names)},
        tied=tuple(tuple(range(group.start, group.end)) for group in groups if _is_open(group, groups)),
        coalitions=asked,
        left_out=left_out,
        lds={name: model.lds for name, model in zip(names, models, strict=True) if model.lds is not None},
        held_out=max(model.held_out for model in models),
        interrupted=interrupted,
    )


def cut(units: Sequence[Unit], start: int, end: int, count: int) -> list[tuple[int, int]]:
    """Cut neighbouring units into so many groups, or as many as there are units.

    The longest group is halved again and again, where a part of the prompt, a line or a sentence ends, and as
    near to its middle as such an end is.

    Args:
        units: The units.
        start: Number of the first.
        end: One past the last.
        count: Groups that are wanted.
    """
    strengths = [_end_after(units[place], units[place + 1]) for place in range(start, end - 1)]
    spans = [(start, end)]
    while len(spans) < min(count, end - start):
        longest = max(range(len(spans)), key=lambda place: spans[place][1] - spans[place][0])
        first, last = spans[longest]
        middle = (first + last) / 2
        at = max(
            range(first + 1, last), key=lambda place: (strengths[place - 1 - start], -abs(place - middle))
        )
        spans[longest : longest + 1] = [(first, at), (at, last)]
    return spans


def _end_after(unit: Unit, following: Unit) -> int:
    """What ends between two units: a part of the prompt, a line, a sentence, or nothing."""
    if unit.segment != following.segment:
        return 3
    if unit.text.endswith("\n") or following.text.lstrip(" ").startswith("\n"):
        return 2
    return 1 if _SENTENCE_END.search(unit.text) else 0


def _of_player(models: Sequence[Surrogate], player: int) -> tuple[Numbers, Numbers, Numbers]:
    """Score, lower and upper end by each measure."""
    intervals = np.array([model.intervals()[player] for model in models])
    return np.array([model.scores[player] for model in models]), intervals[:, 0], intervals[:, 1]


def _heaviest(groups: Sequence[_Group]) -> int | None:
    """The group to cut next; None where none that matters has several units."""
    several = [place for place, group in enumerate(groups) if _is_open(group, groups)]
    return max(several, key=lambda place: groups[place].weight, default=None)


def _is_open(group: _Group, groups: Sequence[_Group]) -> bool:
    threshold = MATTERS * max(one.weight for one in groups)
    return group.end - group.start > 1 and group.weight >= threshold and group.weight > 0


def _parts(game: UnitsGame, budget: Budget, group: _Group) -> Readings:
    """A game of the group's parts, and of all units outside as one more player."""
    units = game.units
    spans = cut(units, group.start, group.end, _PARTS)
    players = [units[start:end] for start, end in spans]
    return Readings(game, budget, [*players, units[: group.start] + units[group.end :]])


def _ends(parts: Readings) -> Coalitions:
    """Each part absent alone, and present alone."""
    rows = singles(len(parts.players))[:-1]
    return np.concatenate((rows, ~rows))


def _shared_out(group: _Group, parts: Readings, everybody: Numbers) -> list[_Group]:
    """The parts, which add up to the group; the group itself where a value is missing."""
    rows = singles(len(parts.players))[:-1]
    alone = [parts.known(row) for row in rows]
    others = [parts.known(~row) for row in rows]
    if any(value is None for value in (*alone, *others)):
        return [group]
    first, last = np.array(alone), everybody - np.array(others)
    raw = (first + last) / 2
    sizes = np.abs(raw)
    sums = sizes.sum(axis=0)
    shares = np.where(sums > 0, sizes / np.where(sums > 0, sums, 1.0), 1.0 / len(raw))
    moved = (group.scores - raw.sum(axis=0)) * shares
    found, start = [], group.start
    for place, player in enumerate(parts.players[:-1]):
        ends = np.sort(np.stack((first[place], last[place])), axis=0) + moved[place]
        found.append(_Group(start, start + len(player), raw[place] + moved[place], *ends))
        start += len(player)
    return found


def _each(groups: Sequence[_Group], column: int) -> tuple[float, ...]:
    """Scores of the units: equal shares of their group's."""
    return tuple(
        float(group.scores[column]) / (group.end - group.start)
        for group in groups
        for _ in range(group.end - group.start)
    )


def _intervals(groups: Sequence[_Group], column: int) -> tuple[tuple[float, float], ...]:
    """Of a unit among several it is not known whether it has all of their score or nothing of it."""
    found: list[tuple[float, float]] = []
    for group in groups:
        lower, upper = float(group.lower[column]), float(group.upper[column])
        count = group.end - group.start
        found += [(lower, upper) if count == 1 else (min(0.0, lower), max(0.0, upper))] * count
    return tuple(found)
