"""Strict JSON text: no NaN, one line where one is asked for, valid UTF-8 whatever the strings hold."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gilot_plugin.errors import ArtifactError

# Lone surrogates have no UTF-8; the others break lines in some readers, or are terminal controls that a `cat`
# of the file would obey. JSON already escapes the controls below U+0020.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_NAMED_FIELD = re.compile(r"[A-Za-z_]\w*", flags=re.ASCII)

#: How a JSON text spells the floats that JSON has no numbers for.
_NON_FINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Spell a value as strict JSON, on one line unless an indentation is given.

    Args:
        value: Mappings, sequences, texts, finite numbers (numpy's and torch's, too), booleans, None.
        indent: Spaces a level.

    Returns:
        The text. It has no character that UTF-8 cannot encode and, without ``indent``, none that any reader
        takes for the end of a line.

    Raises:
        ArtifactError: The value holds NaN or an infinity (the field is named), or something that is not JSON.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, default=_numbers)
    except (TypeError, ValueError, RecursionError) as error:
        found = next(non_finite_fields(value), None) if isinstance(error, ValueError) else None
        cause = f"{found[0]} is {found[1]}, which JSON has no number for" if found else str(error)
        raise ArtifactError(f"cannot be written as JSON: {cause}") from error
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _numbers(value: Any) -> Any:
    """Numbers and arrays of numpy and torch as Python's own."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")


def plain(value: Any) -> Any:
    """Reduce a value to what strict JSON can hold.

    Numbers and arrays of numpy and torch become Python's own; NaN and the infinities become the texts
    ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, which Python's ``float`` and JavaScript's ``Number`` read
    back; everything else that JSON does not know becomes its ``str``, as lm-eval writes it.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _NON_FINITE.get(value, "NaN")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    # Arrays before scalars: both have `item`, which fails on arrays of more than one element.
    return plain(value.tolist()) if hasattr(value, "tolist") else str(value)


def non_finite_fields(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str, float]]:
    """Find the floats that are NaN or infinite, each with the path of its field."""
    if isinstance(value, float):
        if not math.isfinite(value):
            yield field_path(path), value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from non_finite_fields(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from non_finite_fields(item, (*path, index))


def field_path(parts: Iterable[str | int]) -> str:
    """Spell where a field lies, e.g. ``units[3].text`` or ``metrics['acc,none']``; empty for the whole."""
    path = ""
    for part in parts:
        if isinstance(part, str) and _NAMED_FIELD.fullmatch(part):
            path += f".{part}" if path else part
        else:
            path += f"[{part!r}]"
    return path
