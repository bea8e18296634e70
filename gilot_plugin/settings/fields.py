"""The fields of the settings, and what each may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import regex
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    field_validator,
    model_validator,
)

from gilot_plugin.attribution.methods import PromptMethod
from gilot_plugin.attribution.names import DEFAULT_COST_LIMIT, LEAVE_ONE_OUT, SOLVER_NAMES
from gilot_plugin.attribution.prompt.units import SCOPES, UNIT_KINDS
from gilot_plugin.attribution.prompt.windows import WINDOWS
from gilot_plugin.errors import one_of
from gilot_plugin.plugins.offers import absence_operators, attribution_methods, schemes
from gilot_plugin.settings.ablation import Ablation, as_ablation
from gilot_plugin.settings.checking import explained, is_name_of, member
from gilot_plugin.settings.selection import Selection, parse_selection

#: Value of the setting ``units`` that finds them by measuring, and the tokens it may spend a sample.
AUTO_UNITS = "auto"
DEFAULT_UNIT_BUDGET = 50_000

_SIZE_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, true and false are none")
    return value


_Whole = Annotated[int, BeforeValidator(_no_truth_value)]
_Real = Annotated[float, BeforeValidator(_no_truth_value)]


class Budget(BaseModel):
    """What explaining the samples of a run may cost.

    Attributes:
        minutes: Wall-clock minutes after which no other sample is begun.
        samples: Most samples of all tasks together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    minutes: _Real | None = Field(None, gt=0)
    samples: _Whole | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _says_something(self) -> Budget:
        if self.minutes is None and self.samples is None:
            raise ValueError("allowed are {minutes: M}, {samples: N} and both")
        return self


class Fields(BaseModel):
    """The settings of an attribution, each checked by itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    preset: str = Field("default", description="named set of settings that explicit ones override")
    num_beams: _Whole = Field(4, ge=1, description="K, hypotheses a prompt")
    max_new_tokens: _Whole = Field(5, ge=1, description="J, tokens of the answer that are explained")
    hypotheses: Literal["regenerate", "shared", "response"] = Field(
        "response",
        description="those of a prompt without a unit: a new beam search, those of the full prompt scored "
        "again, or only what the model answered",
    )
    absence: str = Field("delete", description="how a unit is taken away")
    replace_with: int | str | None = Field(
        None, description="token id or text of one token, for absence=replace"
    )
    steps: Literal["last", "mean"] = Field(
        "mean",
        description="average the distances over the positions 1, ..., J of the answer, or compare only what "
        "comes after J tokens",
    )
    units: str | dict[str, str] = Field("word", description="what is taken away at a time")
    unit_budget: _Whole | None = Field(
        None,
        ge=1,
        description=f"tokens that the model may read a sample, for units=auto ({DEFAULT_UNIT_BUDGET})",
    )
    scope: str | tuple[str, ...] = Field(
        "content",
        description="parts whose units are taken away: content, all, a segment, shots for every shot_<n>, "
        "reasoning for what the model said before what is explained, or a list of these",
    )
    explain: str | dict[str, str] = Field(
        "auto",
        description="which positions of the answer: the first max_new_tokens (start), the last (end), all of "
        "them, what a task's filter took out for the metric (scored), or {regex: PATTERN}; auto: scored "
        "where a filter takes a span out, else start",
    )
    target: Literal["auto", "generation", "choices"] = Field(
        "auto", description="explain what would be generated, or which of the task's choices is preferred"
    )
    rolling_target: _Whole | None = Field(
        None,
        ge=1,
        description="how many of the last tokens of a text that is scored as a whole (loglikelihood_rolling) "
        "are explained; None: such texts are skipped",
    )
    choice_scoring: Literal["sum", "norm"] = Field(
        "sum", description="compare choices by log-likelihood (acc) or by that a character (acc_norm)"
    )
    top_p: _Real = Field(
        0.99, gt=0, le=1, description="probability that the support of each distribution covers"
    )
    top_k: _Whole = Field(1000, ge=1, description="largest support of each distribution")
    ground_cost: Literal["cosine", "centered", "output", "angular", "truncated"] = Field(
        "cosine",
        description="cost between tokens: 1 - cosine of input embeddings, the same of centered or of output "
        "embeddings, their angle, or 1 - cosine up to cost_limit",
    )
    cost_limit: _Real | None = Field(
        None, gt=0, lt=2, description=f"largest cost, for ground_cost=truncated ({DEFAULT_COST_LIMIT})"
    )
    solver: str = Field("auto", description="solver of the transport problems")
    transport_tolerance: _Real = Field(
        1e-3,
        gt=0,
        le=1,
        description="largest error of a transport cost, as a share of the cost itself, or 1e-6 where that is "
        "more; beyond it, solver=auto solves exactly",
    )
    methods: tuple[str, ...] = Field(("ot", "kl", "l2"), description="what is computed for each unit")
    scheme: str = Field(
        LEAVE_ONE_OUT, description="how scores come from coalitions of absent units, whatever is measured"
    )
    coalitions: int | Literal["auto"] = Field(
        "auto", description="sets of absent units that a scheme may read of a sample; auto: its own number"
    )
    token_budget: _Whole | None = Field(
        None, ge=1, description="tokens that the model may read of a sample for a scheme's coalitions"
    )
    select: Selection = Field(
        default_factory=lambda: parse_selection("first"),
        title="Select",
        description="which samples of a task are explained",
    )
    budget: Budget | None = Field(
        None, description="what explaining may cost in all: {minutes: M}, {samples: N} or both"
    )
    ablate: Ablation | None = Field(
        None,
        description="score the task again without parts of its prompts: auto, a list of parts, or "
        "{arms: ..., n: N}",
    )
    batch_size: int | Literal["auto"] = Field("auto", description="prompts searched together")
    memory_budget: int | None = Field(None, description="bytes that prompts in a batch may take, e.g. 2GiB")
    num_threads: _Whole | None = Field(
        None, ge=1, description="worker threads of the transport solver; None: one a core"
    )
    noise_floor: Literal["auto"] | StrictBool = Field(
        "auto",
        description="measure how much scores move in other batches; auto: in half precision",
    )
    step_scores: StrictBool = Field(
        True, description="keep the scores at every single position of the answer in the records"
    )
    seed: _Whole = Field(0, ge=0, description="for random selection and methods that draw numbers")
    output_path: Path | None = Field(
        None, description="folder of the artifacts; None: beside lm-eval's own samples"
    )

    resume: Path | None = Field(
        None, description="folder of a run that was killed or interrupted, whose finished records are kept"
    )

    @field_validator("absence", mode="before")
    @classmethod
    def _known_absence(cls, value: Any) -> Any:
        return member(value, absence_operators())

    @field_validator("scheme", mode="before")
    @classmethod
    def _known_scheme(cls, value: Any) -> Any:
        return member(value, schemes())

    @field_validator("coalitions", "batch_size", mode="before")
    @classmethod
    def _auto_or_positive(cls, value: Any) -> Any:
        if value == "auto" or _is_whole(value, at_least=1):
            return value
        raise ValueError("allowed are 'auto' and whole numbers from 1")

    @field_validator("replace_with", mode="before")
    @classmethod
    def _possible_token(cls, value: Any) -> Any:
        if value is None or (isinstance(value, str) and value) or _is_whole(value, at_least=0):
            return value
        raise ValueError("allowed are token ids, which start at 0, and the text of one token")

    @field_validator("solver", mode="before")
    @classmethod
    def _known_solver(cls, value: Any) -> Any:
        return member(value, SOLVER_NAMES)

    @field_validator("methods", mode="before", json_schema_input_type=str | list[str])
    @classmethod
    def _known_methods(cls, value: Any) -> Any:
        names = (value,) if isinstance(value, str) else value
        methods = attribution_methods()
        if not isinstance(names, (list, tuple)) or not names:
            raise ValueError(f"allowed is a list of at least one of {one_of(tuple(methods))}")
        for name in names:
            method = methods[member(name, methods)]
            if isinstance(method, PromptMethod) and method.unavailable is not None:
                raise ValueError(f"{name!r} {method.unavailable}")
        if len(set(names)) != len(names):
            raise ValueError("each method may be named once")
        return tuple(names)

    @field_validator("units", mode="before")
    @classmethod
    def _known_units(cls, value: Any) -> Any:
        return _name_or_pattern(value, (*UNIT_KINDS, AUTO_UNITS))

    @field_validator("explain", mode="before")
    @classmethod
    def _known_window(cls, value: Any) -> Any:
        return _name_or_pattern(value, WINDOWS)

    @field_validator("scope", mode="before", json_schema_input_type=str | list[str])
    @classmethod
    def _named_scope(cls, value: Any) -> Any:
        if isinstance(value, str) and value:
            return value
        several = list(value) if isinstance(value, (list, tuple)) else []
        if not several or not all(isinstance(name, str) and name for name in several):
            raise ValueError(f"allowed are {one_of(SCOPES)}, the name of a segment, and lists of them")
        if len(set(several)) != len(several):
            raise ValueError("each part may be named once")
        return several[0] if len(several) == 1 else tuple(several)

    @field_validator("select", mode="before", json_schema_input_type=str | list[Any] | dict[str, Any])
    @classmethod
    def _known_selection(cls, value: Any) -> Selection:
        return parse_selection(value)

    @field_validator("budget", mode="before")
    @classmethod
    def _possible_budget(cls, value: Any) -> Any:
        if value is None or isinstance(value, Budget):
            return value
        if not isinstance(value, Mapping):
            raise ValueError("allowed are {minutes: M}, {samples: N} and both")
        try:
            return Budget.model_validate(value)
        except ValidationError as error:
            raise ValueError(explained(error, Budget)) from None

    @field_validator(
        "ablate", mode="before", json_schema_input_type=bool | str | list[Any] | dict[str, Any] | None
    )
    @classmethod
    def _possible_ablation(cls, value: Any) -> Any:
        given = as_ablation(value)
        if given is None or isinstance(given, Ablation):
            return given
        try:
            return Ablation.model_validate(given)
        except ValidationError as error:
            raise ValueError(explained(error, Ablation)) from None

    @field_validator("memory_budget", mode="before", json_schema_input_type=int | str | None)
    @classmethod
    def _parse_budget(cls, value: Any) -> Any:
        size = value
        if isinstance(value, str):
            match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", value)
            size = int(float(match[1]) * _SIZE_UNITS[match[2]]) if match else None
        if value is None or _is_whole(size, at_least=1):
            return size
        raise ValueError("allowed are a number of bytes from 1 and sizes such as '512MiB' and '2GiB'")

    @field_validator("output_path", "resume", mode="before")
    @classmethod
    def _named_folder(cls, value: Any) -> Any:
        if value is None or (isinstance(value, (str, Path)) and str(value)):
            return value
        raise ValueError("allowed is the name of a folder")


def _name_or_pattern(value: Any, allowed: tuple[str, ...]) -> Any:
    """One of the names, or ``{"regex": PATTERN}``."""
    if is_name_of(allowed, value):
        return value
    pattern = value["regex"] if isinstance(value, Mapping) and set(value) == {"regex"} else None
    if not isinstance(pattern, str) or not pattern:
        raise ValueError(f"allowed are {one_of(allowed)} and {{'regex': PATTERN}}")
    try:
        regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"the pattern does not compile: {error}") from None
    return value


def _is_whole(value: Any, at_least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= at_least
