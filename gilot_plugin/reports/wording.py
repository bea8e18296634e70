"""How reports put the facts of a run into words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gilot_plugin.artifacts.lm_eval_files import Score
from gilot_plugin.artifacts.loading import LoadedRun
from gilot_plugin.artifacts.typed import Record


def score_words(score: Score) -> str:
    """A score as people write it, e.g. ``acc 0.625 ± 0.049``."""
    return f"{score.name} {value_words(score)}"


def value_words(score: Score) -> str:
    """The number alone, e.g. ``0.625 ± 0.049``."""
    stderr = "" if score.stderr is None else f" ± {score.stderr:.3g}"
    return f"{score.value:.4g}{stderr}"


def selection_words(run: LoadedRun, task: str) -> str:
    """How a task's samples were chosen, e.g. ``random: 20 of 500 samples``; empty where it is not known."""
    selection = _selection(run, task)
    if not selection:
        return ""
    over = selection.get("over", "task")
    among = "" if over == "task" else f" over the {over}"
    return f"{selection['strategy']}{among}: {len(selection['chosen'])} of {selection['candidates']} samples"


def selection_error(run: LoadedRun, task: str) -> str | None:
    """Why nothing was chosen of a task; None where something was."""
    error = _selection(run, task).get("error")
    return None if error is None else str(error)


def cache_use_lines(used: Mapping[str, Any] | None) -> list[str]:
    """What is said of a model that is read more slowly than it could be; nothing of others.

    Args:
        used: The manifest's ``cache_use``; None where it is not known.
    """
    if used is None:
        return []
    lines = []
    cost = cost_words(used["tokens_read"], used["tokens_with_trees"])
    told = f" {cost}." if cost else ""
    if not used["key_value_cache"]:
        lines.append(f"slow: every sequence was read whole at every step: {used['reason']}.{told}")
    elif not used["prefix_trees"]:
        lines.append(f"slow: every prompt was read by itself, not as prefix trees: {used['reason']}.{told}")
    computed, wanted = used.get("logits_computed", 0), used.get("logits_wanted", 0)
    if computed > wanted:
        lines.append(
            f"slow: the logits of {computed:,} tokens were computed where those of {wanted:,} were wanted: "
            "the model cannot be told which are."
        )
    lines += [
        f"defect, of the model or of this package: an error while it was tried out: {error}"
        for error in used["errors"]
    ]
    return lines


def cost_words(tokens_read: int, tokens_with_trees: int) -> str:
    """How much more is read than prefix trees would read; empty where it is not more."""
    if not 0 < tokens_with_trees < tokens_read:
        return ""
    return (
        f"It read {tokens_read:,} tokens, {tokens_read / tokens_with_trees:.1f} times the "
        f"{tokens_with_trees:,} that prefix trees would read"
    )


def noise_words(record: Record, method: str) -> str:
    """Which scores of a sample cannot be told from 0; empty where that was not measured."""
    floor = record.floor_of(method)
    if floor is None:
        return ""
    below, measured = len(record.below_floor(method)), record.diagnostics["noise_floor"]["measured"]
    return (
        f"{below} of {len(record.scores.get(method, ()))} scores by {method} cannot be told from 0: in other "
        f"batches, scores of these prompts move by up to {floor:.2g} ({measured} were measured twice)"
    )


def _selection(run: LoadedRun, task: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (run.manifest or {}).get("tasks", {}).get(task, {}).get("selection") or {}
    return found
