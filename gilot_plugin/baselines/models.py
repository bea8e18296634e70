"""Backends whose model can be looked into."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gilot_plugin.backends.scorer import Scorer

if TYPE_CHECKING:
    from gilot_plugin.backends.transformers import TransformersBackend


def transformers_backend(backend: Scorer) -> TransformersBackend | None:
    """The backend, if it runs a model of transformers in this process; None otherwise."""
    # Methods are listed without transformers, which takes seconds to import.
    from gilot_plugin.backends.transformers import TransformersBackend

    return backend if isinstance(backend, TransformersBackend) else None
