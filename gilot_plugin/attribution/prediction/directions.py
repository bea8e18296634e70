"""Whether a unit speaks for what the model said, position by position."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gilot_plugin.attribution.prediction.targets import AnswerChange
from gilot_plugin.backends.scoring.logprobs import IMPOSSIBLE

FloatArray = NDArray[np.float64]

#: Numbers of the answer's tokens after rows, ``[rows, tokens]``, and after the full prompt, ``[1, tokens]``.
_Pair = tuple[FloatArray, FloatArray]


def answer_change(logprobs: _Pair, logodds: _Pair | None, positions: int) -> AnswerChange:
    """How much less likely the answer is after rows.

    Args:
        logprobs: Log-probabilities, in nats.
        logodds: Log-odds, in nats, if they were asked for.
        positions: Of the outcome.
    """
    rows, full = (np.maximum(part, IMPOSSIBLE) for part in logprobs)
    if logodds is None:
        return AnswerChange(full - rows, None, None)
    return AnswerChange(full - rows, logodds[1] - logodds[0], _directions(logodds, positions))


def logprob_of_odds(odds: FloatArray) -> FloatArray:
    """Log-probability, in nats, from log-odds of whatever shape; keeps what a probability near 1 lacks."""
    found: FloatArray = -np.logaddexp(0.0, -odds)
    return found


def _directions(logodds: _Pair, positions: int) -> FloatArray:
    """The direction at each position, ``[rows, positions]``.

    Where positions are those of the answer, each has its own direction. What comes after the answer, and what
    is compared only after all of it, has that of the answer as a whole.
    """
    rows, full = logodds
    # From the log-odds, for log-probabilities near 0 are round-off.
    of_rows, of_full = (logprob_of_odds(part).sum(axis=1, keepdims=True) for part in logodds)
    own = (full - rows)[:, : positions if positions > 1 else 0]
    whole = np.broadcast_to(of_full - of_rows, (len(rows), positions - own.shape[1]))
    found: FloatArray = np.sign(np.concatenate((own, whole), axis=1))
    return found
