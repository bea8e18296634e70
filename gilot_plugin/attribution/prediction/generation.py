"""What the model would generate after a prompt, with and without units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from gilot_plugin.attribution.builtins import LOGODDS, LOGPROB
from gilot_plugin.attribution.distance.geometry import Labels, VocabularyGeometry
from gilot_plugin.attribution.execution import Execution
from gilot_plugin.attribution.methods import OutcomeMethod
from gilot_plugin.attribution.prediction.answers import Answer, Candidates
from gilot_plugin.attribution.prediction.directions import answer_change
from gilot_plugin.attribution.prediction.sequences import AnswerTarget
from gilot_plugin.attribution.prediction.targets import (
    AnswerChange,
    Description,
    PromptRows,
    check_positions,
)
from gilot_plugin.attribution.prompt.tokens import locate
from gilot_plugin.attribution.prompt.windows import Window, start_window
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.types import Absent, ExplainedAnswer, Hypothesis, Prompt
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scorer import Outcomes, Query, Reference, Scorer
from gilot_plugin.backends.scoring.logprobs import IMPOSSIBLE
from gilot_plugin.backends.wanted import BeamSearch, Continuation, FixedHypotheses, Hypotheses, TokenIds, Want
from gilot_plugin.errors import PromptError

FloatArray = NDArray[np.float64]


class GenerationTarget:
    """What the model would generate, over hypotheses that are given or searched.

    Args:
        backend: The model.
        rows: The prompt with and without units.
        recipe: How.
        after: The hypotheses.
        labels: Text of a token id.
        decode: Text of a hypothesis.
        find_answer: What the model answered; it may be asked.
        said: The same, if that is known without asking.
        with_answer: Whether its log-probability is read with the outcomes.
        known: Hypotheses of the full prompt, where they were searched beforehand.
        window: Where the answer lies in all that the model said; None where it is the start.
    """

    answer_measure = LOGPROB

    def __init__(
        self,
        backend: Scorer,
        rows: PromptRows,
        recipe: Recipe,
        after: FixedHypotheses | BeamSearch,
        labels: Labels,
        decode: Callable[[Sequence[int]], str],
        find_answer: Callable[[], TokenIds],
        said: TokenIds | None,
        *,
        with_answer: bool,
        known: Hypotheses | None = None,
        window: Window | None = None,
    ) -> None:
        self._rows, self._recipe, self._after, self._decode = rows, recipe, after, decode
        self._find_answer, self._said, self._known, self._window = find_answer, said, known, window
        self._sequences: tuple[TokenIds, ...] = (find_answer(),) if with_answer else ()
        self.geometry = VocabularyGeometry(backend.embeddings, recipe.ground_cost, labels, len(after.depths))
        self.outcome_count = backend.limits.vocab_size

    def query(self, absent: Sequence[Absent], want: Want, known: Reference | None = None) -> Query:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.query`."""
        full, rows = known or self._rows.full, [self._rows.without(units) for units in absent]
        rescored: list[Row] = []
        operator = self._recipe.absence.rescored_without
        if operator is not None and isinstance(self._after, BeamSearch):
            rescored = [self._rows.full, *(self._rows.without(units, operator) for units in absent)]
        return Query(full, rows, self._after, self._sequences, want, rescored)

    def reference(self, known: Reference, want: Want) -> Reference:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.reference`."""
        return known

    def outcomes(self, found: Outcomes, reference: Reference, want: Want) -> Outcomes:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.outcomes`."""
        return found

    def answer_change(self, found: Outcomes, known: Reference, positions: int) -> AnswerChange:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.answer_change`."""
        odds: tuple[FloatArray, FloatArray] | None = None
        if found.token_logodds is not None and known.token_logodds is not None:
            odds = found.token_logodds[:, 0], known.token_logodds
        return answer_change((found.token_logprobs[:, 0], known.token_logprobs), odds, positions)

    @cached_property
    def answer(self) -> Answer:
        """See :attr:`gilot_plugin.attribution.prediction.targets.Target.answer`; its first J tokens."""
        return Answer(Candidates((self._find_answer(),)))

    @property
    def along(self) -> tuple[OutcomeMethod, ...]:
        """See :attr:`gilot_plugin.attribution.prediction.targets.Target.along`."""
        if not self._sequences:
            return ()
        return (LOGPROB, LOGODDS) if self._recipe.needs_odds else (LOGPROB,)

    def answer_alone(self) -> AnswerTarget:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.answer_alone`."""
        return AnswerTarget(self._rows, self.answer)

    def description(self, reference: Reference) -> Description:
        """Hypotheses of the full prompt, likeliest first."""
        known = self._known or reference.hypotheses
        if known is None:
            logprob = max(float(reference.token_logprobs.sum()), IMPOSSIBLE)
            known = Hypotheses((Continuation(self.answer.token_ids, ended=False),), (logprob,))
        shares = np.exp(np.array(known.logprobs) - max(known.logprobs))
        described = [
            Hypothesis(ids, self._decode(list(ids)), logprob, float(share), ended)
            for (ids, ended), logprob, share in zip(*known, shares / shares.sum(), strict=True)
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


def generation_target(
    backend: Scorer,
    prompt: Prompt,
    recipe: Recipe,
    labels: Labels,
    decode: Callable[[Sequence[int]], str],
    execution: Execution,
    answer: Sequence[int] | None = None,
    window: Window | None = None,
) -> GenerationTarget:
    """What the model would generate, see :func:`gilot_plugin.attribution.games.generation_game`."""
    check_positions(backend, recipe.absence)
    _check_window(backend, prompt, recipe, answer, 0 if window is None else window.start)
    rows, steps = PromptRows(prompt, recipe), recipe.max_new_tokens

    def searched(beams: int) -> Hypotheses:
        """Hypotheses of the full prompt."""
        search = BeamSearch(beams, steps)
        (found,) = backend.search([rows.full], search, execution.room(), rows.full)
        return found[rows.full]

    def find_answer() -> TokenIds:
        """The first J tokens of the model's answer."""
        read = searched(1).continuations[0].token_ids if answer is None else answer
        # An answer is text. Were its end part of it, what follows would be the same whatever is absent.
        ends = (place for place, token in enumerate(read) if token in backend.limits.eos_token_ids)
        return tuple(read[: min(next(ends, len(read)), steps)])

    find_once = cache(find_answer)
    asked = recipe.hypotheses == "response" or any(method.needs_answer for method in recipe.methods)
    said = find_once() if asked or answer is not None else None
    known: Hypotheses | None = None
    after: FixedHypotheses | BeamSearch
    if recipe.hypotheses == "regenerate":
        depths = tuple(range(steps)) if recipe.steps == "mean" else (steps,)
        after = BeamSearch(recipe.num_beams, steps, depths)
    elif recipe.hypotheses == "response":
        after = _fixed(recipe, (Continuation(find_once(), ended=False),))
    else:
        known = searched(recipe.num_beams)
        after = _fixed(recipe, known.continuations)
    told = (after, labels, decode, find_once, said)
    return GenerationTarget(backend, rows, recipe, *told, with_answer=asked, known=known, window=window)


def _fixed(recipe: Recipe, hypotheses: tuple[Continuation, ...]) -> FixedHypotheses:
    """The same hypotheses after each prompt."""
    longest = max(len(given.token_ids) for given in hypotheses)
    # What has not ended is all equally long, an answer perhaps shorter than J; after its last token, nothing
    # is known to come.
    last = recipe.max_new_tokens if all(given.ended for given in hypotheses) else longest
    # Position t of the answer is drawn from what follows its first t - 1 tokens. An empty answer was ended at
    # position 1.
    return FixedHypotheses(hypotheses, tuple(range(max(1, last))) if recipe.steps == "mean" else (last,))


def _check_window(
    backend: Scorer, prompt: Prompt, recipe: Recipe, answer: Sequence[int] | None, before: int
) -> None:
    ahead = recipe.max_new_tokens
    if recipe.hypotheses == "response" and answer is not None:
        ahead = min(ahead, len(answer))
    # What the last position is drawn from follows the token before it.
    needed = len(prompt.tokens) + (max(0, ahead - 1) if recipe.steps == "mean" else ahead)
    most = backend.limits.max_positions
    if most is not None and needed > most:
        said = f", the {before} that the model said before what is explained" if before else ""
        raise PromptError(
            f"the prompt's {len(prompt.tokens) - before} tokens{said} and "
            f"max_new_tokens={recipe.max_new_tokens} need {needed} positions, the model has {most}: lower "
            "max_new_tokens or shorten the prompt"
        )
