"""Which of the task's choices the model prefers after a prompt, with and without units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gilot_plugin.attribution.builtins import CHOICE, LOGODDS, LOGPROB
from gilot_plugin.attribution.distance.geometry import ChoiceGeometry
from gilot_plugin.attribution.distances import margin
from gilot_plugin.attribution.prediction.answers import Answer, Candidates
from gilot_plugin.attribution.prediction.sequences import SequencesTarget
from gilot_plugin.attribution.prediction.targets import Description, PromptRows, check_positions
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.types import Choice, Prompt
from gilot_plugin.backends.scorer import Reference, Scorer
from gilot_plugin.backends.scoring.reducing import DenseReference
from gilot_plugin.backends.wanted import Want
from gilot_plugin.errors import PromptError


class ChoicesTarget(SequencesTarget):
    """Which of the task's choices the model prefers: softmax of their log-likelihoods.

    Where the choices differ in the context (a blank that is filled in) rather than in what follows it, a
    choice begins with the rest of its context, which is fed and not scored.

    Args:
        backend: The model.
        prompt: The context as fed.
        recipe: How; beams and steps do not matter here.
        token_ids: Tokens of each choice, as fed after the prompt.
        texts: Text of each choice.
        lengths: Characters of each choice as lm-eval counts them for ``acc_norm``; None for those of the
            texts.
        gold: Numbers of the right choices, where the task says so.
        unscored: How many tokens of each choice belong to its context; None for none.

    Raises:
        UnsupportedModelError: The absence needs explicit positions, which the model does not take, or the
            ground cost needs embeddings that it lacks.
        PromptError: The prompt and the longest choice do not fit into the model's window.
    """

    def __init__(
        self,
        backend: Scorer,
        prompt: Prompt,
        recipe: Recipe,
        token_ids: Sequence[Sequence[int]],
        texts: Sequence[str],
        lengths: Sequence[int] | None = None,
        gold: Sequence[int] = (),
        unscored: Sequence[int] | None = None,
    ) -> None:
        check_positions(backend, recipe.absence)
        # The last token of a choice is only predicted, never fed.
        longest = len(prompt.tokens) + max(map(len, token_ids)) - 1
        if backend.limits.max_positions is not None and longest > backend.limits.max_positions:
            raise PromptError(
                f"the prompt's {len(prompt.tokens)} tokens and its longest choice need {longest} positions, "
                f"the model has {backend.limits.max_positions}"
            )
        self._token_ids, self._texts = tuple(map(tuple, token_ids)), tuple(texts)
        self._lengths = tuple(map(len, texts)) if lengths is None else tuple(lengths)
        self._unscored = (0,) * len(self._token_ids) if unscored is None else tuple(unscored)
        leads = tuple(choice[:count] for choice, count in zip(self._token_ids, unscored or (), strict=False))
        divisors = self._lengths if recipe.choice_scoring == "norm" else None
        super().__init__(PromptRows(prompt, recipe), Candidates(self._token_ids, leads, divisors))
        compared = _differing(token_ids) if any(leads) else token_ids
        self.geometry = ChoiceGeometry(backend.embeddings, recipe.ground_cost, compared, texts)
        self.outcome_count = len(self._token_ids)
        # A single choice is certain among the choices.
        self.answer_measure = CHOICE if len(self._token_ids) > 1 else LOGPROB
        self.along = (self.answer_measure, LOGODDS)
        self._gold = tuple(gold)
        #: Log-likelihoods of the sequences after the full prompt, ``[1, sequences]``, once they are known.
        self._read: torch.Tensor | None = None

    def reference(self, known: Reference, want: Want) -> Reference:
        """See :meth:`gilot_plugin.attribution.prediction.targets.Target.reference`."""
        self._read = torch.from_numpy(known.token_logprobs.sum(axis=1))[None]
        return super().reference(known, want)

    @property
    def answer(self) -> Answer:
        """The choice that the model prefers after the full prompt, which was read."""
        assert self._read is not None
        preferred = self._candidates.compared(self._candidates.sums(self._read))[0].argmax()
        return Answer(self._candidates, int(preferred))

    def _outcomes(self, read: torch.Tensor) -> torch.Tensor:
        return self._candidates.compared(self._candidates.sums(read)).log_softmax(dim=1)

    def _answer_logprobs(self, read: torch.Tensor) -> torch.Tensor:
        # Of its text, not among the others.
        return self._candidates.sums(read)[:, self.answer.chosen]

    def answer_alone(self) -> ChoicesTarget:
        """See :meth:`Target.answer_alone`; a choice is read among the others."""
        return self

    def description(self, reference: Reference) -> Description:
        """The choices with their probabilities, and their margin where some are right and some are not."""
        assert self._read is not None  # known once the full prompt was read
        assert isinstance(reference, DenseReference)
        (sums,) = self._candidates.sums(self._read).tolist()
        normalized = [
            logprob / length if length else -np.inf
            for logprob, length in zip(sums, self._lengths, strict=True)
        ]
        (of_choices,) = reference.logprobs
        probabilities = of_choices.exp().tolist()
        columns = (self._texts, self._token_ids, sums, normalized, probabilities, self._unscored)
        return Description(
            choices=tuple(Choice(*choice) for choice in zip(*columns, strict=True)),
            margin=float(margin(of_choices, self._gold)) if has_margin(self._gold, len(sums)) else None,
        )


def has_margin(gold: Sequence[int], choices: int) -> bool:
    """Whether some of the choices are right and some are not."""
    return 0 < len(set(gold)) < choices


def _differing(token_ids: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """The choices without the tokens that all of them end with; each keeps at least one.

    What all have in common would only make them look alike.
    """
    common = 0
    while common < min(map(len, token_ids)) - 1 and len({ids[-1 - common] for ids in token_ids}) == 1:
        common += 1
    return [ids[: len(ids) - common] for ids in token_ids]
