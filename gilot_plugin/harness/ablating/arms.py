"""Which changes a task's prompts allow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from gilot_plugin.harness.ablating.bench import Bench, Built, build, build_full
from gilot_plugin.harness.ablating.editing import makes_turns
from gilot_plugin.settings.ablation import (
    AUTO_ARMS,
    EACH_SHOT,
    LISTED_PARTS,
    ONLY_QUESTION,
    SHOT_ORDER,
    Ablation,
    Arm,
    arms_named,
)

#: What ``arms: auto`` tries.
_EVERY = (
    *("system", "description", "shots", EACH_SHOT, "question", "stem", "choices"),
    *(ONLY_QUESTION, SHOT_ORDER),
)

#: Documents that tell which parts a task's prompts have.
_PREVIEW = 8


def arms_of(bench: Bench, ablation: Ablation) -> tuple[Arm, ...]:
    """The arms that a task is asked in.

    Args:
        bench: The task.
        ablation: The setting. With ``arms: auto`` they are those that change a prompt, each in its own
            way; those that are named are all there, and :func:`obstacle` says which of them do not apply.
    """
    preview = _preview(bench)
    full = build_full(preview)
    if ablation.arms != AUTO_ARMS:
        return tuple(arms_named(ablation.arms, full.shots))
    seen = {_texts(full)}
    found = []
    for arm in arms_named(_EVERY, full.shots):
        if obstacle(preview, full, arm) is None:
            built = build(preview, arm, ablation.seed)
            if _texts(built) not in seen and emptied(preview, built) is None:
                seen.add(_texts(built))
                found.append(arm)
    return tuple(found)


def obstacle(bench: Bench, full: Built, arm: Arm) -> str | None:
    """Why an arm cannot be built for a task, in words; None if it can."""
    if bench.output_type == "loglikelihood_rolling":
        return "its texts are scored as a whole: there is no prompt to take anything from"
    if arm.kind in ("regex", "function"):
        return None
    if not makes_turns(bench.task):
        return "the task builds its prompts in its own way: only {regex: ...} and {function: ...} change them"
    if arm.part in ("question", "lead_in", *LISTED_PARTS) and getattr(bench.task, "multiple_input", False):
        return "the choices are part of the question, in contexts of their own"
    needed = _shots_needed(arm)
    if full.shots < needed:
        return f"there are {full.shots or 'no'} examples in its prompts"
    return None


def _shots_needed(arm: Arm) -> int:
    if arm.kind == "shot_order":
        return 2
    if arm.kind == "shots_of" or arm.part == "shots":
        return 1
    if arm.part is not None and arm.part.startswith("shot_"):
        return int(arm.part.removeprefix("shot_"))
    return 0


def emptied(bench: Bench, built: Built) -> str | None:
    """Why nothing can be asked without what an arm takes away; None if something is left."""
    if bench.output_type != "generate_until":  # lm-eval's models begin a text where a context is empty
        return None
    count = sum(not any(text.strip() for text in built.contexts(number)) for number in built.requests)
    return f"nothing is left of {count} prompts" if count else None


def changed(full: Built, built: Built, documents: Sequence[int]) -> Iterator[bool]:
    """For each document, whether an arm changes any of its contexts."""
    return (full.contexts(number) != built.contexts(number) for number in documents)


def _preview(bench: Bench) -> Bench:
    """The same task with its first documents only."""
    arguments: dict[str, Any] = {**bench.arguments}
    some = max(_PREVIEW, bench.team.size)
    if bench.samples is not None:
        arguments["samples"] = {bench.name: sorted(bench.samples)[:some]}
    else:
        limit = arguments.get("limit")
        arguments["limit"] = some if limit is None or limit >= some or limit < 1 else limit
    return replace(bench, arguments=arguments)


def _texts(built: Built) -> tuple[tuple[str, ...], ...]:
    return tuple(built.contexts(number) for number in built.requests)
