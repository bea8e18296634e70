"""The game of a prompt: some of its units are absent, and each such coalition is worth so much."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from gilot_plugin.attribution.builtins import LOGODDS, LOGPROB
from gilot_plugin.attribution.execution import Execution
from gilot_plugin.attribution.measuring import Measurer, Progress, Subject
from gilot_plugin.attribution.methods import Measurement, OutcomeMethod
from gilot_plugin.attribution.prediction.answers import Answer
from gilot_plugin.attribution.prediction.flips import Verdict, answered_anew
from gilot_plugin.attribution.prediction.targets import Target
from gilot_plugin.attribution.prompt.units import Refinement
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.types import Absent, Flips, Prompt, Unit
from gilot_plugin.backends.scorer import ReadTokens, Reference, Scorer
from gilot_plugin.backends.wanted import Want

FloatArray = NDArray[np.float64]

#: Absent units as a key: where they are, in the order of the prompt.
_Coalition = tuple[tuple[int, int], ...]

#: Where some measures of a game are taken, and of which coalitions.
_Part = tuple[Subject, Sequence[Absent]]

_ReturnT = TypeVar("_ReturnT")


@dataclass(frozen=True, eq=False)
class Values:
    """What coalitions are worth.

    Attributes:
        positions: ``[n, positions]`` for each measure, by its name, in its own unit; measures of the task's
            choices have one position.
        summed: Names of those that say something of the answer as a whole, of which positions are parts.
    """

    positions: Mapping[str, FloatArray]
    summed: frozenset[str] = frozenset()

    def means(self, measure: str) -> list[float]:
        """Mean over the positions, for each of the ``n`` coalitions: v_m(S); the sum where it is one."""
        numbers = self.positions[measure]
        over = numbers.sum(axis=1) if measure in self.summed else numbers.mean(axis=1)
        found: list[float] = over.tolist()
        return found


#: A routine that asks a game for coalitions as often as it likes, by ``values = yield coalitions``, and
#: returns what it finds. Whoever runs several of them reads what they ask for together.
Asking: TypeAlias = Generator[Sequence[Absent], Values, _ReturnT]


class Spent(NamedTuple):
    """What a game has cost so far.

    Attributes:
        coalitions: Prompts without units that were read, each once.
        model_tokens: Token positions that went through the model, padding excluded; its share of batches
            that games have in common.
        seconds: Wall-clock seconds, its share of common batches.
        model_seconds: Those spent in the model.
        measure_seconds: Those spent on distances, summed over threads.
    """

    coalitions: int
    model_tokens: int
    seconds: float
    model_seconds: float
    measure_seconds: float


class Game:
    """Says what coalitions of absent units are worth, and reads each of them once, whoever asks.

    The value of a coalition S under a measure m is how far the outcome without S is from that with all
    units, on average over the window's positions; v_m(empty) = 0. What was read is kept, also for other
    measures that come of the same reading: with the distances, how likely the model's own answer is.

    >>> game = generation_game(backend, prompt, make_units(prompt, "word"), recipe, str, str)
    >>> [unit.text for unit in game.units]
    ['A', ' bird', ' can', ' fly']
    >>> alone = game.values(np.eye(4, dtype=bool))
    >>> {name: found.shape for name, found in alone.positions.items()}
    {'ot': (4, 2), 'kl': (4, 2)}
    >>> pairs = game.values([(), game.units[:2], (game.units[3],)], [KL])
    >>> pairs.means("kl")[0], pairs.means("kl")[2] == alone.means("kl")[3]
    (0.0, True)
    >>> game.spent.coalitions
    5

    Args:
        backend: The model.
        prompt: The prompt as fed.
        units: The units, or how to find them by asking the game.
        recipe: What is measured, and how.
        make_target: Makes what is explained; the model may be asked.
        execution: How the work is carried out.
        progress: Told of coalitions that were read for the scheme.
        said: How many tokens at the end of the prompt the model itself has said.
        verdict: What the metric sees of answers, for :attr:`flips`.

    Attributes:
        prompt: As given.
        said: As given.
        verdict: As given.
        units: The units; empty until they are found.
        refinement: How they are found; None where they were given.
        recipe: As given.
        execution: As given.
        target: What is explained.
        measures: What the recipe measures of each coalition.
        seconds: Wall-clock seconds that it took so far, of common batches its share.
    """

    def __init__(
        self,
        backend: Scorer,
        prompt: Prompt,
        units: Sequence[Unit] | Refinement,
        recipe: Recipe,
        make_target: Callable[[], Target],
        execution: Execution,
        progress: Progress | None = None,
        *,
        said: int = 0,
        verdict: Verdict | None = None,
    ) -> None:
        self.said, self.verdict = said, verdict
        self._backend, self.prompt, self.recipe, self.execution = backend, prompt, recipe, execution
        self.refinement = units if isinstance(units, Refinement) else None
        self.units: tuple[Unit, ...] = () if isinstance(units, Refinement) else tuple(units)
        self.measures = tuple(method for method in recipe.methods if isinstance(method, OutcomeMethod))
        self._progress = progress
        self._kept: dict[_Coalition, dict[OutcomeMethod, Measurement]] = {}
        self._subjects: dict[tuple[Target, tuple[OutcomeMethod, ...]], Subject] = {}
        started, tokens = time.perf_counter(), backend.model_tokens
        self.target = make_target()
        self._tokens = backend.model_tokens - tokens
        self.seconds = self._making_seconds = time.perf_counter() - started
        # What finds out about the full prompt beforehand reads what rows have in common with it.
        self._unread = 0 if self._tokens else self._reads(()).common

    def values(
        self,
        absent: Sequence[Absent] | NDArray[np.bool_] | torch.Tensor,
        measures: Sequence[OutcomeMethod] | None = None,
    ) -> Values:
        """What coalitions are worth; those that are not known yet are read in full batches.

        Args:
            absent: The units that are absent: ``[n]`` tuples of them, or ``[n, units]``, true where a unit
                of :attr:`units` is absent. Any units of the prompt that do not overlap make a coalition.
            measures: What to measure; None for :attr:`measures`.

        Returns:
            ``[n, positions]`` for each measure.

        Raises:
            ValueError: An array has not one column for each unit.
            NonFiniteLogitsError: The model returned NaN.
            BudgetError: The memory budget is too small.
        """
        coalitions, asked = self._coalitions(absent), self.measures if measures is None else tuple(measures)
        _read([(self, part) for part in self._unknown(coalitions, asked)])
        return self._known(coalitions, asked)

    @property
    def full(self) -> Reference:
        """The outcome of the full prompt, which is read if nothing was yet."""
        if self._reference(self.target) is None:
            _read([(self, part) for part in self._unknown((), full=True)])
        compared = (one.reference for one in self._subjects.values() if one.target is self.target)
        return next(one for one in compared if one is not None)

    @property
    def answer(self) -> Answer:
        """What the model answers to the full prompt.

        Where nothing asked for it before, its greedy continuation is searched.
        """
        _ = self.full
        return self.target.answer

    @cached_property
    def flips(self) -> Flips | None:
        """What comes out when the model answers anew without each unit; None where nobody can say."""
        if self.verdict is None:
            return None
        return answered_anew(
            self._backend, self.prompt, self.said, self.units, self.recipe, self.execution, self.verdict
        )

    def measured(self, absent: Absent) -> Mapping[OutcomeMethod, Measurement]:
        """All that is known of a coalition, by measure; nothing is read."""
        return self._kept.get(_key(absent), {})

    def cost(self, absent: Absent) -> int:
        """About how many tokens the model will read for a coalition; with the full prompt, what all share."""
        return self._reads(absent).own + (0 if absent else self._unread)

    @property
    def width(self) -> int:
        """About how many tokens its units bring into a pass, as far as they are known."""
        return sum(max(1, self._reads(absent).together) for absent in ((), *((one,) for one in self.units)))

    @property
    def spent(self) -> Spent:
        """What it has cost so far."""
        subjects = self._subjects.values()
        return Spent(
            len(self._kept),
            self._tokens + sum(one.model_tokens for one in subjects),
            self.seconds,
            self._making_seconds + sum(one.model_seconds for one in subjects),
            sum(one.measure_seconds for one in subjects),
        )

    @property
    def batch_size(self) -> int:
        """Prompts of the largest batch that it was part of."""
        return max((one.batch_size for one in self._subjects.values()), default=0)

    @property
    def out_of_memory(self) -> int:
        """How often the device ran out of memory meanwhile."""
        return max((one.out_of_memory for one in self._subjects.values()), default=0)

    def anew(self, batch_size: int) -> Game:
        """The same game with nothing read, in batches of another size."""
        execution = self.execution._replace(batch_size=batch_size)
        return Game(
            self._backend,
            self.prompt,
            self.units,
            self.recipe,
            lambda: self.target,
            execution,
            said=self.said,
            verdict=self.verdict,
        )

    @cached_property
    def _answer_target(self) -> Target:
        """Reads the answer and no outcomes."""
        return self.target.answer_alone()

    def _coalitions(self, absent: Sequence[Absent] | NDArray[np.bool_] | torch.Tensor) -> tuple[Absent, ...]:
        if isinstance(absent, Sequence):
            return tuple(absent)
        if absent.shape[1:] != (len(self.units),):
            raise ValueError(
                f"coalitions of {len(self.units)} units are [n, {len(self.units)}], not {[*absent.shape]}"
            )
        return tuple(tuple(compress(self.units, row)) for row in absent.tolist())

    def _unknown(
        self,
        coalitions: Sequence[Absent],
        measures: tuple[OutcomeMethod, ...] | None = None,
        *,
        full: bool = False,
    ) -> list[_Part]:
        """What has to be read.

        Args:
            coalitions: What is asked for.
            measures: What is to be known of them; None for :attr:`measures`.
            full: Whether the full prompt's outcome is wanted, too, and progress told: as schemes want it.
        """
        asked = self.measures if measures is None else measures
        wanted = {
            _key(absent): absent
            for absent in coalitions
            if absent and not self.measured(absent).keys() >= set(asked)
        }
        # Rows of about the same length go together; the longest first: if memory does not suffice, that is
        # known at once.
        missing = sorted(wanted.values(), key=self.cost, reverse=True)
        of_answer = bool(asked) and {LOGPROB, LOGODDS} >= set(asked)
        answer_alone = of_answer and self.target.answer_measure == LOGPROB
        parts: list[_Part] = []
        if full and self._reference(self.target) is None and (answer_alone or not missing):
            parts.append((self._subject(self.target, ()), []))
        if missing:
            target = self._answer_target if answer_alone else self.target
            along = [measure for measure in target.along if measure not in asked]
            parts.append((self._subject(target, (*asked, *along)), missing))
        for subject, _ in parts:
            subject.progress = self._progress if full else None
        return parts

    def _known(self, coalitions: Sequence[Absent], measures: Sequence[OutcomeMethod]) -> Values:
        """What coalitions are worth, once everything was read."""
        rows = [self.measured(absent) for absent in coalitions]
        return Values(
            {measure.name: _positions(rows, measure) for measure in measures},
            frozenset(measure.name for measure in measures if measure.summed),
        )

    def _reference(self, target: Target) -> Reference | None:
        """What the model says to the full prompt when it is asked for a target, if that was read."""
        known = {one.target: one.known for one in self._subjects.values() if one.known is not None}
        if target not in known and LOGPROB in self.target.along:
            # How likely the answer is was read with the outcome.
            return known.get(self.target)
        return known.get(target)

    def _subject(self, target: Target, measures: tuple[OutcomeMethod, ...]) -> Subject:
        """Where measures of a target are taken."""
        if (target, measures) not in self._subjects:
            self._subjects[target, measures] = Subject(target, measures, self.recipe)
        found, known = self._subjects[target, measures], self._reference(target)
        if known is not None and found.query(()).want.logodds and known.token_logodds is None:
            # Whoever read the full prompt did not ask for them: it is read again.
            known = None
        if known is not None:
            found.learn(known)
        return found

    def _reads(self, absent: Absent) -> ReadTokens:
        """About what the model reads of the prompt without the units."""
        query = self.target.query([absent], Want())
        return self._backend.reads(query, query.rows[0])


def read_together(wanted: Mapping[Game, Sequence[Absent]]) -> dict[Game, Values | Exception]:
    """Read coalitions of several games, and their full prompts, in batches that they share.

    Args:
        wanted: For each game, the coalitions; the games have the same execution and solver.

    Returns:
        What they are worth by the games' measures, or the error that a game has met.
    """
    try:
        _read([(game, part) for game, absent in wanted.items() for part in game._unknown(absent, full=True)])
    except Exception as error:
        if len(wanted) == 1:
            return dict.fromkeys(wanted, error)
        # Each by itself, so that an error stays with its prompt.
        return {
            game: found for game, absent in wanted.items() for found in read_together({game: absent}).values()
        }
    return {game: game._known(absent, game.measures) for game, absent in wanted.items()}


def _read(parts: Sequence[tuple[Game, _Part]]) -> None:
    """Read parts of games in common batches, and keep what was measured."""
    if not parts:
        return
    started = time.perf_counter()
    first, _ = parts[0]
    found = Measurer(first._backend, first.recipe.solver, first.execution).measure(
        [part for _, part in parts]
    )
    seconds, total = time.perf_counter() - started, sum(1 + len(absent) for _, (_, absent) in parts)
    for (game, (subject, absent)), measured in zip(parts, found, strict=True):
        game.seconds += seconds * (1 + len(absent)) / total
        for units, of_units in zip(absent, measured, strict=True):
            game._kept.setdefault(_key(units), {}).update(zip(subject.distances, of_units, strict=True))


def _key(absent: Absent) -> _Coalition:
    return tuple(sorted((unit.start_token, unit.end_token) for unit in absent))


def _positions(rows: Sequence[Mapping[OutcomeMethod, Measurement]], measure: OutcomeMethod) -> FloatArray:
    """``[n, positions]``, 0 for the full prompt."""
    found = [(row[measure].positions or (row[measure].score,)) if row else None for row in rows]
    count = next((len(one) for one in found if one is not None), 1)
    nothing = (0.0,) * count
    return np.array([nothing if one is None else one for one in found]).reshape(len(rows), count)
