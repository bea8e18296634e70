"""What is explained of a prompt: what is asked of the model, and what its answers say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gilot_plugin.attribution.distance.geometry import Geometry
from gilot_plugin.attribution.methods import OutcomeMethod
from gilot_plugin.attribution.prediction.answers import Answer
from gilot_plugin.attribution.prompt.absence import AbsenceContext, AbsenceOperator
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.types import Absent, Choice, ExplainedAnswer, Hypothesis, Prompt
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scorer import Outcomes, Query, Reference, Scorer
from gilot_plugin.backends.wanted import Want
from gilot_plugin.errors import UnsupportedModelError

FloatArray = NDArray[np.float64]


class Description(NamedTuple):
    """What was explained, see :class:`gilot_plugin.attribution.types.Attribution`.

    Attributes:
        hypotheses: Of generated answers.
        choices: Of the task.
        margin: Of the right choices.
        answer: What the model said, where that is known and no choice.
    """

    hypotheses: tuple[Hypothesis, ...] = ()
    choices: tuple[Choice, ...] = ()
    margin: float | None = None
    answer: ExplainedAnswer | None = None


class AnswerChange(NamedTuple):
    """How much less likely the answer is without units.

    Attributes:
        logprobs: By how much the log-probabilities of its tokens fell, in nats, ``[rows, positions]``.
        logodds: The same of their log-odds; None if they were not asked for.
        directions: Sign of the change in log-odds of what was said at each position of the outcome, ``[rows,
            positions]``: 1 where they fell. None as before.
    """

    logprobs: FloatArray
    logodds: FloatArray | None
    directions: FloatArray | None


class Target(Protocol):
    """What is explained."""

    @property
    def geometry(self) -> Geometry:
        """Where the outcomes lie."""
        ...

    @property
    def outcome_count(self) -> int:
        """Number of outcomes."""
        ...

    @property
    def answer(self) -> Answer:
        """What the model answers to the full prompt, whose outcomes were computed."""
        ...

    @property
    def answer_measure(self) -> OutcomeMethod:
        """What methods without an outcome distribution explain: the drop in the answer's log-probability.

        Among the choices, where there are any.
        """
        ...

    @property
    def along(self) -> tuple[OutcomeMethod, ...]:
        """Measures of the answer that come of every reading of the outcomes, whatever else is measured."""
        ...

    def answer_alone(self) -> Target:
        """What reads the answer's log-probability and no outcomes."""
        ...

    def query(self, absent: Sequence[Absent], want: Want, known: Reference | None = None) -> Query:
        """What is asked of the model.

        Args:
            absent: For each row, the units that are taken away.
            want: What is measured of the outcomes.
            known: What the model has said to the full prompt, if it was asked.
        """
        ...

    def reference(self, known: Reference, want: Want) -> Reference:
        """What outcomes are compared with.

        Args:
            known: What the model says to the full prompt.
            want: What is measured of them.
        """
        ...

    def outcomes(self, found: Outcomes, reference: Reference, want: Want) -> Outcomes:
        """Outcomes of rows.

        Args:
            found: What the model says to them.
            reference: What they are compared with.
            want: What is measured of them.
        """
        ...

    def answer_change(self, found: Outcomes, known: Reference, positions: int) -> AnswerChange:
        """How much less likely the answer is after rows.

        Args:
            found: What the model says to them.
            known: What it says to the full prompt.
            positions: Of the outcome.
        """
        ...

    def description(self, reference: Reference) -> Description:
        """What an attribution says of the target, whose outcomes are compared with the reference."""
        ...


class PromptRows:
    """A prompt without units, as the model is fed it.

    Args:
        prompt: The full prompt.
        recipe: Says how units are taken away.

    Attributes:
        full: The full prompt as fed.
    """

    def __init__(self, prompt: Prompt, recipe: Recipe) -> None:
        self._recipe = recipe
        self.full = Row(prompt.token_ids)

    def without(
        self,
        absent: Absent,
        operator: Callable[[Sequence[int], Absent, AbsenceContext], Row] | None = None,
    ) -> Row:
        """The prompt without the units, by the recipe's operator or a given one."""
        if not absent:
            return self.full
        take_away = operator or self._recipe.absence.without
        return take_away(self.full.token_ids, absent, self._recipe.absence_context)


def check_positions(backend: Scorer, operator: AbsenceOperator) -> None:
    """Refuse operators that mask tokens or move positions where the model does not take that.

    Raises:
        UnsupportedModelError: It does not.
    """
    if operator.needs_positions and backend.refuses_positions is not None:
        raise UnsupportedModelError(
            f"absence={operator.name!r}: this model cannot hide tokens while the others keep their "
            f"positions: {backend.refuses_positions}; allowed are 'delete' and 'replace'"
        )
