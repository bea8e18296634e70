"""Words of prompts, as they are told apart over samples."""

from __future__ import annotations

_AROUND = " \t\r\n.,:;!?\"'()[]{}“”‘’"


def plain_word(text: str) -> str:
    """A word whatever its case, without the marks around it; empty where there is nothing else."""
    return text.strip(_AROUND).casefold()
