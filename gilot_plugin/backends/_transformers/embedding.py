"""Input embeddings, as the model itself makes them, and output embeddings, as it uses them."""

from __future__ import annotations

from functools import cached_property
from threading import RLock
from typing import Any

import torch

from gilot_plugin.errors import UnsupportedModelError

#: Embeddings in memory at once for their mean, in bytes of float32.
_CHUNK_BYTES = 2**26

#: Logits by which what was read of the output embeddings is checked, and by how much of their size they may
#: differ: several times the round-off of bfloat16.
_CHECKED, _OFF = 64, 0.02


class Embeddings:
    """The embeddings of a model, see :class:`gilot_plugin.backends.scorer.EmbeddingTable`.

    Those of the input are as the model itself makes them, adapters and hooks included.

    Calls come from several threads. The weights of a module with hooks of accelerate may be on the device
    during its call only, so there the passes of the model hold :attr:`lock` too.

    Args:
        model: The model.
        vocab_size: Number of token ids.

    Raises:
        UnsupportedModelError: The model has no input embedding matrix.
    """

    def __init__(self, model: Any, vocab_size: int) -> None:
        self._model, self._vocab_size = model, vocab_size
        module = model.get_input_embeddings()
        if module is None or not hasattr(module, "weight"):
            raise UnsupportedModelError(
                f"cannot attribute {type(model).__name__}: it has no input embedding matrix"
            )
        self._module = module
        self.lock = RLock()
        self.device = _device(model, module)

    @property
    def is_hooked(self) -> bool:
        """Whether hooks of accelerate bring the weights."""
        return any(hasattr(module, "_hf_hook") for module in self._module.modules())

    def input(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Input embeddings of the given ids, ``[n, dim]``, float32, without gradient."""
        ids = token_ids.to(self.device)
        with self.lock, torch.no_grad():
            rows = self._called(ids)
            if rows is None:
                rows = self._looked_up(ids)
        return rows.float()

    @cached_property
    def mean(self) -> torch.Tensor:
        """Mean input embedding of the vocabulary, ``[dim]``, float32; some ids at a time."""
        dim = self.input(torch.zeros(1, dtype=torch.long)).shape[1]
        total = torch.zeros(dim, dtype=torch.float64)
        rows = max(1, _CHUNK_BYTES // (4 * dim))
        for start in range(0, self._vocab_size, rows):
            ids = torch.arange(start, min(self._vocab_size, start + rows))
            total += self.input(ids).sum(0).cpu().double()
        return (total / self._vocab_size).float().to(self.device)

    def output(self, token_ids: torch.Tensor) -> torch.Tensor:
        """See :meth:`gilot_plugin.backends.scorer.EmbeddingTable.output`."""
        return self._output(token_ids).to(self.device)

    @cached_property
    def _output(self) -> OutputEmbedding:
        # The check of what is read calls a module whose weights may come and go.
        with self.lock:
            return OutputEmbedding(self._model, self._vocab_size)

    def _called(self, ids: torch.Tensor) -> torch.Tensor | None:
        """What the module gives for the ids, as a batch of one; None if it wants more than ids."""
        try:
            found = self._module(ids.unsqueeze(0))
        except TypeError:
            return None
        if isinstance(found, torch.Tensor) and found.dim() == 3 and found.shape[:2] == (1, len(ids)):
            return found[0].detach()
        return None

    def _looked_up(self, ids: torch.Tensor) -> torch.Tensor:
        weight: torch.Tensor = self._module.weight
        if weight.is_meta:
            raise UnsupportedModelError(
                f"cannot attribute this model: its input embedding {type(self._module).__name__} takes more "
                "than token ids, and its weights are not in memory"
            )
        return weight.detach()[ids]


def _device(model: Any, embedding: Any) -> torch.device:
    """Where the model takes token ids; weights that are offloaded are nowhere themselves."""
    if not embedding.weight.is_meta:
        device: torch.device = embedding.weight.device
        return device
    for module in embedding.modules():
        hook = getattr(module, "_hf_hook", None)
        for each in (hook, *getattr(hook, "hooks", ())):
            device_of_hook = getattr(each, "execution_device", None)
            if device_of_hook is not None:
                return torch.device(device_of_hook)
    in_memory = (parameter.device for parameter in model.parameters() if not parameter.is_meta)
    return next(in_memory, torch.device("cpu"))


class OutputEmbedding:
    """The rows of the matrix that a model's last layer multiplies with, read where they are.

    What is read is compared with what the layer does to a random vector. So layers that are more than their
    matrix (an adapter beside it, weights in another format) are found out rather than misread.

    Args:
        model: The model.
        vocab_size: Length of a row of logits.

    Raises:
        UnsupportedModelError: There is no such matrix, it cannot be read, or it is not what the layer does.
    """

    def __init__(self, model: Any, vocab_size: int) -> None:
        self._model_name = type(model).__name__
        module = model.get_output_embeddings()
        weight = None if module is None else _readable_weight(module)
        if weight is None:
            raise self._unsupported("it has no output embeddings that can be read")
        if weight.dim() != 2 or not weight.is_floating_point() or len(weight) < vocab_size:
            raise self._unsupported(f"its output embeddings are kept in a format of {type(module).__name__}")
        self._weight = weight
        self._check(module, vocab_size)

    def __call__(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Output embeddings of the given ids, ``[n, dim]``, float32, without gradient."""
        return self._weight[token_ids.to(self._weight.device)].float()

    def _check(self, module: Any, vocab_size: int) -> None:
        draws = torch.Generator().manual_seed(0)
        vector = torch.randn(1, 1, self._weight.shape[1], generator=draws).to(self._weight)
        with torch.no_grad():
            # The difference knows no bias.
            logits = (module(vector) - module(torch.zeros_like(vector)))[0, 0]
        ids = torch.randint(vocab_size, (_CHECKED,), generator=draws)
        expected = (self(ids) @ vector[0, 0].float()).cpu()
        found = logits[ids.to(logits.device)].float().cpu()
        if not (found - expected).norm() <= _OFF * expected.norm():
            raise self._unsupported(
                f"its output layer {type(module).__name__} does more than multiply with them (is there an "
                "adapter that is not merged?)"
            )

    def _unsupported(self, reason: str) -> UnsupportedModelError:
        return UnsupportedModelError(
            f"ground_cost='output' cannot be used with {self._model_name}: {reason}; allowed are the other "
            "ground costs, such as 'cosine'"
        )


def _readable_weight(module: Any) -> torch.Tensor | None:
    """The module's matrix, where it is kept; None if there is none in reach."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor):
        return None
    if not weight.is_meta:
        return weight.detach()
    # accelerate brings weights for a call only; its map hands them out without.
    kept = getattr(getattr(module, "_hf_hook", None), "weights_map", None)
    return None if kept is None else kept["weight"].detach()
