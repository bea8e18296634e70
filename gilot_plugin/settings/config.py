"""Settings of an attribution: fields, presets, and the checks that come before any model loads."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
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

from gilot_plugin import plugins
from gilot_plugin.attribution.distance.ground_costs import DEFAULT_COST_LIMIT
from gilot_plugin.attribution.methods import PromptMethod
from gilot_plugin.attribution.prompt.units import SCOPES, UNIT_KINDS
from gilot_plugin.attribution.transport import SOLVER_NAMES
from gilot_plugin.errors import ConfigError, one_of
from gilot_plugin.settings.ablation import Ablation, as_ablation
from gilot_plugin.settings.checking import explained, is_name_of, member
from gilot_plugin.settings.contradictions import Contradiction, contradictions_of
from gilot_plugin.settings.selection import checked_selection, options_of

#: Named sets of settings, as far as they differ from the fields' defaults. Explicit settings win over them.
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "default": {},
        # The paper's outcome distribution, at a horizon that an evaluation can afford.
        "paper": {"hypotheses": "regenerate", "steps": "last", "top_p": 0.9999},
        # The published code's numbers, quirks included (github.com/holyseven/GiLOT).
        "reference": {
            "hypotheses": "regenerate",
            "steps": "last",
            "num_beams": 20,
            "max_new_tokens": 20,
            "top_p": 0.9999,
            "absence": "published",
            "units": "token",
            "scope": "all",
            "target": "generation",
            "solver": "ipot",
        },
    }
)

#: Settings that say how the work is spread, where results go and what is measured beside them, but not
#: what they are.
_WORK_FIELDS = frozenset(
    {
        *("batch_size", "memory_budget", "num_threads", "output_path", "resume", "budget", "noise_floor"),
        "ablate",
    }
)

#: Settings that presets leave alone: what is computed for which samples, rather than how.
_BESIDE_PRESETS = _WORK_FIELDS | {"preset", "methods", "select", "seed"}

#: Value of the setting ``units`` that finds them by measuring, and the tokens it may spend a sample.
AUTO_UNITS = "auto"
DEFAULT_UNIT_BUDGET = 50_000

#: Whether settings are made whose combinations are checked elsewhere.
_UNCOMBINED: ContextVar[bool] = ContextVar("uncombined", default=False)

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


class GilotConfig(BaseModel):
    """Settings of an attribution.

    Raises:
        ConfigError: A setting is unknown or not allowed; the message names it, its value and what is allowed.
    """

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
    scope: str = Field(
        "content",
        description="part whose units are taken away: content, all, a segment, or shots for every shot_<n>",
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
    select: dict[str, Any] = Field(
        default_factory=lambda: {"strategy": "first"}, description="which samples of a task are explained"
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
    seed: _Whole = Field(0, ge=0, description="for random selection and methods that draw numbers")
    output_path: Path | None = Field(
        None, description="folder of the artifacts; None: beside lm-eval's own samples"
    )

    resume: Path | None = Field(
        None, description="folder of a run that was killed or interrupted, whose finished records are kept"
    )

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise ConfigError(explained(error, type(self))) from None

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        if "preset" not in settings:
            return dict(settings)
        preset = settings["preset"]
        if not is_name_of(PRESETS, preset):
            raise ValueError(f"preset={preset!r}: allowed are {one_of(tuple(PRESETS))}")
        return {**preset_settings(preset), **settings}

    @field_validator("absence", mode="before")
    @classmethod
    def _known_absence(cls, value: Any) -> Any:
        return member(value, plugins.absence_operators())

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
        methods = plugins.attribution_methods()
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
        if is_name_of(allowed := (*UNIT_KINDS, AUTO_UNITS), value):
            return value
        pattern = value["regex"] if isinstance(value, Mapping) and set(value) == {"regex"} else None
        if not isinstance(pattern, str) or not pattern:
            raise ValueError(f"allowed are {one_of(allowed)} and {{'regex': PATTERN}}")
        try:
            regex.compile(pattern)
        except regex.error as error:
            raise ValueError(f"the pattern does not compile: {error}") from None
        return value

    @field_validator("scope", mode="before")
    @classmethod
    def _named_scope(cls, value: Any) -> Any:
        if not isinstance(value, str) or not value:
            raise ValueError(f"allowed are {one_of(SCOPES)} and the name of a segment")
        return value

    @field_validator("select", mode="before", json_schema_input_type=str | list[Any] | dict[str, Any])
    @classmethod
    def _known_selection(cls, value: Any) -> dict[str, Any]:
        return checked_selection(value)

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

    @field_validator("batch_size", mode="before")
    @classmethod
    def _positive_batch(cls, value: Any) -> Any:
        if value == "auto" or _is_whole(value, at_least=1):
            return value
        raise ValueError("allowed are 'auto' and whole numbers from 1")

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

    @model_validator(mode="after")
    def _check_combinations(self) -> GilotConfig:
        if not _UNCOMBINED.get() and (contradictions := self.contradictions()):
            raise ValueError("; ".join(found.message for found in contradictions))
        return self

    def contradictions(self) -> list[Contradiction]:
        """Settings that cannot stand together; there are some only in :func:`uncombined` settings."""
        return list(contradictions_of(self, preset_settings(self.preset)))

    @property
    def select_options(self) -> dict[str, Any]:
        """The options of the selection strategy."""
        return options_of(self.select)

    @property
    def decisive_settings(self) -> dict[str, Any]:
        """All settings that determine the numbers, as JSON has them.

        A preset counts by its settings, not by its name.
        """
        return self.model_dump(mode="json", exclude={*_WORK_FIELDS, "preset"})

    @property
    def hash(self) -> str:
        """SHA-256 of :attr:`decisive_settings`, 64 hexadecimal digits."""
        content = json.dumps(self.decisive_settings, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def uncombined(settings: Mapping[str, Any]) -> GilotConfig:
    """Settings that are each valid, whether or not they can stand together.

    Those of a run are only a part of what will hold for a task, and those of a manifest did hold.

    Raises:
        ConfigError: A setting is unknown or not allowed.
    """
    token = _UNCOMBINED.set(True)
    try:
        return GilotConfig(**settings)
    finally:
        _UNCOMBINED.reset(token)


def as_config(settings: GilotConfig | Mapping[str, Any] | None) -> GilotConfig:
    """Settings in any form that the Python interface takes; None stands for the defaults.

    Raises:
        ConfigError: A setting is unknown or not allowed, or this is something else.
    """
    if isinstance(settings, GilotConfig):
        return settings
    if settings is not None and not isinstance(settings, Mapping):
        raise ConfigError(f"settings must be a GilotConfig or a mapping, not {type(settings).__name__}")
    return GilotConfig(**(settings or {}))


def preset_settings(preset: str) -> dict[str, Any]:
    """Every setting that a preset decides: its own, and the defaults of the others."""
    defaults = {name: field.default for name, field in GilotConfig.model_fields.items()}
    decided = {name: value for name, value in defaults.items() if name not in _BESIDE_PRESETS}
    return {**decided, **PRESETS[preset]}


def _is_whole(value: Any, at_least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= at_least
