"""Which of the task's choices the model prefers after a prompt, with and without units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gilot_plugin.attribution.geometry import ChoiceGeometry
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.targets import LOGIT_COPIES, Outcomes, Rows, check_positions
from gilot_plugin.attribution.trie import node_count, sequence_logprobs
from gilot_plugin.attribution.types import Choice, Prompt, Unit
from gilot_plugin.backends.protocol import Backend
from gilot_plugin.errors import PromptError


class ChoicesTarget:
    """Which of the task's choices the model prefers: softmax of their log-likelihoods.

    Args:
        backend: The model.
        prompt: The context as fed.
        recipe: How; beams and steps do not matter here.
        token_ids: Tokens of each choice, as fed after the context.
        texts: Text of each choice.
        lengths: Characters of each choice as lm-eval counts them for ``acc_norm``; None for those of the
            texts.
        gold: Numbers of the right choices, where the task says so.

    Raises:
        UnsupportedModelError: The absence needs explicit positions, which the model does not take.
        PromptError: The prompt and the longest choice do not fit into the model's window.
    """

    def __init__(
        self,
        backend: Backend,
        prompt: Prompt,
        recipe: Recipe,
        token_ids: Sequence[Sequence[int]],
        texts: Sequence[str],
        lengths: Sequence[int] | None = None,
        gold: Sequence[int] = (),
    ) -> None:
        check_positions(backend, recipe.absence)
        # The last token of a choice is only predicted, never fed.
        longest = len(prompt.tokens) + max(map(len, token_ids)) - 1
        if backend.max_positions is not None and longest > backend.max_positions:
            raise PromptError(
                f"the prompt's {len(prompt.tokens)} tokens and its longest choice need {longest} positions, "
                f"the model has {backend.max_positions}"
            )
        self._backend, self._recipe, self._rows = backend, recipe, Rows(prompt, recipe)
        self._token_ids, self._texts = tuple(map(tuple, token_ids)), tuple(texts)
        self._lengths = tuple(map(len, texts)) if lengths is None else tuple(lengths)
        self.geometry = ChoiceGeometry(backend, token_ids, texts)
        self.gold = tuple(gold)
        fed = [choice[:-1] for choice in self._token_ids]
        self._continuation_tokens = node_count(fed)
        kept = LOGIT_COPIES * (self._continuation_tokens + 1) * backend.vocab_size * 4
        self.row_bytes = backend.row_bytes(longest, len(fed)) + kept
        self._likelihoods: torch.Tensor | None = None

    def outcomes(self, absent: Sequence[Unit | None]) -> Outcomes:
        """See :meth:`Target.outcomes`."""
        sums = sequence_logprobs(self._backend, self._rows.without(absent), self._token_ids).double()
        lengths = torch.tensor(self._lengths, dtype=sums.dtype, device=sums.device)
        compared = sums / lengths if self._recipe.choice_scoring == "norm" else sums
        if absent[0] is None:
            self._likelihoods = sums[0]
            self._preferred = int(compared[0].argmax())
        return Outcomes(compared.log_softmax(dim=1).unsqueeze(1), sums[:, self._preferred])

    def model_tokens(self, unit: Unit | None) -> int:
        """See :meth:`Target.model_tokens`."""
        return self._rows.length(unit) + self._continuation_tokens

    def choices(self, probabilities: Sequence[float]) -> tuple[Choice, ...]:
        """The choices with their probabilities after the full prompt, whose outcomes were computed."""
        assert self._likelihoods is not None
        sums = self._likelihoods.tolist()
        normalized = [
            logprob / length if length else -np.inf
            for logprob, length in zip(sums, self._lengths, strict=True)
        ]
        columns = (self._texts, self._token_ids, sums, normalized, probabilities)
        return tuple(Choice(*choice) for choice in zip(*columns, strict=True))
