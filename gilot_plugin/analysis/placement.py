"""Where the scores of a sample lie on its parts, against where they would lie by chance."""

from __future__ import annotations

import numpy as np
import scipy.fft

from gilot_plugin.artifacts.typed import Record


def placements(record: Record, method: str, generator: np.random.Generator) -> dict[str, float]:
    """How large the share of each part is among those that other places of the scores would give it.

    The scores a character are turned round the prompt, unit by unit: if every character mattered alike, each
    of these places is as likely as the one that they have, and the result is uniform between 0 and 1, however
    skewed the scores are and however much neighbours resemble each other. A share is not: most are below
    their mean, so that a test of shares from few samples errs too often.

    Args:
        record: A sample with scores by the method.
        method: Whose scores.
        generator: Breaks ties.

    Returns:
        By segment, the part of the turns that gives it a smaller share, ties broken at random; empty where
        there is a single segment, or no score but 0.
    """
    scores = np.abs(record.scores.get(method, ()))
    segments = [unit.segment for unit in record.units]
    if len(set(segments)) < 2 or not scores.any():
        return {}
    lengths = np.array([max(1, end - start) for start, end in record.spans], dtype=float)
    density = scores / lengths
    everything = _turned(lengths, density)
    found = {}
    for segment in dict.fromkeys(segments):
        own = np.where([name == segment for name in segments], lengths, 0.0)
        shares = _turned(own, density) / everything
        equal = np.abs(shares - shares[0]) <= 1e-9
        below = int(np.sum((shares < shares[0]) & ~equal))
        found[segment] = float((below + generator.random() * equal.sum()) / len(shares))
    return found


def _turned(lengths: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Sum of lengths times densities, ``[turns]``, the first one with the densities where they are."""
    product = np.conj(scipy.fft.rfft(lengths)) * scipy.fft.rfft(density)
    sums: np.ndarray = scipy.fft.irfft(product, len(lengths))
    return sums
