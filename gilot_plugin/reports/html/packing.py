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
#: How often the smallest score of a packed matrix goes into the largest.
_RANGE = 1000.0


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
    """Pack a score for every unit and position into a byte each.

    A byte's value grows with the logarithm of the score, so that small scores are as exact as large ones:
    to 3 %, down to a thousandth of the largest. What is smaller is 0.

    Args:
        scores: ``[units, positions]``.

    Returns:
        ``largest``, the largest absolute score; ``columns``, the positions; ``bytes``, row after row, as
        Base64 of gzip. Byte ``b`` of 1 to 127 stands for ``largest * 1000 ** ((b - 127) / 126)``, byte
        ``128 + b`` for the same below 0, 0 for 0.
    """
    largest = float(np.abs(scores).max(initial=0.0))
    sizes = np.abs(scores) / (largest or 1.0)
    steps = np.round(127 + 126 * np.log(np.maximum(sizes, 1e-9)) / math.log(_RANGE)).clip(0, 127)
    codes = np.where((scores < 0) & (steps > 0), 128 + steps, steps).astype(np.uint8)
    content = base64.b64encode(gzip.compress(codes.tobytes(), 6, mtime=0)).decode()
    return {"largest": rounded(largest), "columns": scores.shape[1], "bytes": content}
