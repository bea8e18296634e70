"""Short ways to let a backend read prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scoring.sessions import DecodingSession


def opened(backend: Any, rows: Sequence[Row], room: int = 64, prompt: Row | None = None) -> DecodingSession:
    """The rows, begun to be read; they may begin like a prompt, the first of them if none is given."""
    return backend.prefill(rows, room, [prompt or rows[0]] * len(rows))
