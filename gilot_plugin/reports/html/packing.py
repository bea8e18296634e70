"""Data inside a page: compressed JSON that the page's script unpacks when it is looked at."""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gilot_plugin.reports.visible import visible

#: Samples that are unpacked together.
CHUNK = 16
#: Scores of a matrix from which on a byte has to do.
_MANY = 40_000
#: Codes above 0, how often the smallest score goes into the largest, and the codes' type.
_FINE, _COARSE = (32767, 1e6, "<u2"), (127, 1e3, "u1")


class Packed(NamedTuple):
    """A piece of data of the page.

    Attributes:
        id: What the script asks for; the element that holds it is ``data-ID``.
        content: Base64 of gzip of JSON: letters, digits, ``+``, ``/`` and ``=``, so no markup.
    """

    id: str
    content: str


def pack(name: str, value: Any) -> Packed:
    """Pack a value that JSON can hold; the same value always gives the same text."""
    # In ASCII, because texts of models may hold lone surrogates, which UTF-8 has no bytes for.
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Packed(name, base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode())


def pack_chunks(values: Sequence[Any]) -> Iterable[Packed]:
    """Pack values, :data:`CHUNK` to a piece, named ``chunk-0``, ``chunk-1``, ..."""
    for number in range(0, len(values), CHUNK):
        yield pack(f"chunk-{number // CHUNK}", values[number : number + CHUNK])


def shown(text: str) -> str:
    """A text as pages show it: control characters and lone surrogates spelled, line ends and tabs kept."""
    if text.isprintable():
        return text
    kept = {"\n": "\n", "\t": "\t"}
    return "".join(kept.get(character) or visible(character) for character in text)


def rounded(value: float) -> float:
    """Four significant digits, which is all that is shown."""
    return float(f"{value:.4g}")


def pack_matrix(scores: NDArray[np.float64]) -> dict[str, Any]:
    """Pack a score for every unit and position into two bytes each, or one where there are very many.

    Codes grow with the logarithm of the score, so that small scores are as exact as large ones: four digits
    down to a millionth of the largest, or 3 % down to a thousandth. What is smaller is 0.

    Args:
        scores: ``[units, positions]``.

    Returns:
        ``largest``, the largest absolute score; ``columns``, the positions; ``codes``, row after row, as
        Base64 of gzip, in little-endian order. Code ``c`` of 1 to ``steps`` stands for
        ``largest * range ** ((c - steps) / (steps - 1))``, code ``steps + 1 + c`` for the same below 0.
    """
    steps, reach, kind = _FINE if scores.size <= _MANY else _COARSE
    largest = float(np.abs(scores).max(initial=0.0))
    sizes = np.maximum(np.abs(scores) / (largest or 1.0), 1.0 / reach**2)
    codes = np.round(steps + (steps - 1) * np.log(sizes) / math.log(reach)).clip(0, steps)
    signed = np.where((scores < 0) & (codes > 0), steps + 1 + codes, codes).astype(kind)
    content = base64.b64encode(gzip.compress(signed.tobytes(), 6, mtime=0)).decode()
    return {
        "largest": float(f"{largest:.7g}"),
        "columns": scores.shape[1],
        "steps": steps,
        "range": reach,
        "codes": content,
    }
