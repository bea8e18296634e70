"""Which weights a model has, whatever its name is."""

from __future__ import annotations

import hashlib
import json
from itertools import chain

import torch


def weights_fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 over the parameters and buffers of a model: their names, types, shapes and bytes.

    It takes about a second for each gigabyte. Weights that are kept elsewhere and brought in layer by layer
    (on the device ``meta``) count by name, type and shape alone.

    Example:
        >>> layer = torch.nn.Linear(2, 2)
        >>> before = weights_fingerprint(layer)
        >>> _ = layer.weight.data[0, 0].add_(1)
        >>> weights_fingerprint(layer) == before
        False

    Args:
        model: The model.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        if not tensor.is_meta:
            data = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(data.view(torch.uint8).numpy().data)
    return digest.hexdigest()
