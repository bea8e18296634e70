"""What the table of an ablation says, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gilot_plugin.analysis.ablation import AblationTable, ScoreChange
from gilot_plugin.settings.ablation import LISTED_PARTS
from gilot_plugin.statistics.families import ALPHA, samples_needed

#: Parts whose absence is told of in a sentence, whether it shows or not.
_WHOLE_PARTS = frozenset({"system", "description", "shots", "question", "stem", "choices", "all_choices"})


def readings(table: AblationTable) -> Iterator[str]:
    """What the table says for sure, one sentence a line."""
    for change in table.changes:
        where = f"{change.task}: {change.metric_words}"
        if change.is_finding:
            verb = "falls" if change.difference < 0 else "rises"
            yield (
                f"{where} {verb} from {change.full:.3g} to {change.score:.3g} {_arm_words(change.arm)} "
                f"({p_words(change.q_value)})."
            )
        if change.guessing is not None and change.guessing.is_finding:
            told = (
                "the choices, or the order in which they are listed, give answers away."
                if change.arm == "without stem"
                else "what is left of the prompt, or the choices themselves, give answers away."
            )
            yield (
                f"{where} is {change.score:.3g} {_arm_words(change.arm)}, where guessing gives "
                f"{change.guessing.expected:.3g} ({p_words(change.guessing.q_value)}): {told}"
            )
    yield from _same_answers(table.changes)
    yield from _partly_changed(table.changes)


def _by_arm(changes: Iterable[ScoreChange]) -> Iterable[ScoreChange]:
    """One change of each task and arm, of whatever metric."""
    found: dict[tuple[str, str], ScoreChange] = {}
    for change in changes:
        found.setdefault((change.task, change.arm), change)
    return found.values()


def _same_answers(changes: Iterable[ScoreChange]) -> Iterator[str]:
    for change in _by_arm(changes):
        is_part = change.arm.removeprefix("without ") in _WHOLE_PARTS or change.arm == "only the question"
        if is_part and change.changed == 1:
            yield f"{change.task}: {change.same:.0%} of the answers are the same {_arm_words(change.arm)}."


def _partly_changed(changes: Iterable[ScoreChange]) -> Iterator[str]:
    """Arms that leave some prompts as they are."""
    for change in _by_arm(changes):
        if change.changed < 1:
            count = round(change.changed * change.samples)
            listed = change.arm.removeprefix("without ") in LISTED_PARTS
            yield (
                f"{change.task}: {count} of {change.samples} prompts are changed {_arm_words(change.arm)}"
                f"{'; in the others the choices are not found' if listed else ''}."
            )


def _arm_words(arm: str) -> str:
    """An arm in a sentence."""
    kind, _, part = arm.partition(" ")
    if kind == "without" and " " not in part:
        number = part.removeprefix("shot_")
        names = {
            "shots": "examples",
            "lead_in": "lead-in",
            "system": "system prompt",
            "stem": "question's stem (its choices stay)",
            "choices": "choices in the question",
            "all_choices": "choices in the question and the examples",
        }
        return f"without example {number}" if number != part else f"without the {names.get(part, part)}"
    return "with the question alone" if arm == "only the question" else f"({arm})"


def p_words(q_value: float) -> str:
    """An adjusted p-value."""
    return "adjusted p < 0.001" if q_value < 0.001 else f"adjusted p = {q_value:.2g}"


def judged_words(change: ScoreChange) -> str:
    """A change, for the cell of a table."""
    if change.test is None:
        return "no test"
    if change.difference == 0 and change.low is None:
        return "nothing changed"
    if not change.testable:
        return "too few differ"
    if change.is_finding:
        return p_words(change.q_value).removeprefix("adjusted ")
    return f"no (p = {change.q_value:.2g})"


def verdict_line(table: AblationTable) -> str:
    """What the tests say together; empty where there are none."""
    tested = [change for change in table.changes if change.test is not None]
    if not tested:
        return ""
    count = sum(change.is_finding for change in tested)
    least = min(change.samples for change in tested)
    needed = samples_needed(len(tested))
    more = f" It takes at least {needed} answers that change." if not count and least < needed else ""
    return (
        f"{count} of {len(tested)} scores are shown to be others without a part of the prompt (false "
        f"discovery rate {ALPHA:.0%}).{more}"
    )
