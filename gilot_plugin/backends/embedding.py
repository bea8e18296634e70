"""Input embeddings, as the model itself makes them."""

from __future__ import annotations

from threading import RLock
from typing import Any

import torch

from gilot_plugin.errors import UnsupportedModelError


class InputEmbedding:
    """The input embeddings of a model, adapters and hooks included.

    Calls come from several threads. The weights of a module with hooks of accelerate may be on the device
    during its call only, so there the passes of the model hold :attr:`lock` too.

    Args:
        model: The model.

    Raises:
        UnsupportedModelError: The model has no input embedding matrix.
    """

    def __init__(self, model: Any) -> None:
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

    def __call__(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Embeddings of the given ids, ``[n, dim]``, float32, without gradient."""
        ids = token_ids.to(self.device)
        with self.lock, torch.no_grad():
            rows = self._called(ids)
            if rows is None:
                rows = self._looked_up(ids)
        return rows.float()

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
