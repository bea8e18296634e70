"""The audit in words, as JSON, and as a yes or no."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gilot_plugin.comparison.ablations import ablation_words
from gilot_plugin.comparison.audit import Audit
from gilot_plugin.comparison.changes import Change
from gilot_plugin.comparison.flips import Flips
from gilot_plugin.comparison.judging import pairs_needed
from gilot_plugin.comparison.shifts import Shift
from gilot_plugin.errors import ConfigError
from gilot_plugin.statistics.families import ALPHA
from gilot_plugin.version import VERSION

AUDIT_VERSION = "1.1"

#: What a :class:`Change` measures, and whether it is a share.
_CHANGES = {
    "moved": ("share of the attribution that lies elsewhere", True),
    "distance": ("distance that it moved, as a share of the prompt's length", True),
    "outcome_change": ("probability that moved between outcomes", True),
    "top_lost": ("share of the top units that are others", True),
    "rank_change": ("1 minus the rank correlation of the scores", False),
}
_NAMED = 5


def verdict_lines(audit: Audit) -> list[str]:
    """A short text: what changed for certain, what did not, and what a reader should know."""
    tasks = len({pair.base.task for pair in audit.pairs})
    lines = [
        f"{audit.tuned} against {audit.base}: {len(audit.pairs)} samples of {tasks} task{'s' * (tasks > 1)} "
        f"that both explained, scores by {audit.method}."
    ]
    lines += [flip_words(found) for found in audit.flips]
    apart = [change for change in audit.changes if change.is_finding]
    if apart:
        lines.append(
            "On the whole, the attributions differ by more than those of repeated base runs: "
            f"{change_words(apart[0])}"
        )
    elif audit.noise_runs:
        lines.append(
            "On the whole, the attributions are not shown to differ by more than those of repeated base runs."
        )
    for kind, several, shifts in (
        ("word", "words", audit.words),
        ("part of the prompts", "parts of the prompts", audit.segments),
    ):
        found = [shift for shift in shifts if shift.is_finding]
        lines += [shift_words(shift) for shift in found[:_NAMED]]
        if len(found) > _NAMED:
            lines.append(f"{len(found) - _NAMED} more {several} weigh more or less, by more than chance.")
        if shifts and not found:
            lines.append(_nothing_words(kind, shifts))
    lines += [ablation_words(found) for found in audit.ablations if found.is_finding]
    if audit.ablations and not any(found.is_finding for found in audit.ablations):
        lines.append("No part of the prompts is shown to matter more or less to the score than before.")
    return lines


def _nothing_words(kind: str, shifts: Sequence[Shift]) -> str:
    """What it means that nothing was found: what could have been, or how many samples it would take."""
    found = [shift.detectable for shift in shifts if shift.detectable is not None]
    if not found:
        return (
            f"No {kind} can be told from chance, however far it shifted: of {len(shifts)}, each is in too "
            f"few samples. It takes {pairs_needed(len(shifts))}."
        )
    few = len(shifts) - len(found)
    left_out = f", {few} more are in too few samples to be told from chance" if few else ""
    return (
        f"No {kind} is shown to weigh more or less than before: {len(found)} tested{left_out} (false "
        f"discovery rate {ALPHA:.0%}). A shift of {100 * min(found):.1f} percentage points is the smallest "
        "that would have been found four times in five; smaller ones may be there."
    )


def flip_words(flips: Flips) -> str:
    """One task's answers."""
    which = "samples" if flips.of_all else "explained samples"
    beyond = "more than chance" if flips.is_finding else "chance may do that"
    return (
        f"{flips.task}: of {flips.judged} {which}, the base model gets {flips.base_right} right, the other "
        f"model {flips.tuned_right}; {flips.right_to_wrong} went from right to wrong and "
        f"{flips.wrong_to_right} from wrong to right ({beyond}: McNemar's test, {q_words(flips.q_value)})."
    )


def shift_words(shift: Shift) -> str:
    """One shift of the attribution."""
    of_what = f"{shift.task}: the part"
    if shift.task is None:
        of_what = "The word" if len(shift.name.split()) == 1 else "The text"
    more = "more" if shift.test.mean > 0 else "less"
    return (
        f"{of_what} {shift.name!r} weighs {more}: {shift.base:.1%} of the attribution before, "
        f"{shift.tuned:.1%} after (mean of {shift.test.pairs} samples, {q_words(shift.q_value)})."
    )


def change_words(change: Change) -> str:
    """One measure of how far attributions are apart."""
    words, is_share = _CHANGES[change.name]

    def size(value: float) -> str:
        return share_words(value) if is_share else f"{value:.2f}"

    noise = "" if change.noise is None else f", {size(change.noise)} between repeated base runs"
    judged = "" if change.q_value is None else f" ({q_words(change.q_value)})"
    return f"{words}: {size(change.mean)}{noise}{judged}."


def share_words(share: float) -> str:
    """A share of 1 in percent, e.g. ``48.3%``; what is not 0 is not called 0."""
    return "less than 0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def q_words(q_value: float) -> str:
    """An adjusted p-value, e.g. ``q = 0.049``."""
    return f"q < {_LEAST_Q}" if q_value < _LEAST_Q else f"q = {q_value:.2g}"


def q_cell(q_value: float) -> str:
    """The same for a column whose heading names it."""
    return q_words(q_value).removeprefix("q ").removeprefix("= ").replace("< ", "<")


#: Smaller ones say nothing more to a reader; they stand in the JSON.
_LEAST_Q = 0.001


def audit_json(audit: Audit) -> dict[str, Any]:
    """The audit for machines."""
    return {
        "schema_version": AUDIT_VERSION,
        "gilot_plugin": VERSION,
        "base": audit.base,
        "tuned": audit.tuned,
        "method": audit.method,
        "noise_runs": audit.noise_runs,
        "false_discovery_rate": ALPHA,
        "verdict": verdict_lines(audit),
        "warnings": list(audit.warnings),
        "flips": [{**found._asdict(), "is_finding": found.is_finding} for found in audit.flips],
        "segments": [_shift(found) for found in audit.segments],
        "words": [_shift(found) for found in audit.words],
        "changes": [
            {
                **found._asdict(),
                "test": None if found.test is None else found.test._asdict(),
                "is_finding": found.is_finding,
            }
            for found in audit.changes
        ],
        "ablations": [
            {**found._asdict(), "test": found.test._asdict(), "is_finding": found.is_finding}
            for found in audit.ablations
        ],
        "pairs": [
            {
                "task": pair.base.task,
                "doc_id": pair.base.doc_id,
                "doc_hash": pair.base.doc_hash,
                "coverage": pair.coverage,
                **dataclasses.asdict(measures),
            }
            for pair, measures in zip(audit.pairs, audit.measures, strict=True)
        ],
        "unpaired": [found._asdict() for found in audit.unpaired],
    }


def _shift(shift: Shift) -> dict[str, Any]:
    return {**shift._asdict(), "test": shift.test._asdict(), "is_finding": shift.is_finding}


# Thresholds for CI


class Threshold(NamedTuple):
    """A reason to fail.

    Attributes:
        name: A key of :data:`THRESHOLDS`.
        limit: What must not be reached.
    """

    name: str
    limit: float


def _findings(audit: Audit) -> float:
    kinds: Sequence[Sequence[Shift | Change | Flips]] = (
        *(audit.segments, audit.words),
        *(audit.changes, audit.flips),
    )
    return float(sum(found.is_finding for kind in kinds for found in kind))


def _largest_shift(shifts: Sequence[Shift]) -> float:
    return max((abs(shift.test.mean) for shift in shifts if shift.is_finding), default=0.0)


def _accuracy_drop(audit: Audit) -> float:
    return max(
        ((found.base_right - found.tuned_right) / found.judged for found in audit.flips if found.is_finding),
        default=0.0,
    )


def _right_to_wrong(audit: Audit) -> float:
    judged = sum(found.judged for found in audit.flips)
    return sum(found.right_to_wrong for found in audit.flips) / judged if judged else 0.0


#: What ``--fail_on NAME=LIMIT`` compares with its limit.
THRESHOLDS: Mapping[str, tuple[Callable[[Audit], float], str]] = {
    "findings": (_findings, "number of findings of any kind"),
    "segment_shift": (lambda audit: _largest_shift(audit.segments), "largest shift of a part of the prompt"),
    "word_shift": (lambda audit: _largest_shift(audit.words), "largest shift of a word"),
    "accuracy_drop": (_accuracy_drop, "largest drop of a task's accuracy, of those beyond chance"),
    "right_to_wrong": (_right_to_wrong, "share of the answers that went wrong"),
    "moved": (
        lambda audit: next(change.mean for change in audit.changes if change.name == "moved"),
        "mean share of the attribution that lies elsewhere",
    ),
}


def parse_thresholds(texts: Sequence[str]) -> tuple[Threshold, ...]:
    """Read ``NAME=LIMIT`` or ``NAME``, which means any at all, separated by commas.

    Raises:
        ConfigError: A name is unknown, or a limit is no number.
    """
    found = []
    for text in (part for argument in texts for part in argument.split(",")):
        name, equals, limit = text.strip().partition("=")
        if name not in THRESHOLDS:
            told = ", ".join(f"{known} ({words})" for known, (_, words) in THRESHOLDS.items())
            raise ConfigError(f"--fail_on: {name!r} is unknown; there are {told}")
        try:
            found.append(Threshold(name, float(limit) if equals else 0.0))
        except ValueError:
            raise ConfigError(f"--fail_on: {limit!r} is not a number: write {name}=0.1") from None
    return tuple(found)


def failures(audit: Audit, thresholds: Sequence[Threshold]) -> Iterator[str]:
    """Say which thresholds the audit reaches; a limit of 0 is reached by anything above it."""
    for name, limit in thresholds:
        measure, words = THRESHOLDS[name]
        value = measure(audit)
        if value > 0 and value >= limit:
            yield f"{words}: {value:.4g}, at least {limit:.4g} ({name})"
