"""Faithfulness of a run's attributions, as it lies beside them in ``faithfulness_<date>.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pydantic

from gilot_plugin.artifacts.names import companion_name
from gilot_plugin.errors import ArtifactError

FAITHFULNESS_VERSION = "1.0"


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Interval(_Strict):
    """A mean over samples.

    Attributes:
        mean: The mean.
        low: Lower end of its 95 % bootstrap interval.
        high: Upper end.
    """

    mean: float
    low: float
    high: float


class ControlResult(_Strict):
    """A method against one control.

    Attributes:
        control: Name of the control, e.g. ``"random"``, ``"position"``, ``"reversed"``.
        difference: Area between the curves, the method's minus the control's.
        p_value: Of the paired permutation test, adjusted for all comparisons.
        beaten: Whether the method is better by more than chance.
    """

    control: str
    difference: Interval
    p_value: float
    beaten: bool


class MethodCurves(_Strict):
    """What a method's ranking of the units does to the model.

    Attributes:
        method: Name of the attribution method.
        morf: Mean similarity for each fraction of the units removed, most relevant first.
        lerf: The same, least relevant first.
        area: Area between the two curves.
        controls: Against each control.
    """

    method: str
    morf: tuple[float, ...]
    lerf: tuple[float, ...]
    area: Interval
    controls: tuple[ControlResult, ...]

    @property
    def is_finding(self) -> bool:
        """Whether there are controls, and the method beats each of them."""
        return bool(self.controls) and all(control.beaten for control in self.controls)


class Faithfulness(_Strict):
    """Faithfulness figures of one run.

    Attributes:
        schema_version: Of this file.
        measure: What the curves show, e.g. ``"similarity of the answers"``.
        samples: Number of samples.
        fractions: Of the units that were removed, from 0 to 1.
        methods: One a method.
    """

    schema_version: Literal["1.0"]
    measure: str
    samples: int
    fractions: tuple[float, ...]
    methods: tuple[MethodCurves, ...]

    @pydantic.model_validator(mode="after")
    def _lengths(self) -> Faithfulness:
        for found in self.methods:
            if not len(found.morf) == len(found.lerf) == len(self.fractions):
                raise ValueError(f"{found.method}: the curves need a value for each fraction")
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
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise ArtifactError(f"{path}: {place}: {problem['msg']}") from error
