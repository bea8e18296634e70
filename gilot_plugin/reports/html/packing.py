"""Data inside a page: compressed JSON that the page's script unpacks when it is looked at."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from gilot_plugin.reports.visible import visible

#: Samples that are unpacked together.
CHUNK = 16


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
