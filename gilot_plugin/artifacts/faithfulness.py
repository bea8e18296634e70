"""Faithfulness of attributions, as it lies beside a run in ``faithfulness_<date>.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import pydantic

from gilot_plugin.artifacts.file_checks import parse_line
from gilot_plugin.artifacts.names import companion_name
from gilot_plugin.artifacts.schemas import schema_problems
from gilot_plugin.errors import ArtifactError
from gilot_plugin.statistics.families import ALPHA

FAITHFULNESS_VERSION: Final = "1.0"


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class MeanInterval(_Strict):
    """A mean over samples.

    Attributes:
        mean: The mean.
        low: Lower end of its 95 % interval; None with too few samples.
        high: Upper end.
    """

    mean: float
    low: float | None
    high: float | None


class ControlResult(_Strict):
    """A method against one control.

    Attributes:
        control: Name of the control: ``"random"``, ``"first_to_last"``, ``"last_to_first"``, ``"reversed"``.
        difference: Area between the curves, the method's minus the control's.
        p_value: Of the two-sided paired permutation test, adjusted for all comparisons of the file.
        beaten: Whether the method is better by more than chance.
    """

    control: str
    difference: MeanInterval
    p_value: float
    beaten: bool

    @property
    def beats(self) -> bool:
        """Whether the control is better than the method, by more than chance."""
        return not self.beaten and self.p_value <= ALPHA and self.difference.mean < 0


class MethodDifference(_Strict):
    """Two methods on the samples that both have scores for.

    Attributes:
        method: The one.
        other: The other.
        samples: Number of samples.
        difference: Area between the curves, the one's minus the other's.
        p_value: Of the two-sided paired permutation test, adjusted for all comparisons of the file.
        better: Which of them is better by more than chance; None for neither.
    """

    method: str
    other: str
    samples: int
    difference: MeanInterval
    p_value: float
    better: str | None


class MeanCurves(_Strict):
    """What a ranking of the units does to the model, over samples.

    Attributes:
        morf: Mean of the quantity for each fraction of the units removed, most relevant first.
        lerf: The same, least relevant first.
        area: Area between the two curves, positive where the ranking is better than its reverse.
    """

    morf: tuple[float, ...]
    lerf: tuple[float, ...]
    area: MeanInterval


class ControlCurves(MeanCurves):
    """Curves of rankings that know nothing of the model.

    Attributes:
        control: Name of the control.
    """

    control: str


class MethodCurves(MeanCurves):
    """Curves of an attribution method.

    Attributes:
        method: Name of the attribution method.
        samples: Samples that it has scores for.
        comprehensiveness: How far the quantity moves without the most relevant units; high is good.
        sufficiency: How far the quantity moves with the most relevant units alone; low is good.
        controls: Against each control.
    """

    method: str
    samples: int
    comprehensiveness: MeanInterval
    sufficiency: MeanInterval
    controls: tuple[ControlResult, ...]

    @property
    def is_finding(self) -> bool:
        """Whether there are controls, and the method beats each of them."""
        return bool(self.controls) and all(control.beaten for control in self.controls)


class Measure(_Strict):
    """One quantity under one way to take units away.

    Attributes:
        quantity: Name of the quantity, e.g. ``"similarity"``.
        summary: What it is, in words.
        absence: How units were taken away.
        samples: Samples that have it.
        methods: One an attribution method.
        controls: Curves of the controls; those of the reversed rankings are the methods' own, mirrored.
        differences: One a pair of methods.
    """

    quantity: str
    summary: str
    absence: str
    samples: int
    methods: tuple[MethodCurves, ...]
    controls: tuple[ControlCurves, ...]
    differences: tuple[MethodDifference, ...]

    @property
    def title(self) -> str:
        """Quantity and absence, short."""
        return f"{self.quantity}, {self.absence}"


class Resemblance(_Strict):
    """How much an attribution resembles that of the same model with random weights.

    Attributes:
        method: Name of the attribution method or of the control.
        is_control: Whether it is a control.
        samples: Samples that it was computed for.
        correlation: Spearman's rank correlation of both attributions.
        passes: Whether the correlation is below the threshold by more than chance: the attribution hangs on
            what was learnt.
        p_value: Of the one-sided permutation test of that, adjusted for all methods; None in older files.
        apart_from_order: The correlation with the order of the prompt partialled out. Random weights tend to
            follow that order, for a word is read by all that come after it. None where nothing is left.
    """

    method: str
    is_control: bool
    samples: int
    correlation: MeanInterval
    passes: bool
    apart_from_order: MeanInterval | None = None
    p_value: float | None = None


class Randomization(_Strict):
    """The model-randomisation test (Adebayo et al. 2018).

    Attributes:
        seed: Of the random weights.
        threshold: What the correlation has to be below.
        methods: One an attribution method or control.
    """

    seed: int
    threshold: float
    methods: tuple[Resemblance, ...]


class FaithfulnessSettings(_Strict):
    """What the numbers depend on.

    Attributes:
        model: Name of the model.
        model_args: Arguments that it was loaded with.
        embedder: Of the sentences, for the quantity ``similarity``.
        max_answer_tokens: Longest answer, in tokens.
        random_rankings: Random rankings a sample, whose curves are averaged.
        seed: Of the random rankings, ties and resampling.
        absence: Ways in which units were taken away.
        configs: Attribution settings in full (K is ``num_beams``, J is ``max_new_tokens``), by their hash.
        versions: Of the software that the numbers depend on.
    """

    model: str
    model_args: str
    embedder: str
    max_answer_tokens: int
    random_rankings: int
    seed: int
    absence: tuple[str, ...]
    configs: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, str]


class Faithfulness(_Strict):
    """Faithfulness figures of one run or one file of prompts.

    Attributes:
        schema_version: Of this file.
        settings: What the numbers depend on.
        samples: Number of samples.
        left_out: Samples without curves, by reason.
        fractions: Of the units that were removed, from 0 to 1.
        measures: One a quantity and way to take units away; the first quantity is the one to go by.
        seconds: Mean time of each method a sample, by its name; distances have the model's time in common.
        randomization: None where the test was not asked for.
    """

    model_config = pydantic.ConfigDict(
        json_schema_extra={
            "$id": f"urn:gilot-plugin:schema:faithfulness:{FAITHFULNESS_VERSION}",
            "title": "GiLOT faithfulness figures",
            "description": "faithfulness_<date>.json: Faithfulness figures of one run or one file of "
            "prompts.",
        }
    )

    schema_version: Literal["1.0"]
    settings: FaithfulnessSettings
    samples: int
    left_out: Mapping[str, int]
    fractions: tuple[float, ...]
    measures: tuple[Measure, ...]
    seconds: Mapping[str, float]
    randomization: Randomization | None = None

    @property
    def comparisons(self) -> int:
        """Number of comparisons, for which p-values are adjusted."""
        return sum(
            len(measure.differences) + sum(len(curves.controls) for curves in measure.methods)
            for measure in self.measures
        )

    @pydantic.model_validator(mode="after")
    def _lengths(self) -> Faithfulness:
        for measure in self.measures:
            curves: tuple[MethodCurves | ControlCurves, ...] = (*measure.methods, *measure.controls)
            for found in curves:
                if not len(found.morf) == len(found.lerf) == len(self.fractions):
                    name = found.method if isinstance(found, MethodCurves) else found.control
                    raise ValueError(f"{measure.title}, {name}: the curves need a value for each fraction")
        return self


def faithfulness_path(folder: Path, date: str) -> Path:
    """Where a run's faithfulness figures lie."""
    return folder / companion_name("faithfulness", date, ".json")


def read_faithfulness(folder: Path, date: str) -> Faithfulness | None:
    """Read a run's faithfulness figures; None where they were not computed.

    Raises:
        ArtifactError: The file is broken.
    """
    path = faithfulness_path(folder, date)
    if not path.is_file():
        return None
    try:
        return Faithfulness.model_validate_json(path.read_bytes())
    except pydantic.ValidationError as error:
        raise ArtifactError(f"{path}: {_first_problem(error)}") from error


def faithfulness_problems(path: Path) -> Iterator[str]:
    """Say what is wrong with a file of faithfulness figures."""
    try:
        value, reason = parse_line(path.read_bytes())
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
    if reason is not None:
        yield reason
        return
    broken = list(schema_problems(value, "faithfulness"))
    yield from broken
    if not broken:
        try:
            Faithfulness.model_validate(value)
        except pydantic.ValidationError as error:
            yield _first_problem(error)


def _first_problem(error: pydantic.ValidationError) -> str:
    problem = error.errors()[0]
    place = ".".join(map(str, problem["loc"]))
    message = problem["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
