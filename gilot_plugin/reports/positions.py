"""What is behind each explained token of an answer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gilot_plugin.artifacts.typed import Record


class Behind(NamedTuple):
    """An explained token of the answer and the units that it hangs on.

    Attributes:
        token: Its text.
        units: Numbers of the units with the largest absolute scores for it, largest first; none with score 0.
        scores: Theirs, with their sign.
    """

    token: str
    units: tuple[int, ...]
    scores: tuple[float, ...]


def behind_tokens(record: Record, method: str, tokens: int, units: int) -> tuple[Behind, ...]:
    """What is behind those tokens of the answer that hang most on the prompt.

    Args:
        record: One whose status is ok.
        method: Whose scores count.
        tokens: The most tokens to look at.
        units: The most units of each.

    Returns:
        The tokens in the order of the answer; empty where the record has no scores of single tokens by the
        method.
    """
    rows = record.step_scores.get(method)
    if record.answer is None or not rows or len(rows[0]) != len(record.answer.window):
        return ()
    scores = np.asarray(rows, dtype=np.float64)
    kept = np.sort(np.argsort(-np.abs(scores).sum(axis=0), kind="stable")[:tokens])
    found = []
    for position in kept.tolist():
        column = scores[:, position]
        strongest = [
            unit for unit in np.argsort(-np.abs(column), kind="stable")[:units].tolist() if column[unit]
        ]
        text = record.answer.tokens[record.answer.window[position]].text
        found.append(Behind(text, tuple(strongest), tuple(column[strongest].tolist())))
    return tuple(found)
