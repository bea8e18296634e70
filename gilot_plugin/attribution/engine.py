"""Prompts in, attributions out: plan, score, measure, assemble.

A prompt's way from :func:`gilot_plugin.api.attribute` to its scores::

    settings, text        1  make_recipe           what is measured, and how (gilot_plugin.resolve)
        |                 2  make_prompt           the tokens as fed, with their texts and segments
        |                 3  unit_plan             the units, or how to find them
        v                 4  generation_game       what is explained: the target, its answer and hypotheses
    game                  5  attribute_together    plays the games, several at once
        |   ^             6  refine, scheme        ask for coalitions of absent units, as often as they like
        |   | values      7  read_together         whatever no one has asked before, for all games
        v   |             8  target.query          coalitions -> rows of token ids, hypotheses after them
    rows                  9  Scorer.score          rows -> the model -> nuclei, tails, reductions
        |                10  Measurer.measure      transport beside the model -> measurements at each position
        v                11  scheme                values -> scores, intervals, pairs
    attribution          12  assembled             scores, flows, bounds, what it cost
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from gilot_plugin.attribution.assembly import assembled
from gilot_plugin.attribution.game import Asking, Game, Values, read_together
from gilot_plugin.attribution.gaps import with_gaps
from gilot_plugin.attribution.prompt.refinement import Refined, refine
from gilot_plugin.attribution.schemes.protocol import Interrupted, SchemeResult
from gilot_plugin.attribution.types import Absent, Attribution
from gilot_plugin.backends.scorer import Scorer
from gilot_plugin.errors import NonFiniteLogitsError


def attribute(backend: Scorer, game: Game) -> Attribution:
    """Explain one prompt.

    Raises:
        PromptError: Nothing is in scope.
        NonFiniteLogitsError: The model returned NaN.
        BudgetError: The memory budget is too small.
    """
    ((_, found),) = attribute_together(backend, [game])
    if isinstance(found, Exception):
        raise found
    return found


def attribute_together(
    backend: Scorer, games: Sequence[Game]
) -> Iterator[tuple[Game, Attribution | Exception]]:
    """Explain several prompts at once: what they ask for goes through the model together, round by round.

    Args:
        backend: The model.
        games: One a prompt; they have the same execution and solver, which are taken from the first.

    Yields:
        Each game with its attribution, or with the error that ended it, as soon as it is known; the others go
        on.
    """
    under_way = {game: _attribution(backend, game) for game in games}
    answers: dict[Game, Values | Exception | None] = dict.fromkeys(games)
    gaps: dict[Game, NonFiniteLogitsError] = {}
    while answers:
        asked: dict[Game, Sequence[Absent]] = {}
        for game, answer in answers.items():
            started = time.perf_counter()
            end: Attribution | Exception | None = None
            try:
                if isinstance(answer, Exception):
                    raise answer
                asking = under_way[game]
                asked[game] = next(asking) if answer is None else asking.send(answer)
            except StopIteration as stop:
                end = stop.value if game not in gaps else _without_gaps(stop.value, gaps[game])
            except Exception as error:
                end = error
            game.seconds += time.perf_counter() - started
            if end is not None:
                yield game, end
        try:
            answers = dict(_read(asked, gaps))
        except KeyboardInterrupt:
            yield from _known_so_far({game: under_way[game] for game in asked})
            raise


def _read(
    asked: Mapping[Game, Sequence[Absent]], gaps: dict[Game, NonFiniteLogitsError]
) -> Iterator[tuple[Game, Values | Exception]]:
    """Values of what is asked for; games some of whose values are not finite are noted with the error."""
    for game, answer in read_together(asked).items():
        if isinstance(answer, NonFiniteLogitsError):
            gaps[game] = answer
            try:
                answer = with_gaps(game, asked[game])
            except Exception as error:
                answer = error
        yield game, answer


def _without_gaps(found: Attribution, error: NonFiniteLogitsError) -> Attribution | Exception:
    """The attribution, unless a score is missing in it for that error."""
    scores = chain.from_iterable(found.scores.values())
    return found if all(map(math.isfinite, scores)) else error


def _known_so_far(
    under_way: Mapping[Game, Asking[Attribution]],
) -> Iterator[tuple[Game, Attribution]]:
    """Games whose scheme can say something before it is done."""
    for game, asking in under_way.items():
        try:
            asking.throw(Interrupted())
        except StopIteration as stop:
            yield game, stop.value
        except Exception:  # it cannot, and nobody waits for it
            continue


def _attribution(backend: Scorer, game: Game) -> Asking[Attribution]:
    """Explain the prompt of a game."""
    found = Refined(game.units, ())
    if game.refinement is not None:
        found = yield from refine(game, game.refinement)
        game.units = found.units
    if game.measures:
        result = yield from game.recipe.scheme(game)
    else:
        # Only what the model says to the full prompt is of interest.
        yield ()
        result = SchemeResult({})
    return assembled(backend, game, result, found.coarse)
