"""What is explained of a prompt: anything that gives its outcome distributions with and without units."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import torch

from gilot_plugin.attribution.distance.geometry import Geometry
from gilot_plugin.attribution.methods import OutcomeMethod
from gilot_plugin.attribution.prediction.answers import Answer
from gilot_plugin.attribution.prompt.absence import AbsenceContext, AbsenceOperator
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.types import Absent, Choice, ExplainedAnswer, Hypothesis, Prompt
from gilot_plugin.backends.protocol import Backend, Batch, KnownPrompt, Load, Row
from gilot_plugin.errors import UnsupportedModelError


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Outcome distributions of a batch of prompts.

    Attributes:
        logprobs: ``[rows, steps, outcomes]``, log P(v | x) in nats, normalised.
        answer_logprobs: ``[rows, positions]``, log-probability of each token of the model's own answer, in
            nats; of choices, that of the preferred one, at the one position that there is. None if not asked
            for.
        answer_logodds: ``[rows, positions]``, log-odds of the same against everything else, in nats; None if
            not asked for.
    """

    logprobs: torch.Tensor
    answer_logprobs: torch.Tensor | None = None
    answer_logodds: torch.Tensor | None = None

    def after(self, row: int) -> Outcomes:
        """Those of the rows from one on."""
        answers, odds = self.answer_logprobs, self.answer_logodds
        return Outcomes(
            self.logprobs[row:],
            None if answers is None else answers[row:],
            None if odds is None else odds[row:],
        )


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


class Target(Protocol):
    """Gives the outcome distributions of a prompt with and without units."""

    @property
    def geometry(self) -> Geometry:
        """Where the outcomes lie."""
        ...

    @property
    def kind(self) -> Hashable:
        """Targets of equal kinds are computed together; None for one that is computed alone."""
        ...

    @property
    def outcome_count(self) -> int:
        """Number of outcomes."""
        ...

    @property
    def outcome_bytes(self) -> int:
        """Memory that the outcomes of one prompt take, as they are returned."""
        ...

    def load(self, absent: Absent) -> Load:
        """What the model reads to find the outcome without the units."""
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

    def description(self, logprobs: torch.Tensor) -> Description:
        """What an attribution says of the target.

        Args:
            logprobs: The outcome of the full prompt, ``[steps, outcomes]``.
        """
        ...

    def compute(self, asked: Sequence[Asked]) -> list[Outcomes]:
        """Outcomes of this target, and of others of its kind, in the order in which they are asked for."""
        ...


class Asked(NamedTuple):
    """Outcomes that are wanted of a prompt.

    Attributes:
        target: Gives them.
        absent: For each outcome, the units that are taken away.
        odds: Whether log-odds of the answer are wanted, too.
    """

    target: Target
    absent: Sequence[Absent]
    odds: bool = False


def outcomes(target: Target, absent: Sequence[Absent]) -> Outcomes:
    """Outcomes of one target."""
    (found,) = target.compute([Asked(target, absent)])
    return found


class PromptRows:
    """A prompt without units, as the model is fed it.

    Args:
        backend: The model.
        prompt: The full prompt.
        recipe: Says how units are taken away.
    """

    def __init__(self, backend: Backend, prompt: Prompt, recipe: Recipe) -> None:
        self._backend, self._recipe = backend, recipe
        self._full = Row(prompt.token_ids)

    @cached_property
    def _known(self) -> KnownPrompt:
        return self._backend.read_prompt(self._full)

    def batch(
        self,
        absent: Sequence[Absent],
        operator: Callable[[Sequence[int], Absent, AbsenceContext], Row] | None = None,
    ) -> Batch:
        """One row for each, by the recipe's operator or a given one."""
        rows = [self.without(units, operator) for units in absent]
        return Batch(rows, [self._known] * len(rows))

    def load(self, absent: Absent, room: int, together: int, beams: int) -> Load:
        """What the model reads of the prompt without the units, and as given after it."""
        row = self.without(absent)
        if not self._backend.shares_prompts:
            return Load(0, len(row.token_ids), room, together, beams)
        own = len(row.token_ids) - row.begins_like(self._full)
        return Load(len(self._full.token_ids) - 1, own, room, together, beams)

    def without(
        self,
        absent: Absent,
        operator: Callable[[Sequence[int], Absent, AbsenceContext], Row] | None = None,
    ) -> Row:
        """The prompt without the units, by the recipe's operator or a given one; nothing is read."""
        if not absent:
            return self._full
        take_away = operator or self._recipe.absence.without
        return take_away(self._full.token_ids, absent, self._recipe.absence_context)


def joined(batches: Sequence[Batch]) -> Batch:
    """Several batches as one."""
    return Batch(
        [row for batch in batches for row in batch.rows],
        [known for batch in batches for known in batch.known],
    )


def check_positions(backend: Backend, operator: AbsenceOperator) -> None:
    """Refuse operators that mask tokens or move positions where the model does not take that.

    Raises:
        UnsupportedModelError: It does not.
    """
    if operator.needs_positions and backend.refuses_positions is not None:
        raise UnsupportedModelError(
            f"absence={operator.name!r}: this model cannot hide tokens while the others keep their "
            f"positions: {backend.refuses_positions}; allowed are 'delete' and 'replace'"
        )
