"""From what a game knows to the attribution of its prompt."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch

from gilot_plugin.attribution.builtins import FLIP
from gilot_plugin.attribution.distance.flows import readable_flows, total_flows
from gilot_plugin.attribution.game import Game
from gilot_plugin.attribution.methods import Measurement, MethodContext, PromptMethod
from gilot_plugin.attribution.names import LEAVE_ONE_OUT
from gilot_plugin.attribution.prompt.windows import as_fed
from gilot_plugin.attribution.schemes.protocol import SchemeResult
from gilot_plugin.attribution.types import (
    Attribution,
    CoarseUnit,
    Diagnostics,
    ExplainedAnswer,
    SchemeUse,
    Unit,
)
from gilot_plugin.backends.scorer import Scorer


def assembled(backend: Scorer, game: Game, result: SchemeResult, coarse: Sequence[Unit]) -> Attribution:
    """The attribution of a prompt; methods that are no measures are computed now.

    Args:
        backend: The model.
        game: The game, with its units; the full prompt was read.
        result: What the scheme found.
        coarse: Units that were cut further.
    """
    game_spent = game.spent
    others = _prompt_methods(backend, game)
    every = {**result.scores, **others.scores}
    if others.failures and not every:
        raise next(iter(others.failures.values()))
    rows = [_measurements(game, unit) for unit in game.units]
    moves = [next((one.moves for one in row if one.moves), ()) for row in rows]
    geometry, described = game.target.geometry, game.target.description(game.full)
    bounds = [next((one.interval for one in row if one.interval is not None), None) for row in rows]
    measured = [one for row in rows for one in row]
    name = game.recipe.scheme_name
    scheme = SchemeUse(name, result.coalitions, result.tied, result.left_out, result.interrupted)
    return Attribution(
        prompt=as_fed(game.prompt, game.said),
        units=game.units,
        scores={method.name: every[method.name] for method in game.recipe.methods if method.name in every},
        flows=tuple(readable_flows(row, geometry) for row in moves),
        total_flows=total_flows(moves, geometry),
        coarse_units=tuple(_coarse(game, unit) for unit in coarse),
        hypotheses=described.hypotheses,
        choices=described.choices,
        margin=described.margin,
        answer=described.answer,
        flips=game.flips if FLIP.name in others.scores else None,
        step_scores=_step_scores(game, described.answer),
        intervals=result.intervals,
        scheme=scheme if game.measures and name != LEAVE_ONE_OUT else None,
        interactions=result.interactions,
        diagnostics=Diagnostics(
            outside_support=max((one.outside_support for one in measured), default=0.0),
            transport_gap=max((one.gap for one in measured), default=0.0),
            # Of schemes that do not take every unit away alone, there are none.
            transport_bounds=()
            if None in bounds
            else tuple((bound.lower, bound.upper) for bound in bounds if bound is not None),
            support_size=tuple(max((one.support_size for one in row), default=0) for row in rows),
            model_tokens=game.spent.model_tokens + others.model_tokens,
            batch_size=game.batch_size,
            out_of_memory=game.out_of_memory,
            seconds={
                "model": game_spent.model_seconds,
                "measure": game_spent.measure_seconds,
                **others.seconds,
                # Methods of the prompt run after everything that was counted so far.
                "total": game_spent.seconds + sum(others.seconds.values()),
            },
            recomputed=backend.recomputes_at(len(game.prompt.tokens) + game.recipe.max_new_tokens),
            outcome_entropy=game.full.entropy,
            failed_methods={
                name: f"{type(error).__name__}: {error}" for name, error in others.failures.items()
            },
            transport_left_over=sum(one.left_over for one in measured),
            lds=result.lds,
            held_out=result.held_out,
            told_tokens=_told_tokens(backend) if not described.choices else None,
        ),
    )


def _told_tokens(backend: Scorer) -> int | None:
    """The most tokens of a distribution that the runtime tells of, where it does not tell of all."""
    return None if backend.limits.whole_vocabulary else backend.limits.nucleus_size


def _step_scores(game: Game, answer: ExplainedAnswer | None) -> dict[str, tuple[tuple[float, ...], ...]]:
    """For each measure and unit the score at every position of the answer's window.

    Left out where what was compared are not its positions: with ``steps: last``, and where hypotheses go on
    after the answer's end.
    """
    if answer is None or not game.recipe.step_scores or game.recipe.scheme_name != LEAVE_ONE_OUT:
        return {}
    found: dict[str, tuple[tuple[float, ...], ...]] = {}
    for measure in game.measures:
        of_units = [game.measured((unit,)).get(measure) for unit in game.units]
        rows = tuple(one.positions for one in of_units if one is not None)
        if len(rows) == len(of_units) and all(len(row) == len(answer.window) for row in rows):
            found[measure.name] = rows
    return found if answer.window else {}


class _Others(NamedTuple):
    """What methods that are no measures say.

    Attributes:
        scores: By method.
        failures: Why methods have no scores.
        seconds: By method.
        model_tokens: Tokens that the model read for them beside the game.
    """

    scores: dict[str, tuple[float, ...]]
    failures: dict[str, Exception]
    seconds: dict[str, float]
    model_tokens: int


def _prompt_methods(backend: Scorer, game: Game) -> _Others:
    """Ask the methods of the recipe that are no measures; one that fails takes no other along."""
    context = MethodContext(backend, game, game.recipe.seed)
    scores: dict[str, tuple[float, ...]] = {}
    failures: dict[str, Exception] = {}
    seconds: dict[str, float] = {}
    tokens = backend.model_tokens - game.spent.model_tokens
    for method in game.recipe.methods:
        if isinstance(method, PromptMethod):
            started = time.perf_counter()
            try:
                scores[method.name] = _prompt_scores(method, context)
            except (torch.OutOfMemoryError, MemoryError):
                raise
            except Exception as error:
                failures[method.name] = error
            seconds[method.name] = time.perf_counter() - started
    return _Others(scores, failures, seconds, backend.model_tokens - game.spent.model_tokens - tokens)


def _prompt_scores(method: PromptMethod, context: MethodContext) -> tuple[float, ...]:
    """What a method says of each unit.

    Raises:
        ValueError: It has not one finite number for each.
    """
    scores = tuple(float(value) for value in method.score(context))
    if len(scores) != len(context.units):
        raise ValueError(f"method {method.name!r} gave {len(scores)} scores for {len(context.units)} units")
    for unit, score in zip(context.units, scores, strict=True):
        if not math.isfinite(score):
            raise ValueError(f"method {method.name!r} gave {score} for the unit {unit.text!r}")
    return scores


def _measurements(game: Game, unit: Unit) -> list[Measurement]:
    """What the game's measures say of the absence of a unit alone, if that was read."""
    known = game.measured((unit,))
    return [known[measure] for measure in game.measures if measure in known]


def _coarse(game: Game, unit: Unit) -> CoarseUnit:
    known = game.measured((unit,))
    return CoarseUnit(unit, {measure.name: known[measure].score for measure in game.measures})
