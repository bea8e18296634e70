"""The audit in words, as JSON, and as a yes or no."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gilot_plugin import __version__
from gilot_plugin.comparison.audit import Audit
from gilot_plugin.comparison.changes import Change
from gilot_plugin.comparison.flips import Flips
from gilot_plugin.comparison.shifts import Shift
from gilot_plugin.errors import ConfigError
from gilot_plugin.statistics import ALPHA

AUDIT_VERSION = "1.0"

_CHANGES = {
    "moved": "share of the attribution that lies elsewhere",
    "distance": "distance that it moved, in lengths of the prompt",
    "outcome_change": "probability that moved between outcomes",
    "top_lost": "share of the top units that are others",
    "rank_change": "1 minus the rank correlation of the scores",
}
_NAMED = 5


def verdict_lines(audit: Audit) -> list[str]:
    """A short text: what changed for certain, what did not, and what a reader should know."""
    tasks = len({pair.base.task for pair in audit.pairs})
    lines = [
        f"{audit.tuned} against {audit.base}: {len(audit.pairs)} pairs of {tasks} task{'s' * (tasks > 1)}, "
        f"scores by {audit.method}."
    ]
    lines += [flip_words(found) for found in audit.flips]
    for kind, shifts in (("words", audit.words), ("parts of the prompt", audit.segments)):
        found = [shift for shift in shifts if shift.is_finding]
        if found:
            more = f" And {len(found) - _NAMED} more {kind}." if len(found) > _NAMED else ""
            lines += [shift_words(shift) for shift in found[:_NAMED]]
            lines += [more.strip()] if more else []
        elif shifts:
            lines.append(
                f"No shift of attention between {kind} beyond chance "
                f"({len(shifts)} tested, false discovery rate {ALPHA:.0%})."
            )
    apart = [change for change in audit.changes if change.is_finding]
    if apart:
        lines.append(
            f"Attributions are further apart than those of repeated base runs: {change_words(apart[0])}"
        )
    elif audit.noise_runs:
        lines.append("Attributions are no further apart than those of repeated base runs.")
    return lines


def flip_words(flips: Flips) -> str:
    """One task's answers."""
    which = "samples" if flips.of_all else "explained samples"
    beyond = "more than chance" if flips.is_finding else "not more than chance"
    return (
        f"{flips.task}: {flips.base_right} of {flips.judged} {which} right before, {flips.tuned_right} "
        f"after; {flips.right_to_wrong} went wrong, {flips.wrong_to_right} went right "
        f"(McNemar q = {flips.q_value:.2g}, {beyond})."
    )


def shift_words(shift: Shift) -> str:
    """One shift of attention."""
    where = "" if shift.task is None else f"{shift.task}: "
    interval = "" if shift.test.low is None else f" ({shift.test.low:+.1%} to {shift.test.high:+.1%})"
    return (
        f"{where}{shift.name!r} went from {shift.base:.1%} to {shift.tuned:.1%} of the attribution, "
        f"{shift.test.mean:+.1%}{interval} in {shift.test.pairs} pairs (q = {shift.q_value:.2g})."
    )


def change_words(change: Change) -> str:
    """One measure of how far attributions are apart."""
    noise = "" if change.noise is None else f", {change.noise:.3g} between repeated base runs"
    judged = "" if change.q_value is None else f" (q = {change.q_value:.2g})"
    return f"{_CHANGES[change.name]}: {change.mean:.3g}{noise}{judged}."


def audit_json(audit: Audit) -> dict[str, Any]:
    """The audit for machines."""
    return {
        "schema_version": AUDIT_VERSION,
        "gilot_plugin": __version__,
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
