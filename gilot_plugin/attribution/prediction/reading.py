"""How likely an answer is after a prompt without some of its units, read in full batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gilot_plugin.attribution.batching import BatchPlan, Size, in_batches
from gilot_plugin.attribution.logprobs import IMPOSSIBLE
from gilot_plugin.attribution.prediction.answers import Answer
from gilot_plugin.attribution.prediction.targets import Rows
from gilot_plugin.attribution.prediction.trie import sequence_logprobs
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.types import Absent, Prompt
from gilot_plugin.backends.protocol import Backend, Load


class BatchedReader:
    """Reads how likely an answer is, see :class:`gilot_plugin.attribution.prediction.answers.AnswerReader`.

    Args:
        backend: The model.
        prompt: The full prompt.
        recipe: How units are taken away, and how much memory batches may take.
        answer: The answer.
    """

    def __init__(self, backend: Backend, prompt: Prompt, recipe: Recipe, answer: Answer) -> None:
        self._backend, self._recipe, self.answer = backend, recipe, answer
        self._rows = Rows(backend, prompt, recipe)

    def plan(self) -> BatchPlan:
        """How much may go through the model together."""
        return BatchPlan.beside(self._backend, self._recipe.batch_size, self._recipe.memory_budget)

    def logprobs(self, absent: Sequence[Absent]) -> NDArray[np.float64]:
        """See :meth:`gilot_plugin.attribution.prediction.answers.AnswerReader.logprobs`."""
        sizes = [self._size(units) for units in absent]
        found = [read for _, read in in_batches(absent, sizes, self._read, self.plan())]
        return np.concatenate(found) if found else np.zeros(0)

    def _load(self, absent: Absent) -> Load:
        nodes = self.answer.candidates.node_count
        return self._rows.load(absent, nodes, nodes, len(self.answer.candidates.read))

    def _size(self, absent: Absent) -> Size:
        load = self._load(absent)
        most = max(1, self._backend.pass_tokens // max(1, load.together))
        return Size(self._backend.memory(load), 8 * len(self.answer.candidates.read), most)

    def _read(self, absent: Sequence[Absent]) -> NDArray[np.float64]:
        candidates = self.answer.candidates
        session = self._backend.prefill(self._rows.batch(absent), candidates.node_count)
        read = sequence_logprobs(session, [candidates.read] * len(absent), self._backend.device)
        logprobs = self.answer.logprobs(read.double().clamp(min=IMPOSSIBLE))
        found: NDArray[np.float64] = logprobs.clamp(min=IMPOSSIBLE).cpu().numpy()
        return found
