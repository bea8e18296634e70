"""Scores that are the same but for round-off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gilot_plugin.attribution.types import Attribution
from tests.attribution.serial_distances import Scores

#: Round-off of the model's float32 numbers, which differ with the batch.
CLOSE = 1e-5

#: The same of sums of log-probabilities of several tokens, each some tens of nats.
CLOSE_LOGPROBS = 4e-5


def assert_close(attribution: Attribution, expected: Sequence[Scores], kl: float = CLOSE) -> None:
    """Every distance is as in the serial computation; ``kl`` is the tolerance of KL, a sum of logarithms."""
    for name, values in attribution.scores.items():
        wanted = [getattr(scores, name) for scores in expected]
        tolerance = {"kl": kl, "logprob": CLOSE_LOGPROBS, "margin": CLOSE_LOGPROBS}.get(name, CLOSE)
        np.testing.assert_allclose(values, wanted, rtol=CLOSE, atol=tolerance, err_msg=name)
    # Round-off may push the last token of a nucleus over the edge.
    sizes = [scores.support for scores in expected]
    np.testing.assert_allclose(attribution.diagnostics.support_size, sizes, rtol=0, atol=1)


def assert_same(attribution: Attribution, other: Attribution) -> None:
    """Two attributions have the same methods and scores."""
    assert list(attribution.scores) == list(other.scores)
    for name, values in attribution.scores.items():
        np.testing.assert_allclose(values, other.scores[name], rtol=CLOSE, atol=CLOSE, err_msg=name)
