"""What the model would generate after a prompt, with and without units."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast

import numpy as np
import torch

from gilot_plugin.attribution.builtins import LOGODDS, LOGPROB
from gilot_plugin.attribution.distance.geometry import Labels, VocabularyGeometry
from gilot_plugin.attribution.logprobs import IMPOSSIBLE
from gilot_plugin.attribution.methods import OutcomeMethod
from gilot_plugin.attribution.prediction.answers import Answer, Candidates
from gilot_plugin.attribution.prediction.hypotheses import Hypotheses, beam_search, tokens_fed
from gilot_plugin.attribution.prediction.outcomes import (
    Continuation,
    FixedHypotheses,
    fixed_outcomes,
    regenerated_outcomes,
    rescored_outcomes,
)
from gilot_plugin.attribution.prediction.sequences import AnswerTarget
from gilot_plugin.attribution.prediction.targets import (
    Asked,
    Description,
    Outcomes,
    PromptRows,
    check_positions,
    joined,
)
from gilot_plugin.attribution.prediction.trie import AnswerReading, Prefix, answer_logprobs
from gilot_plugin.attribution.prompt.tokens import locate
from gilot_plugin.attribution.prompt.windows import Window, start_window
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.types import Absent, ExplainedAnswer, Hypothesis, Prompt
from gilot_plugin.backends.protocol import Backend, Load
from gilot_plugin.errors import PromptError


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about a prompt.

    Attributes:
        backend: The model.
        rows: The prompt with and without units.
        recipe: How.
        labels: Text of a token id.
        decode: Text of a hypothesis.
        answer: What the model answered, if its log-probability is asked for.
        find_answer: The same, if nobody asked for it before.
        known: What the model answered, if that is known without asking it.
        window: Where the answer lies in all that the model said; None where it is the start.
    """

    backend: Backend
    rows: PromptRows
    recipe: Recipe
    labels: Labels
    decode: Callable[[Sequence[int]], str]
    answer: Prefix | None
    find_answer: Callable[[], Prefix]
    known: Prefix | None
    window: Window | None = None


class GenerationTarget(ABC):
    """What the model would generate; how hypotheses come about is up to the subclasses.

    Args:
        question: What is asked.
        steps: Outcomes of each prompt.
    """

    answer_measure = LOGPROB

    def __init__(self, question: Question, steps: int) -> None:
        self._backend, self._recipe, self._answer = question.backend, question.recipe, question.answer
        self._rows, self._find_answer, self._decode = question.rows, question.find_answer, question.decode
        self._said, self._window = question.known, question.window
        self.geometry = VocabularyGeometry(
            question.backend, question.recipe.ground_cost, question.labels, steps
        )
        self.outcome_count = self._backend.vocab_size
        self.outcome_bytes = steps * self._backend.vocab_size * 4
        #: Hypotheses of the full prompt with their log-probabilities, once they are known.
        self._known: list[tuple[Continuation, float]] = []

    @property
    @abstractmethod
    def kind(self) -> Hashable:
        """See :attr:`gilot_plugin.attribution.prediction.targets.Target.kind`."""

    @abstractmethod
    def load(self, absent: Absent) -> Load:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.load`."""

    @abstractmethod
    def compute(self, asked: Sequence[Asked]) -> list[Outcomes]:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.compute`."""

    @cached_property
    def answer(self) -> Answer:
        """See :attr:`gilot_plugin.attribution.prediction.targets.Target.answer`; its first J tokens."""
        return Answer(Candidates((self._find_answer() if self._answer is None else self._answer,)))

    @property
    def along(self) -> tuple[OutcomeMethod, ...]:
        """See :attr:`gilot_plugin.attribution.prediction.targets.Target.along`."""
        if self._answer is None:
            return ()
        return (LOGPROB, LOGODDS) if self._recipe.needs_odds else (LOGPROB,)

    def _with_answer(self, logprobs: torch.Tensor, read: AnswerReading | None, rows: slice) -> Outcomes:
        """Outcomes, and how likely the answer is where it was asked for.

        Args:
            logprobs: Of the outcomes.
            read: Answers of a batch.
            rows: The target's own there.
        """
        if self._answer is None or read is None:
            return Outcomes(logprobs)
        return Outcomes(logprobs, *read.of(rows, len(self._answer)))

    def answer_alone(self) -> AnswerTarget:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.answer_alone`."""
        return AnswerTarget(self._backend, self._rows, self.answer)

    def description(self, logprobs: torch.Tensor) -> Description:
        """Hypotheses of the full prompt, likeliest first; known once its outcomes are."""
        weights = np.array([logprob for _, logprob in self._known])
        shares = np.exp(weights - weights.max())
        described = [
            Hypothesis(ids, self._decode(list(ids)), logprob, float(share), ended)
            for ((ids, ended), logprob), share in zip(self._known, shares / shares.sum(), strict=True)
        ]
        by_weight = sorted(described, key=lambda hypothesis: -hypothesis.logprob)
        return Description(hypotheses=tuple(by_weight), answer=self._explained())

    def _explained(self) -> ExplainedAnswer | None:
        """The answer as text, if it is known."""
        if self._window is not None:
            return self._window.described
        if self._said is None:
            return None
        _, tokens = locate(self._decode, self._said)
        return start_window(tokens, len(tokens)).described


class RegeneratedTarget(GenerationTarget):
    """``hypotheses: regenerate``: a beam search for each prompt (GiLOT, section 3.2)."""

    def __init__(self, question: Question) -> None:
        recipe = question.recipe
        self._outcomes: Literal["after", "along"] = "along" if recipe.steps == "mean" else "after"
        super().__init__(question, recipe.max_new_tokens if recipe.steps == "mean" else 1)

    @property
    def kind(self) -> Hashable:
        """See :attr:`gilot_plugin.attribution.prediction.targets.Target.kind`."""
        recipe = self._recipe
        if recipe.absence.rescored_without is not None or not self._backend.shares_prompts:
            return None
        searched = (recipe.num_beams, recipe.max_new_tokens, self._outcomes)
        return (type(self), id(self._backend), *searched, self._answer is None)

    def load(self, absent: Absent) -> Load:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.load`."""
        beams, answer = self._recipe.num_beams, len(self._answer or ())
        room = tokens_fed(beams, self._recipe.max_new_tokens, self._outcomes) + answer
        return self._rows.load(absent, room, max(beams, answer), beams)

    def compute(self, asked: Sequence[Asked]) -> list[Outcomes]:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.compute`."""
        if self._recipe.absence.rescored_without is not None:
            return [self._rescored(absent, odds=odds) for _, absent, odds in asked]
        targets = [cast("RegeneratedTarget", one.target) for one in asked]
        batches = [target._rows.batch(one.absent) for target, one in zip(targets, asked, strict=True)]
        answers = [
            target._answer or () for target, batch in zip(targets, batches, strict=True) for _ in batch.rows
        ]
        recipe = self._recipe
        found = regenerated_outcomes(
            self._backend,
            joined(batches),
            recipe.num_beams,
            recipe.max_new_tokens,
            self._outcomes,
            None if self._answer is None else answers,
            odds=any(one.odds for one in asked),
        )
        outcomes, start = [], 0
        for target, (_, absent, _) in zip(targets, asked, strict=True):
            rows = slice(start, start + len(absent))
            if not absent[0]:
                target._known = _known(found.hypotheses, start)
            outcomes.append(target._with_answer(found.logprobs[rows], found.answers, rows))
            start = rows.stop
        return outcomes

    def _rescored(self, absent: Sequence[Absent], *, odds: bool) -> Outcomes:
        """Outcomes read from a second pass, under an operator that wants one."""
        recipe, search = self._recipe, self._rows.batch(absent)
        score = self._rows.batch(absent, recipe.absence.rescored_without)
        logprobs, found = rescored_outcomes(
            self._backend, search, score, recipe.num_beams, recipe.max_new_tokens
        )
        if not absent[0]:
            self._known = _known(found)
        if self._answer is None:
            return Outcomes(logprobs)
        session = self._backend.prefill(search, len(self._answer))
        read = answer_logprobs(session, [self._answer] * len(absent), logprobs.device, odds=odds)
        return self._with_answer(logprobs, read, slice(0, len(absent)))


class FixedHypothesesTarget(GenerationTarget):
    """``hypotheses: shared`` and ``response``: the same hypotheses after each prompt.

    Args:
        question: What is asked.
        known: Hypotheses of the full prompt and their log-probabilities; None for the answer alone.
    """

    def __init__(self, question: Question, known: list[tuple[Continuation, float]] | None = None) -> None:
        recipe, answer = question.recipe, question.answer
        self._is_answer = known is None
        hypotheses = (
            (Continuation(answer or (), ended=False),)
            if known is None
            else tuple(given for given, _ in known)
        )
        longest = max(len(given.token_ids) for given in hypotheses)
        # What has not ended is all equally long, an answer perhaps shorter than J; after its last token,
        # nothing is known to come.
        last = recipe.max_new_tokens if all(given.ended for given in hypotheses) else longest
        # Position t of the answer is drawn from what follows its first t - 1 tokens. An empty answer was
        # ended at position 1.
        depths = tuple(range(max(1, last))) if recipe.steps == "mean" else (last,)
        self._given = FixedHypotheses(hypotheses, depths, answer)
        super().__init__(question, len(depths))
        self._known = known or []

    @property
    def kind(self) -> Hashable:
        """See :attr:`gilot_plugin.attribution.prediction.targets.Target.kind`."""
        return (type(self), id(self._backend)) if self._backend.shares_prompts else None

    def load(self, absent: Absent) -> Load:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.load`."""
        nodes = len(self._given.trie.prefixes)
        return self._rows.load(absent, nodes, nodes, len(self._given.hypotheses) + 1)

    def compute(self, asked: Sequence[Asked]) -> list[Outcomes]:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.compute`."""
        pairs = [(cast("FixedHypothesesTarget", one.target), one.absent) for one in asked]
        batch = joined([target._rows.batch(absent) for target, absent in pairs])
        given = [target._given for target, absent in pairs for _ in absent]
        odds = any(one.odds for one in asked)
        logprobs, answers = fixed_outcomes(self._backend, batch, given, odds=odds)
        outcomes, start = [], 0
        for target, absent in pairs:
            rows = slice(start, start + len(absent))
            if target._is_answer and not absent[0]:
                continuation = target._given.hypotheses[0]
                read = answers.of(slice(start, start + 1), len(continuation.token_ids)).logprobs
                target._known = [(continuation, max(float(read.sum()), IMPOSSIBLE))]
            outcomes.append(target._with_answer(torch.stack(logprobs[rows]), answers, rows))
            start = rows.stop
        return outcomes


def generation_target(
    backend: Backend,
    prompt: Prompt,
    recipe: Recipe,
    labels: Labels,
    decode: Callable[[Sequence[int]], str],
    answer: Sequence[int] | None = None,
    window: Window | None = None,
) -> GenerationTarget:
    """What the model would generate, see :func:`gilot_plugin.attribution.games.generation_game`."""
    check_positions(backend, recipe.absence)
    _check_window(backend, prompt, recipe, answer, 0 if window is None else window.start)
    asked = recipe.hypotheses == "response" or any(method.needs_answer for method in recipe.methods)
    rows = PromptRows(backend, prompt, recipe)

    def find_answer() -> Prefix:
        return _answer_read(backend, rows, recipe, answer)

    said = find_answer() if asked else None
    known = find_answer() if said is None and answer is not None else said
    question = Question(backend, rows, recipe, labels, decode, said, find_answer, known, window)
    if recipe.hypotheses == "regenerate":
        return RegeneratedTarget(question)
    if recipe.hypotheses == "response":
        return FixedHypothesesTarget(question)
    return FixedHypothesesTarget(question, _known(_searched(backend, rows, recipe, recipe.num_beams)))


def _searched(backend: Backend, rows: PromptRows, recipe: Recipe, num_beams: int) -> Hypotheses:
    """Hypotheses of the full prompt."""
    steps = recipe.max_new_tokens
    session = backend.prefill(rows.batch([()]), tokens_fed(num_beams, steps, "none"))
    return beam_search(session, backend.eos_token_ids, num_beams, steps, "none").hypotheses


def _check_window(
    backend: Backend, prompt: Prompt, recipe: Recipe, answer: Sequence[int] | None, before: int
) -> None:
    ahead = recipe.max_new_tokens
    if recipe.hypotheses == "response" and answer is not None:
        ahead = min(ahead, len(answer))
    # What the last position is drawn from follows the token before it.
    needed = len(prompt.tokens) + (max(0, ahead - 1) if recipe.steps == "mean" else ahead)
    if backend.max_positions is not None and needed > backend.max_positions:
        said = f", the {before} that the model said before what is explained" if before else ""
        raise PromptError(
            f"the prompt's {len(prompt.tokens) - before} tokens{said} and "
            f"max_new_tokens={recipe.max_new_tokens} need {needed} positions, the model has "
            f"{backend.max_positions}: lower max_new_tokens or shorten the prompt"
        )


def _answer_read(backend: Backend, rows: PromptRows, recipe: Recipe, answer: Sequence[int] | None) -> Prefix:
    """The first J tokens of the model's answer."""
    if answer is None:
        (answer,) = _searched(backend, rows, recipe, 1).of_row(0)
    # An answer is text. Were its end part of it, what follows would be the same whatever is absent.
    ends = (place for place, token in enumerate(answer) if token in backend.eos_token_ids)
    return tuple(answer[: min(next(ends, len(answer)), recipe.max_new_tokens)])


def _known(found: Hypotheses, row: int = 0) -> list[tuple[Continuation, float]]:
    """Hypotheses of a row that exist, and their log-probabilities."""
    exists = found.logprobs[row] > float("-inf")
    ended, logprobs = found.ended[row][exists].tolist(), found.logprobs[row][exists].double().tolist()
    continuations = map(Continuation, found.of_row(row), ended)
    return list(zip(continuations, logprobs, strict=True))
