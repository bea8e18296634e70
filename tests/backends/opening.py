"""Short ways to let a backend read prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gilot_plugin.backends.protocol import Batch, DecodingSession, Row


def batch_of(backend: Any, rows: Sequence[Row], prompt: Row | None = None) -> Batch:
    """Rows that may begin like a prompt, the first of them if none is given."""
    return Batch(rows, [backend.read_prompt(prompt or rows[0])] * len(rows))


def opened(backend: Any, rows: Sequence[Row], room: int = 64) -> DecodingSession:
    """The rows, begun to be read."""
    return backend.prefill(batch_of(backend, rows), room)
