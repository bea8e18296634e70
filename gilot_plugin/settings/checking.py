"""What is wrong with settings, in words."""

from __future__ import annotations

from collections.abc import Container, Iterable
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from gilot_plugin.errors import one_of


def is_name_of(allowed: Container[str], value: Any) -> bool:
    """Whether a value is one of the names."""
    return isinstance(value, str) and value in allowed


def member(value: Any, allowed: Iterable[str], what: str = "") -> str:
    """The value, if it is one of the names.

    Raises:
        ValueError: It is not; the message lists them.
    """
    if not is_name_of(names := tuple(allowed), value):
        raise ValueError(f"{what + ' ' if what else ''}{value!r} is unknown: allowed are {one_of(names)}")
    return str(value)


def explained(error: ValidationError, model: type[BaseModel]) -> str:
    """One line a problem: field, value, what is allowed."""
    lines = []
    for problem in error.errors(include_url=False):
        path = ".".join(
            str(part) for part in problem["loc"] if part in model.model_fields or isinstance(part, int)
        )
        value = f"={problem['input']!r}"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            value, message = "", "must be given"
        elif problem["type"] == "extra_forbidden":
            path = str(problem["loc"][-1])
            close = get_close_matches(path, model.model_fields, n=1)
            hint = f", did you mean {close[0]!r}?" if close else ":"
            message = f"unknown setting{hint} allowed are {one_of(tuple(model.model_fields)) or 'none'}"
        lines.append(f"{path}{value}: {message}" if path else message)
    return "\n".join(dict.fromkeys(lines))
