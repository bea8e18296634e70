"""The reference of error messages, from the places that raise them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path

from cells import table

import gilot_plugin
from gilot_plugin import errors


def error_messages(notes: Mapping[str, str]) -> str:
    """Each kind of error with its messages, and what the page says to do about some of them.

    Raises:
        KeyError: The page notes a message that no place raises.
    """
    found = _raised()
    all_of_them = {text for texts in found.values() for text in texts}
    if unknown := [part for part in notes if not any(part in text for text in all_of_them)]:
        raise KeyError(f"no message holds: {unknown}")
    lines: list[str] = []
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        texts = sorted(found.get(name, ()))
        if not texts:
            continue
        lines += [f"## {name}", "", " ".join(str(kind.__doc__).split()).replace("``", "`"), ""]
        rows = [(_cell(text), _advice(text, notes)) for text in texts]
        lines += table(("message", "what to do"), sorted(rows, key=lambda row: not row[1]))
    return "\n".join(lines)


def _advice(text: str, notes: Mapping[str, str]) -> str:
    return " ".join(note.strip() for part, note in notes.items() if part in text)


def _cell(text: str) -> str:
    shown = " ".join(text.split()).replace("|", "\\|").replace("`", "'")
    return f"`{shown}`"


def _raised() -> dict[str, set[str]]:
    """Messages by the name of their error, with names in braces for what they are filled with."""
    found: dict[str, set[str]] = {}
    for path in sorted(Path(gilot_plugin.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                name = getattr(node.exc.func, "id", "")
                text = "".join(_text(node.exc.args[0]))
                # A message of nothing but what it is filled with comes from elsewhere.
                if hasattr(errors, name) and any(map(str.isalpha, text.split("{")[0] + text.split("}")[-1])):
                    found.setdefault(name, set()).add(text)
    return found


def _text(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            yield from _text(part)
    elif isinstance(node, ast.FormattedValue):
        yield f"{{{_name(node.value)}}}"
    elif isinstance(node, ast.BinOp):
        yield from _text(node.left)
        yield from _text(node.right)


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else "…"
