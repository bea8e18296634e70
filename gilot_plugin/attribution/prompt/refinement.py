"""Adaptive units: coarse ones first, then the pieces of those that matter, as far as a budget goes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gilot_plugin.attribution.prompt.units import cut_unit, join_units, make_units
from gilot_plugin.attribution.types import Prompt, Unit

#: From coarse to fine.
LEVELS = ("segment", "line", "sentence", "word")

#: A unit is cut further if its score is at least this share of the largest so far.
_MATTERS = 0.1

#: Units whose scores are at least this share of the best candidate's are cut in the same round.
_SAME_ROUND = 0.5

#: Share of what is left of the budget that groups of pieces may take; the rest is for the pieces of the best.
_FOR_GROUPS = 0.5


@dataclass(frozen=True, slots=True)
class Refinement:
    """The setting ``units: auto``.

    Attributes:
        scope: Part of the prompt whose units are taken away.
        budget: Tokens that the model may read for one prompt. The coarsest units are always measured.
    """

    scope: str
    budget: int


@dataclass(frozen=True, slots=True)
class Refined:
    """What was measured in the end.

    Attributes:
        units: Units that were not cut further, in prompt order.
        coarse: Units that were.
    """

    units: tuple[Unit, ...]
    coarse: tuple[Unit, ...]


def refine(
    prompt: Prompt,
    refinement: Refinement,
    estimate: Callable[[Unit | None], int],
    spent: Callable[[], int],
) -> Generator[tuple[Unit, ...], Sequence[float], Refined]:
    """Cut the prompt adaptively.

    Args:
        prompt: The prompt as fed.
        refinement: Scope and budget.
        estimate: About how many tokens the model will read to measure a unit, or (None) the full prompt. Only
            proportions matter: the scale is corrected by what was really spent.
        spent: How many tokens the model has read so far.

    Yields:
        Units to measure, once a round; their scores are to be sent back. With the first ones the full prompt
        is read, too.

    Returns:
        The units; every token in scope is in exactly one of ``units``.

    Raises:
        PromptError: Nothing is in scope.
    """
    estimated, spent_before = estimate(None), spent()

    def scored(units: Sequence[Unit]) -> Generator[tuple[Unit, ...], Sequence[float], dict[Unit, float]]:
        nonlocal estimated
        estimated += sum(map(estimate, units))
        found = yield tuple(units)
        return dict(zip(units, map(abs, found), strict=True))

    scores = yield from scored(make_units(prompt, LEVELS[0], refinement.scope))
    coarse: list[Unit] = []
    while True:
        threshold = _MATTERS * max(scores.values())
        left = refinement.budget - spent()
        scale = (spent() - spent_before) / estimated
        chosen: dict[Unit, tuple[Unit, ...]] = {}
        best: float | None = None
        for unit in sorted(scores, key=lambda unit: -scores[unit]):
            if scores[unit] < threshold or scores[unit] == 0.0:
                break
            if best is not None and scores[unit] < _SAME_ROUND * best:
                break
            pieces = _affordable(prompt, unit, estimate, left / scale)
            if not pieces:
                continue
            chosen[unit] = pieces
            left -= round(scale * sum(map(estimate, pieces)))
            best = scores[unit] if best is None else best
        if not chosen:
            break
        found = yield from scored([piece for pieces in chosen.values() for piece in pieces])
        scores = {unit: score for unit, score in scores.items() if unit not in chosen} | found
        coarse.extend(chosen)
    return Refined(tuple(sorted(scores, key=_place)), tuple(sorted(coarse, key=_place)))


def _affordable(prompt: Prompt, unit: Unit, estimate: Callable[[Unit], int], left: float) -> tuple[Unit, ...]:
    """The pieces of a unit; groups of neighbours where all of them would cost too much; else none.

    Without groups, a long text in one part would stay in one piece.
    """
    pieces = _pieces(prompt, unit)
    if sum(map(estimate, pieces)) <= left:
        return pieces
    count = len(pieces) // 2
    while count > 1:
        groups = _grouped(prompt, unit, pieces, count)
        if sum(map(estimate, groups)) <= _FOR_GROUPS * left:
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
