"""Scores without parts of the prompts, as they lie beside a run in ``ablations_<task>_<date>.jsonl``.

A file begins with a line that says what is asked (``kind: plan``); one line a sample and arm follows as it is
answered (``kind: sample``), and one an arm when all are there (``kind: arm``). Lines are only ever
appended: of several about the same thing, the last one counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import pydantic

from gilot_plugin.artifacts.file_checks import Problem, parse_line
from gilot_plugin.artifacts.names import ABLATIONS_PATTERN
from gilot_plugin.errors import ArtifactError

#: Groups of samples that the jackknife of :attr:`ArmScore.change_stderr` leaves out in turn.
JACKKNIFE_GROUPS: Final = 20


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Plan(_Strict):
    """What is asked of a task.

    Attributes:
        schema_version: Of all lines.
        kind: ``"plan"``.
        task: Name of the task.
        date: Of the run, as its file names spell it.
        model: Name of the model.
        output_type: lm-eval's, of the task.
        identity: Digest of all that answers depend on beside the arm: the model, its requests, the samples.
        n: How many samples were drawn; None for all.
        seed: Of that draw, and of the order of shots.
        cluster: Field of the documents that tells which ones belong together.
        samples: Number of samples.
        arms: Names of the arms, ``"full"`` first.
        versions: Of the packages.
        groups: Of tasks that this one is in.
    """

    schema_version: Literal["1.0"] = "1.0"
    kind: Literal["plan"] = "plan"
    task: str
    date: str
    model: str
    output_type: str
    identity: str
    n: int | None
    seed: int
    cluster: str | None
    samples: int = pydantic.Field(ge=1)
    arms: tuple[str, ...]
    versions: dict[str, str]
    groups: tuple[str, ...] = ()


class SampleLine(_Strict):
    """One sample's answer in one arm.

    Attributes:
        kind: ``"sample"``.
        arm: Name of the arm.
        doc_id: lm-eval's number of the document.
        doc_hash: lm-eval's hash of the document.
        prompt_hash: The same of the first request's context.
        changed: Whether the arm changes any context of this sample.
        answers: By filter: the choice that is likeliest (its number, as text), whether the target is what
            the model would say, or what it said, after the filter.
        metrics: As lm-eval computed them, by ``"metric,filter"``.
        choices: Number of choices; None where the task has none.
        cluster: Value of the plan's field; None without one.
    """

    kind: Literal["sample"] = "sample"
    arm: str
    doc_id: int
    doc_hash: str
    prompt_hash: str
    changed: bool
    answers: dict[str, str]
    metrics: dict[str, Any]
    choices: int | None = None
    cluster: str | None = None

    @property
    def key(self) -> tuple[int, str]:
        """What tells the samples of a task apart."""
        return self.doc_id, self.doc_hash


class ArmScore(_Strict):
    """One score of an arm.

    Attributes:
        metric: ``"metric,filter"``.
        value: What lm-eval's own aggregation makes of the samples.
        stderr: lm-eval's standard error where it has a formula for it; None elsewhere.
        is_mean: Whether the score is the mean of a number a sample.
        higher_is_better: None where lm-eval does not say.
        change_stderr: Where the score is no mean: standard error of its difference from that of the
            prompts as they are, by a jackknife that leaves groups of samples out; None elsewhere.
        change_left_out: That difference without each of the groups in turn, which are the same in every
            run over the same samples; samples of a cluster are in one group. Empty elsewhere, and in files
            of earlier releases.
    """

    metric: str
    value: float
    stderr: float | None
    is_mean: bool
    higher_is_better: bool | None
    change_stderr: float | None = None
    change_left_out: tuple[float, ...] = ()


class ArmLine(_Strict):
    """What became of an arm.

    Attributes:
        kind: ``"arm"``.
        arm: Name of the arm.
        how: What it does to a prompt: ``"full"``, ``"without"`` (a part), and so on.
        value: Which part, pattern, task or function.
        status: ``"ok"``, ``"left_out"`` (it does not apply to the task), or ``"failed"``.
        reason: Why not, in words; None where it went well.
        changed: Samples whose prompt it changes.
        logged: Whether the answers are those of the evaluation, which were not asked for again.
        scores: In lm-eval's order.
    """

    kind: Literal["arm"] = "arm"
    arm: str
    how: str
    value: str = ""
    status: Literal["ok", "left_out", "failed"]
    reason: str | None = None
    changed: int = 0
    logged: bool = False
    scores: tuple[ArmScore, ...] = ()


#: Version of the schema.
ABLATION_VERSION: Final = "1.0"

Line: TypeAlias = Annotated[
    Plan | SampleLine | ArmLine,
    pydantic.Field(discriminator="kind", title="A line of ablations_<task>_<date>.jsonl"),
]


@cache
def _lines() -> pydantic.TypeAdapter[Any]:
    adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(Line)
    return adapter


@dataclass
class TaskAblation:
    """What a file says.

    Attributes:
        plan: What is asked.
        arms: What became of each arm, by name.
        samples: By arm, the lines of its samples by their keys.
    """

    plan: Plan
    arms: dict[str, ArmLine] = field(default_factory=dict)
    samples: dict[str, dict[tuple[int, str], SampleLine]] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether every arm came to an end."""
        return set(self.plan.arms) <= self.arms.keys()

    def take(self, line: Plan | SampleLine | ArmLine) -> None:
        """Add a line, in the order of the file."""
        if isinstance(line, Plan):
            self.plan = line
        elif isinstance(line, ArmLine):
            self.arms[line.arm] = line
        else:
            self.samples.setdefault(line.arm, {})[line.key] = line


def read_ablation(path: Path) -> TaskAblation | None:
    """Read a file.

    Returns:
        None where it has no whole line, as a process that was killed at once leaves it.

    Raises:
        ArtifactError: It cannot be read, or a line of it is none; a last line that breaks off is passed over.
    """
    found: TaskAblation | None = None
    for number, line, reason in _checked_lines(path):
        if reason is not None or line is None:
            raise ArtifactError(f"{path}:{number}: {reason}. `gilot validate` says more")
        if found is None:
            if not isinstance(line, Plan):
                raise ArtifactError(f"{path}:{number}: the first line is no plan. `gilot validate` says more")
            found = TaskAblation(line)
        found.take(line)
    return found


def read_ablations(folder: Path, date: str) -> tuple[TaskAblation, ...]:
    """Ablations of a run's tasks, those that are not complete, too; none where there are none.

    Raises:
        ArtifactError: A file is broken.
    """
    found = (
        read_ablation(path)
        for path in sorted(folder.glob(ABLATIONS_PATTERN))
        if path.name.endswith(f"_{date}.jsonl")
    )
    return tuple(one for one in found if one is not None)


def ablation_problems(path: Path) -> tuple[int, list[Problem]]:
    """Check a file of ablations.

    Returns:
        Number of its lines, and what is wrong with it.
    """
    problems: list[Problem] = []
    count = 0
    plan: Plan | None = None
    try:
        for number, line, reason in _checked_lines(path, until_the_end=True):
            count = number
            if reason is not None or line is None:
                problems.append(Problem(path, number, reason or "not a line"))
            elif isinstance(line, Plan):
                plan = line
            elif plan is None:
                problems.append(Problem(path, number, "stands before any plan"))
            elif line.arm not in plan.arms:
                problems.append(Problem(path, number, f"the plan has no arm {line.arm!r}"))
    except ArtifactError as error:
        problems.append(Problem(path, None, str(error)))
    return count, problems


def _checked_lines(path: Path, *, until_the_end: bool = False) -> Iterator[tuple[int, Any, str | None]]:
    try:
        lines: Sequence[bytes] = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror or error}") from error
    for number, content in enumerate(lines, start=1):
        if not content.endswith(b"\n") and not until_the_end:
            return
        value, reason = parse_line(content)
        if reason is not None:
            yield number, None, reason
            continue
        try:
            yield number, _lines().validate_python(value), None
        except pydantic.ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(str(part) for part in problem["loc"][1:])
            yield number, None, f"{place}: {problem['msg']}" if place else problem["msg"]
