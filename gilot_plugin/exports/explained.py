"""What was explained of a sample, as one text."""

from __future__ import annotations

from gilot_plugin.artifacts.typed import Record


def explained_text(record: Record) -> str | None:
    """The part of the answer that was followed, else the likeliest choice or continuation; None if none."""
    if record.target is None or not record.target.outcomes:
        return None
    return max(record.target.outcomes, key=lambda outcome: outcome.probability).text
