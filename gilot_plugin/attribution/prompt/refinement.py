"""Adaptive units: coarse ones first, then the pieces of those that matter, as far as a budget goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from gilot_plugin.attribution.prompt.units import Refinement, cut_unit, join_units, make_units
from gilot_plugin.attribution.types import Prompt, Unit

if TYPE_CHECKING:
    from gilot_plugin.attribution.game import Asking, Game

#: From coarse to fine.
LEVELS = ("segment", "line", "sentence", "word")

#: A unit is cut further if its score is at least this share of the largest so far.
_MATTERS = 0.1

#: Units whose scores are at least this share of the best candidate's are cut in the same round.
_SAME_ROUND = 0.5

#: Share of what is left of the budget that groups of pieces may take; the rest is for the pieces of the best.
_FOR_GROUPS = 0.5


@dataclass(frozen=True, slots=True)
class Refined:
    """What was measured in the end.

    Attributes:
        units: Units that were not cut further, in prompt order.
        coarse: Units that were.
    """

    units: tuple[Unit, ...]
    coarse: tuple[Unit, ...]


def refine(game: Game, refinement: Refinement) -> Asking[Refined]:
    """Cut the prompt of a game adaptively, by the first of its measures.

    Args:
        game: The game. Of its costs only proportions matter: the scale is corrected by what was really spent.
        refinement: Scope and budget.

    Yields:
        Units to take away, one at a time, once a round. With the first ones the full prompt is read, too.

    Returns:
        The units; every token in scope is in exactly one of ``units``.

    Raises:
        PromptError: Nothing is in scope.
    """
    prompt, measure = game.prompt, game.measures[0].name
    estimated, spent_before = game.cost(()), game.spent.model_tokens
    wanted = make_units(prompt, LEVELS[0], refinement.scope)
    scores: dict[Unit, float] = {}
    coarse: list[Unit] = []
    while wanted:
        estimated += sum(_cost(game, unit) for unit in wanted)
        values = yield [(unit,) for unit in wanted]
        scores |= zip(wanted, map(abs, values.means(measure)), strict=True)
        spent = game.spent.model_tokens
        scale = (spent - spent_before) / estimated
        chosen = _worth_cutting(game, scores, refinement.budget - spent, scale)
        for unit in chosen:
            del scores[unit]
        coarse.extend(chosen)
        wanted = tuple(piece for pieces in chosen.values() for piece in pieces)
    return Refined(tuple(sorted(scores, key=_place)), tuple(sorted(coarse, key=_place)))


def _worth_cutting(
    game: Game, scores: Mapping[Unit, float], left: float, scale: float
) -> dict[Unit, tuple[Unit, ...]]:
    """The units that are cut in the next round, with their pieces.

    Args:
        game: The game.
        scores: Of the units so far.
        left: Tokens that are left of the budget.
        scale: Tokens that were read for each that was estimated.
    """
    threshold = _MATTERS * max(scores.values())
    chosen: dict[Unit, tuple[Unit, ...]] = {}
    best: float | None = None
    for unit in sorted(scores, key=lambda unit: -scores[unit]):
        if scores[unit] < threshold or scores[unit] == 0.0:
            break
        if best is not None and scores[unit] < _SAME_ROUND * best:
            break
        pieces = _affordable(game, unit, left / scale)
        if not pieces:
            continue
        chosen[unit] = pieces
        left -= round(scale * sum(_cost(game, piece) for piece in pieces))
        best = scores[unit] if best is None else best
    return chosen


def _cost(game: Game, unit: Unit) -> int:
    return game.cost((unit,))


def _affordable(game: Game, unit: Unit, left: float) -> tuple[Unit, ...]:
    """The pieces of a unit; groups of neighbours where all of them would cost too much; else none.

    Without groups, a long text in one part would stay in one piece.
    """
    pieces = _pieces(game.prompt, unit)
    if sum(_cost(game, piece) for piece in pieces) <= left:
        return pieces
    count = len(pieces) // 2
    while count > 1:
        groups = _grouped(game.prompt, unit, pieces, count)
        if sum(_cost(game, group) for group in groups) <= _FOR_GROUPS * left:
            return groups
        count //= 2
    return ()


def _grouped(prompt: Prompt, unit: Unit, pieces: Sequence[Unit], count: int) -> tuple[Unit, ...]:
    """Neighbouring pieces in so many groups of about as many pieces, each still at the unit's level."""
    bounds = [round(place * len(pieces) / count) for place in range(count + 1)]
    return tuple(join_units(prompt, pieces[start:end], unit.level) for start, end in pairwise(bounds))


def _pieces(prompt: Prompt, unit: Unit) -> tuple[Unit, ...]:
    """The unit at the next level at which it falls into several; none if there is no such level."""
    finer = LEVELS[LEVELS.index(unit.level) + 1 :]
    cuts = (cut_unit(prompt, unit, level) for level in finer)
    return next((pieces for pieces in cuts if len(pieces) > 1), ())


def _place(unit: Unit) -> tuple[int, int]:
    return unit.start_token, unit.end_token
