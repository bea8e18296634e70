"""An attribution as captum's result for language models, which its plots take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gilot_plugin.artifacts.typed import Record
from gilot_plugin.exports.explained import explained_text

if TYPE_CHECKING:
    from captum.attr._core.llm_attr import LLMAttributionResult


def to_captum(record: Record, method: str | None = None) -> LLMAttributionResult:
    """Convert an explained sample.

    captum has no file for its results; a score belongs to the explained answer as a whole, so there is no
    ``token_attr``.

    Args:
        record: The sample.
        method: Whose scores; by default the record's own.

    Returns:
        ``input_tokens`` are the units' texts, ``seq_attr`` ``[units]`` their scores.

    Raises:
        ValueError: The sample has no scores by the method.
        ImportError: captum is not installed.
    """
    from captum.attr._core.llm_attr import LLMAttributionResult

    method = method or record.method
    if method is None or method not in record.scores:
        raise ValueError(f"the sample has no scores by method {method!r}")
    return LLMAttributionResult(
        input_tokens=[unit.text for unit in record.units],
        output_tokens=[explained_text(record) or ""],
        seq_attr=list(record.scores[method]),
    )
