"""What the model would generate after a prompt, with and without units."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gilot_plugin.attribution.geometry import Labels, VocabularyGeometry
from gilot_plugin.attribution.hypotheses import Hypotheses, beam_search
from gilot_plugin.attribution.logprobs import IMPOSSIBLE
from gilot_plugin.attribution.methods import Distance
from gilot_plugin.attribution.outcomes import (
    Continuation,
    regenerated_outcomes,
    rescored_outcomes,
    shared_outcomes,
)
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.targets import LOGIT_COPIES, Outcomes, Rows, check_positions
from gilot_plugin.attribution.trie import Prefix, node_count, sequence_logprobs
from gilot_plugin.attribution.types import Hypothesis, Prompt, Unit
from gilot_plugin.backends.protocol import Backend
from gilot_plugin.errors import PromptError


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about a prompt.

    Attributes:
        backend: The model.
        prompt: The prompt as fed.
        recipe: How.
        labels: Text of a token id.
        answer: What the model answered, if its log-probability is asked for.
    """

    backend: Backend
    prompt: Prompt
    recipe: Recipe
    labels: Labels
    answer: Prefix | None


class GenerationTarget(ABC):
    """What the model would generate; how hypotheses come about is up to the subclasses.

    Args:
        question: What is asked.
        beams: Continuations of a prompt that the model reads at once.
        kept: Distributions over the vocabulary of a prompt that are kept beside those.
    """

    gold: tuple[int, ...] = ()

    def __init__(self, question: Question, beams: int, kept: int) -> None:
        self._backend, self._recipe, self._answer = question.backend, question.recipe, question.answer
        self._rows = Rows(question.prompt, question.recipe)
        self.geometry = VocabularyGeometry(question.backend, question.labels)
        longest = len(question.prompt.tokens) + self._recipe.max_new_tokens
        kept_bytes = LOGIT_COPIES * kept * self._backend.vocab_size * 4
        self.row_bytes = self._backend.row_bytes(longest, beams) + kept_bytes
        #: Hypotheses of the full prompt with their log-probabilities, once they are known.
        self._known: list[tuple[Continuation, float]] = []

    @property
    @abstractmethod
    def _continuation_tokens(self) -> int:
        """Tokens that the model reads after each prompt."""

    @abstractmethod
    def outcomes(self, absent: Sequence[Unit | None]) -> Outcomes:
        """See :meth:`gilot_plugin.attribution.targets.Target.outcomes`."""

    def model_tokens(self, unit: Unit | None) -> int:
        """See :meth:`gilot_plugin.attribution.targets.Target.model_tokens`."""
        return self._rows.length(unit) + self._continuation_tokens

    def hypotheses(self, decode: Callable[[Sequence[int]], str]) -> tuple[Hypothesis, ...]:
        """Hypotheses of the full prompt, likeliest first; known once its outcomes are."""
        logprobs = np.array([logprob for _, logprob in self._known])
        shares = np.exp(logprobs - logprobs.max())
        described = [
            Hypothesis(ids, decode(list(ids)), logprob, float(share), ended)
            for ((ids, ended), logprob), share in zip(self._known, shares / shares.sum(), strict=True)
        ]
        return tuple(sorted(described, key=lambda hypothesis: -hypothesis.logprob))


class RegeneratedTarget(GenerationTarget):
    """``hypotheses: regenerate``: a beam search for each prompt (GiLOT, section 3.2)."""

    def __init__(self, question: Question) -> None:
        recipe = question.recipe
        self._every_step = recipe.steps == "mean"
        kept = recipe.num_beams * (recipe.max_new_tokens - 1) if self._every_step else 0
        super().__init__(question, recipe.num_beams, kept)

    @property
    def _continuation_tokens(self) -> int:
        return self._recipe.num_beams * self._recipe.max_new_tokens

    def outcomes(self, absent: Sequence[Unit | None]) -> Outcomes:
        """See :meth:`gilot_plugin.attribution.targets.Target.outcomes`."""
        recipe, rows = self._recipe, self._rows.without(absent)
        second = recipe.absence.rescored_without
        if second is None:
            logprobs, found = regenerated_outcomes(
                self._backend, rows, recipe.num_beams, recipe.max_new_tokens, self._every_step
            )
        else:
            score_rows = self._rows.without(absent, second)
            logprobs, found = rescored_outcomes(
                self._backend, rows, score_rows, recipe.num_beams, recipe.max_new_tokens
            )
        if absent[0] is None:
            self._known = _known(found)
        if self._answer is None:
            return Outcomes(logprobs)
        return Outcomes(logprobs, sequence_logprobs(self._backend, rows, [self._answer])[:, 0])


class GivenTarget(GenerationTarget):
    """``hypotheses: shared`` and ``response``: the same hypotheses after each prompt.

    Args:
        question: What is asked.
        known: Hypotheses of the full prompt and their log-probabilities; None for the answer alone.
    """

    def __init__(self, question: Question, known: list[tuple[Continuation, float]] | None = None) -> None:
        recipe, answer = question.recipe, question.answer
        self._is_answer = known is None
        self._given = (
            [Continuation(answer or (), ended=False)] if known is None else [given for given, _ in known]
        )
        longest = max(len(given.token_ids) for given in self._given)
        # What has not ended is all equally long, an answer perhaps shorter than J; after its last token,
        # nothing is known to come.
        last = recipe.max_new_tokens if all(given.ended for given in self._given) else longest
        self._depths = tuple(range(min(1, last), last + 1)) if recipe.steps == "mean" else (last,)
        fed = [ids[:-1] if ended else ids for ids, ended in self._given]
        self._nodes = node_count([*fed, (answer or ())[:-1]])
        super().__init__(question, len(fed) + 1, len(self._depths))
        self._known = known or []

    @property
    def _continuation_tokens(self) -> int:
        return self._nodes

    def outcomes(self, absent: Sequence[Unit | None]) -> Outcomes:
        """See :meth:`gilot_plugin.attribution.targets.Target.outcomes`."""
        rows = self._rows.without(absent)
        logprobs, of_answer = shared_outcomes(self._backend, rows, self._given, self._depths, self._answer)
        if self._is_answer and absent[0] is None and of_answer is not None:
            self._known = [(self._given[0], max(float(of_answer[0]), IMPOSSIBLE))]
        return Outcomes(logprobs, of_answer)


def generation_target(
    backend: Backend,
    prompt: Prompt,
    recipe: Recipe,
    labels: Labels,
    answer: Sequence[int] | None = None,
) -> GenerationTarget:
    """What the model would generate, with hypotheses as the recipe says.

    Args:
        backend: The model.
        prompt: The prompt as fed.
        recipe: How.
        labels: Text of a token id.
        answer: What the model answered; None for its greedy continuation, searched where it is needed.

    Returns:
        The target.

    Raises:
        UnsupportedModelError: The absence needs explicit positions, which the model does not take.
        PromptError: The prompt and the hypotheses do not fit into the model's window.
        NonFiniteLogitsError: The model returned NaN.
    """
    check_positions(backend, recipe.absence)
    _check_window(backend, prompt, recipe, answer)
    methods = [method for method in recipe.methods if isinstance(method, Distance)]
    asked = recipe.hypotheses == "response" or any(method.needs_answer for method in methods)
    read = _answer_read(backend, prompt, recipe, answer) if asked else None
    question = Question(backend, prompt, recipe, labels, read)
    if recipe.hypotheses == "regenerate":
        return RegeneratedTarget(question)
    if recipe.hypotheses == "response":
        return GivenTarget(question)
    full = Rows(prompt, recipe).without([None])
    found = beam_search(backend, full, recipe.num_beams, recipe.max_new_tokens).hypotheses
    return GivenTarget(question, _known(found))


def _check_window(backend: Backend, prompt: Prompt, recipe: Recipe, answer: Sequence[int] | None) -> None:
    ahead = recipe.max_new_tokens
    if recipe.hypotheses == "response" and answer is not None:
        ahead = min(ahead, len(answer))
    needed = len(prompt.tokens) + ahead
    if backend.max_positions is not None and needed > backend.max_positions:
        raise PromptError(
            f"the prompt's {len(prompt.tokens)} tokens and max_new_tokens={recipe.max_new_tokens} need "
            f"{needed} positions, the model has {backend.max_positions}: lower max_new_tokens or shorten the "
            "prompt"
        )


def _answer_read(backend: Backend, prompt: Prompt, recipe: Recipe, answer: Sequence[int] | None) -> Prefix:
    """The first J tokens of the model's answer."""
    if answer is None:
        full = Rows(prompt, recipe).without([None])
        (answer,) = beam_search(backend, full, 1, recipe.max_new_tokens).hypotheses.of_row(0)
    # An answer is text. Were its end part of it, what follows would be the same whatever is absent.
    ends = (place for place, token in enumerate(answer) if token in backend.eos_token_ids)
    return tuple(answer[: min(next(ends, len(answer)), recipe.max_new_tokens)])


def _known(found: Hypotheses) -> list[tuple[Continuation, float]]:
    """Hypotheses of the full prompt (row 0) that exist, and their log-probabilities."""
    exists = found.logprobs[0] > float("-inf")
    ended, logprobs = found.ended[0][exists].tolist(), found.logprobs[0][exists].double().tolist()
    continuations = map(Continuation, found.of_row(0), ended)
    return list(zip(continuations, logprobs, strict=True))
