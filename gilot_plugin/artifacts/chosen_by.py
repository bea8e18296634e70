"""What a manifest says of how samples were chosen, as far as it limits what may be said of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: Strategies that choose by what the model answered.
_BY_ANSWER = frozenset({"correct", "entropy", "flips", "incorrect", "margin"})
#: Those that do not.
_BLIND = frozenset({"first", "ids", "random", "stratified"})


def answer_strategies(manifest: Mapping[str, Any] | None, task: str) -> tuple[str, ...]:
    """Strategies by which a task's samples were chosen, those aside that never look at the model's answer.

    Combinations are looked into. A function, or a strategy of another package, may look at anything.

    Args:
        manifest: Of the run; None where it has none.
        task: Name of the task.

    Returns:
        Their names, each once, in order; those that may look at the answer with ``?`` behind them.
    """
    selection = (manifest or {}).get("tasks", {}).get(task, {}).get("selection") or {}
    named = _named({**(selection.get("options") or {}), "strategy": selection.get("strategy")})
    return tuple(dict.fromkeys(name if name in _BY_ANSWER else f"{name}?" for name in named))


def chosen_by_answer(strategies: Sequence[str]) -> str:
    """The warning in words, without its end.

    Args:
        strategies: As :func:`answer_strategies` names them, at least one.
    """
    sure = [name for name in strategies if not name.endswith("?")]
    if sure:
        return f"samples were chosen by what a model answered ({', '.join(sure)})"
    named = ", ".join(name.removesuffix("?") for name in strategies)
    return f"samples may have been chosen by what a model answered ({named})"


def _named(selection: Mapping[str, Any]) -> Iterator[str]:
    name = selection.get("strategy")
    parts = selection.get("of")
    if name in ("union", "chain") and isinstance(parts, list):
        for part in parts:
            if isinstance(part, Mapping):
                yield from _named(part)
    elif isinstance(name, str) and name not in _BLIND:
        yield name
