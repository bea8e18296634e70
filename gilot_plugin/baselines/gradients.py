"""Methods that differentiate the answer's log-probability by the embeddings of the prompt, from captum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from gilot_plugin.attribution.methods import MethodContext
from gilot_plugin.attribution.types import Unit
from gilot_plugin.backends.scorer import Scorer
from gilot_plugin.backends.scoring.batching import BatchPlan, Size
from gilot_plugin.backends.scoring.logprobs import IMPOSSIBLE, finite_log_softmax
from gilot_plugin.baselines.models import transformers_backend
from gilot_plugin.errors import UnsupportedModelError

#: Points of the path, as Gauss-Legendre quadrature places them. Language models are steep: 32 are too few.
_STEPS = 50


def refuses_gradients(backend: Scorer) -> str | None:
    """Why a model cannot be differentiated, in words; None if it can."""
    opened = transformers_backend(backend)
    if opened is None:
        return "gradients need a model of transformers in this process"
    return opened.refuses_embeddings


def input_x_gradient(context: MethodContext) -> list[float]:
    """Embedding times gradient, summed over the embedding and over the unit's tokens, in nats."""
    from captum.attr import InputXGradient

    with _differentiating():
        answer = EmbeddedAnswer(context)
        return _by_unit(InputXGradient(answer).attribute(answer.prompt.requires_grad_()), context.units)


def integrated_gradients(context: MethodContext, steps: int = _STEPS) -> list[float]:
    """Integrated gradients (Sundararajan et al. 2017), summed as those of :func:`input_x_gradient`, in nats.

    The path comes from the prompt in which every token of a unit is the end of sequence (the mean embedding,
    where the model has no such token); the others stay. So the scores add up to the difference between the
    two. Embeddings of zeros would be no baseline: models that normalise their input jump there.

    Args:
        context: The prompt and its units.
        steps: Points of the path.
    """
    from captum.attr import IntegratedGradients

    with _differentiating():
        answer = EmbeddedAnswer(context)
        method, baseline = IntegratedGradients(answer), answer.without_units()
        plan, size = BatchPlan.within(context.game.execution.room(), context.backend.free_memory), answer.size
        while True:
            rows = plan.take([size] * steps)
            try:
                found = method.attribute(answer.prompt, baseline, n_steps=steps, internal_batch_size=rows)
            except torch.OutOfMemoryError:
                if not plan.shrink(rows):
                    raise
            else:
                return _by_unit(found, context.units)
            # Not in the handler, where the traceback still holds the tensors of the failed batch.
            torch.cuda.empty_cache()


class EmbeddedAnswer:
    """The answer's log-probability as a function of the prompt's embeddings.

    Args:
        context: The prompt.

    Attributes:
        prompt: Embeddings of the prompt, ``[1, tokens, dim]``, float32.

    Raises:
        UnsupportedModelError: The model cannot be differentiated.
    """

    def __init__(self, context: MethodContext) -> None:
        backend, why = transformers_backend(context.backend), refuses_gradients(context.backend)
        if backend is None or why is not None:
            raise UnsupportedModelError(f"gradients cannot be had: {why}")
        self._backend, self._context, self._answer = backend, context, context.game.answer
        self.prompt = self._embeddings(context.prompt.token_ids).unsqueeze(0)

    @property
    def size(self) -> Size:
        """What a row asks of a batch."""
        read = [len(ids) for ids in self._answer.candidates.read if ids]
        tokens = sum(self.prompt.shape[1] + length - 1 for length in read)
        most = max(1, self._backend.pass_tokens // max(1, tokens))
        return Size(self._backend.gradient_memory(max(1, tokens), sum(read)), 0, most)

    def without_units(self) -> torch.Tensor:
        """Embeddings of the prompt with nothing said by the units, as :attr:`prompt`."""
        if self._backend.limits.eos_token_ids:
            silent = self._embeddings(self._backend.limits.eos_token_ids[:1])
        else:
            silent = self._embeddings(range(self._backend.limits.vocab_size)).mean(dim=0)
        found = self.prompt.clone()
        for unit in self._context.units:
            found[0, unit.start_token : unit.end_token] = silent
        return found

    def __call__(self, prompts: torch.Tensor) -> torch.Tensor:
        """Log-probability of the answer after each prompt, ``[rows]``, in nats, with its gradient.

        Args:
            prompts: ``[rows, tokens, dim]``.
        """
        read = [self._logprobs(prompts, ids) for ids in self._answer.candidates.read]
        return self._answer.logprobs(torch.stack(read, dim=1).double().clamp(min=IMPOSSIBLE))

    def _logprobs(self, prompts: torch.Tensor, token_ids: Sequence[int]) -> torch.Tensor:
        """Log-probability of a sequence after each prompt, in one pass."""
        if not token_ids:
            return 0.0 * prompts.sum(dim=(1, 2))  # certain, whatever the prompt is
        fed = self._embeddings(token_ids[:-1]).expand(len(prompts), -1, -1)
        logits = self._backend.embedded_logits(torch.cat([prompts, fed], dim=1), len(token_ids))
        ids = torch.tensor(token_ids, device=logits.device).expand(len(prompts), -1)
        return finite_log_softmax(logits).gather(2, ids.unsqueeze(2)).sum(dim=(1, 2))

    def _embeddings(self, token_ids: Sequence[int]) -> torch.Tensor:
        return self._backend.embeddings.input(torch.tensor(list(token_ids), dtype=torch.long))


@contextmanager
def _differentiating() -> Iterator[None]:
    """Evaluations run without gradients, and some in inference mode, which knows none at all."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def _by_unit(found: torch.Tensor, units: Sequence[Unit]) -> list[float]:
    """Sums over the units' tokens of attributions ``[1, tokens, dim]``."""
    tokens = found[0].detach().double().sum(dim=1).tolist()
    return [sum(tokens[unit.start_token : unit.end_token]) for unit in units]
