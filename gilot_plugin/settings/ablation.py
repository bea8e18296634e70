"""The setting ``ablate``: without which parts of its prompts a task is scored once more."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

import regex
from pydantic import BaseModel, ConfigDict, Field, field_validator

#: Value of ``ablate.arms`` that takes every part that a task has, one at a time.
AUTO_ARMS: Final = "auto"

#: The arm that nothing is taken from.
FULL = "full"

#: Names of arms that are no part of a prompt.
ONLY_QUESTION: Final = "only_question"
SHOT_ORDER: Final = "shot_order"
EACH_SHOT: Final = "each_shot"

#: Parts that are there where the context lists choices: what a question says beside them, the choices
#: themselves, and those of the examples, too.
LISTED_PARTS: Final = ("stem", "choices", "all_choices")

_PARTS = ("system", "description", "shots", "question", *LISTED_PARTS, "lead_in")
_SHOT = re.compile(r"shot_[1-9]\d*")
_PLACE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_ALLOWED = (
    f"allowed are {', '.join(map(repr, (*_PARTS, 'shot_<n>', EACH_SHOT, ONLY_QUESTION, SHOT_ORDER)))}, "
    "{shots_of: TASK}, {regex: PATTERN} and {function: package.module:name}, the last two with a name if you "
    "like: {regex: PATTERN, name: NAME}"
)

Kind = Literal["full", "without", "only_question", "shot_order", "shots_of", "regex", "function"]


class Arm(NamedTuple):
    """One way to change the prompts of a task.

    Attributes:
        name: In records, tables and sentences, e.g. ``"without question"``.
        kind: How they are changed.
        value: What is taken away (a part, a pattern), whose shots come instead, or which function says what
            is left.
    """

    name: str
    kind: Kind
    value: str = ""

    @property
    def part(self) -> str | None:
        """The part that is taken away; None where the arm is no single part."""
        return self.value if self.kind == "without" else None


def without(part: str) -> Arm:
    """The arm without a part."""
    return Arm(f"without {part}", "without", part)


class Ablation(BaseModel):
    """What is taken from the prompts of a task, and from how many of them.

    Attributes:
        arms: Names of parts and other changes, see :func:`arms_named`; ``"auto"`` for every part that a task
            has.
        n: So many samples of a task, drawn at random; None for all.
        seed: Of that draw, and of the order of shots.
        cluster: Field of the documents, dots for nesting, whose values tell which samples belong together, as
            questions about one text do; None where each stands for itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    arms: Literal["auto"] | tuple[str | dict[str, str], ...] = AUTO_ARMS
    n: int | None = Field(None, ge=1, strict=True)
    seed: int = Field(0, ge=0, strict=True)
    cluster: str | None = Field(None, min_length=1)

    @field_validator("arms", mode="before")
    @classmethod
    def _known_arms(cls, value: Any) -> Any:
        if value == AUTO_ARMS:
            return value
        given = (value,) if isinstance(value, (str, Mapping)) else value
        if not isinstance(given, (list, tuple)) or not given:
            raise ValueError(f"must be 'auto' or a list of changes: {_ALLOWED}")
        names = [name for one in given for name in _checked(one)]
        if len(set(names)) != len(names):
            raise ValueError("each change may be named once")
        return tuple(dict(one) if isinstance(one, Mapping) else one for one in given)


def as_ablation(value: Any) -> Any:
    """A value of the setting as keywords of :class:`Ablation`; None and models as they are.

    Raises:
        ValueError: It is none.
    """
    if value is None or value is False or isinstance(value, Ablation):
        return value or None
    if value is True or value == AUTO_ARMS:
        return {}
    if isinstance(value, (list, tuple, str)):
        return {"arms": value}
    if isinstance(value, Mapping):
        is_arm = any(key in value for key in ("regex", "function", "shots_of"))
        return {"arms": [value]} if is_arm else dict(value)
    raise ValueError("allowed are 'auto', a list of changes, and {arms: ..., n: N, seed: S, cluster: FIELD}")


def _checked(value: Any) -> list[str]:
    """The names of the arms that one entry stands for.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, str):
        if value in (*_PARTS, EACH_SHOT, ONLY_QUESTION, SHOT_ORDER) or _SHOT.fullmatch(value):
            return [value]
        raise ValueError(f"{value!r} is unknown: {_ALLOWED}")
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r} is unknown: {_ALLOWED}")
    kinds = set(value) - {"name"}
    if len(kinds) != 1 or not kinds <= {"shots_of", "regex", "function"}:
        raise ValueError(f"{dict(value)!r} is unknown: {_ALLOWED}")
    if not all(isinstance(text, str) and text for text in value.values()):
        raise ValueError(f"{dict(value)!r}: every value must be a text")
    if "regex" in value:
        try:
            regex.compile(value["regex"])
        except regex.error as error:
            raise ValueError(f"the pattern {value['regex']!r} does not compile: {error}") from None
    if "function" in value and not _PLACE.fullmatch(value["function"]):
        raise ValueError(f"{value['function']!r}: write package.module:name")
    (arm,) = arms_named([value], 0)
    if arm.name == FULL:
        raise ValueError(f"the name {FULL!r} is that of the prompts as they are")
    return [arm.name]


def arms_named(given: Iterable[Any], shots: int) -> Iterator[Arm]:
    """The arms that a list of changes stands for.

    Args:
        given: Entries of ``ablate.arms``, each checked.
        shots: Examples in a prompt, for ``"each_shot"``.
    """
    for one in given:
        if isinstance(one, Mapping):
            (kind,) = set(one) - {"name"}
            value = one[kind]
            names = {
                "shots_of": f"shots of {value}",
                "regex": f"without matches of {value}",
                "function": f"by {value}",
            }
            yield Arm(one.get("name", names[kind]), kind, value)
        elif one == ONLY_QUESTION:
            yield Arm("only the question", ONLY_QUESTION)
        elif one == SHOT_ORDER:
            yield Arm("shots in another order", SHOT_ORDER)
        elif one == EACH_SHOT:
            yield from (without(f"shot_{number}") for number in range(1, shots + 1))
        else:
            yield without(one)


def lending_tasks(ablation: Ablation) -> Iterator[str]:
    """Names of the tasks whose examples are asked for."""
    for one in () if ablation.arms == AUTO_ARMS else ablation.arms:
        if isinstance(one, Mapping) and "shots_of" in one:
            yield one["shots_of"]


def ablation_functions(value: Any) -> Iterator[str]:
    """Places of the functions that the setting, checked or not, would run."""
    if isinstance(value, Ablation):
        value = value.arms
    if isinstance(value, Mapping):
        if "function" in value:
            yield str(value["function"])
        yield from ablation_functions(value.get("arms"))
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from ablation_functions(part)
