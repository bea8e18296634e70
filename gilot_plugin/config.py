"""Settings of an attribution: fields, presets, and the checks that come before any model loads."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import regex
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gilot_plugin import plugins
from gilot_plugin.attribution.transport import SOLVERS
from gilot_plugin.attribution.units import SCOPES, UNIT_KINDS
from gilot_plugin.errors import ConfigError, one_of

#: Named sets of settings. Explicit settings win over the preset's, the preset's over the fields' defaults.
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "default": {},
        # The published code's numbers, quirks included (github.com/holyseven/GiLOT).
        "reference": {
            "num_beams": 20,
            "max_new_tokens": 20,
            "absence": "published",
            "units": "token",
            "scope": "all",
            "target": "generation",
            "solver": "ipot",
        },
    }
)

#: Settings that say how the work is spread and where results go, but not what they are.
_WORK_FIELDS = frozenset({"batch_size", "memory_budget", "num_threads", "output_path"})

_SIZE_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class GilotConfig(BaseModel):
    """Settings of an attribution.

    Raises:
        ConfigError: A setting is unknown or not allowed; the message names it, its value and what is allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    preset: str = Field("default", description="named set of settings that explicit ones override")
    num_beams: int = Field(4, ge=1, description="K, hypotheses a prompt")
    max_new_tokens: int = Field(5, ge=1, description="J, tokens that the hypotheses look ahead")
    hypotheses: Literal["regenerate"] = Field(
        "regenerate", description="how the hypotheses of a prompt without a unit are found: a new beam search"
    )
    absence: str = Field("delete", description="how a unit is taken away")
    replace_with: int | str | None = Field(None, description="token id or text of one token, for absence=replace")
    steps: Literal["last"] = Field("last", description="steps whose outcome distributions are compared")
    units: str | dict[str, str] = Field("word", description="what is taken away at a time")
    scope: str = Field("content", description="part of the prompt whose units are taken away")
    target: Literal["auto", "generation", "choices"] = Field(
        "auto", description="explain what would be generated, or which of the task's choices is preferred"
    )
    top_p: float = Field(0.9999, gt=0, le=1, description="probability that the support of each distribution covers")
    top_k: int = Field(1000, ge=1, description="largest support of each distribution")
    ground_cost: Literal["cosine"] = Field("cosine", description="cost between tokens: 1 - cosine of embeddings")
    solver: str = Field("auto", description="solver of the transport problems")
    methods: tuple[str, ...] = Field(("ot", "kl", "l2"), min_length=1, description="what is computed for each unit")
    select: dict[str, Any] = Field(
        default_factory=lambda: {"strategy": "first"}, description="which samples of a task are explained"
    )
    batch_size: int | Literal["auto"] = Field("auto", description="prompts searched together")
    memory_budget: int | None = Field(None, description="bytes that prompts in a batch may take, e.g. 2GiB")
    num_threads: int | None = Field(None, ge=1, description="worker threads of the transport solver; None: one a core")
    seed: int = Field(0, ge=0, description="for random selection and methods that draw numbers")
    output_path: Path | None = Field(None, description="folder of the artifacts; None: beside lm-eval's own samples")

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise ConfigError(_explain(error, type(self))) from None

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        preset = settings.get("preset", "default")
        if preset not in PRESETS:
            raise ValueError(f"preset={preset!r}: allowed are {one_of(tuple(PRESETS))}")
        return {**PRESETS[preset], **settings}

    @field_validator("absence")
    @classmethod
    def _known_absence(cls, value: str) -> str:
        return _member(value, plugins.absence_operators())

    @field_validator("solver")
    @classmethod
    def _known_solver(cls, value: str) -> str:
        return _member(value, SOLVERS)

    @field_validator("methods", mode="before")
    @classmethod
    def _known_methods(cls, value: Any) -> Any:
        names = (value,) if isinstance(value, str) else tuple(value)
        for name in names:
            _member(name, plugins.attribution_methods())
        if len(set(names)) != len(names):
            raise ValueError("each method may be named once")
        return names

    @field_validator("units")
    @classmethod
    def _known_units(cls, value: str | dict[str, str]) -> str | dict[str, str]:
        if isinstance(value, str):
            if value not in UNIT_KINDS:
                raise ValueError(f"allowed are {one_of(UNIT_KINDS)} or {{'regex': PATTERN}}")
            return value
        if set(value) != {"regex"}:
            raise ValueError("a mapping must be {'regex': PATTERN}")
        try:
            regex.compile(value["regex"])
        except regex.error as error:
            raise ValueError(f"the pattern does not compile: {error}") from None
        return value

    @field_validator("scope")
    @classmethod
    def _named_scope(cls, value: str) -> str:
        if not value:
            raise ValueError(f"allowed are {one_of(SCOPES)} or the name of a segment")
        return value

    @field_validator("select", mode="before")
    @classmethod
    def _known_selection(cls, value: Any) -> dict[str, Any]:
        chosen = {"strategy": value} if isinstance(value, str) else value
        if not isinstance(chosen, Mapping):
            raise ValueError("must be the name of a strategy or a mapping such as {strategy: first, n: 10}")
        chosen = {"strategy": "first", **chosen}
        strategies = plugins.selection_strategies()
        _member(chosen["strategy"], strategies, "strategy")
        options = {key: option for key, option in chosen.items() if key != "strategy"}
        model = strategies[chosen["strategy"]].options
        try:
            model.model_validate(options)
        except ValidationError as error:
            raise ValueError(f"strategy {chosen['strategy']!r}: {_explain(error, model)}") from None
        return chosen

    @field_validator("batch_size")
    @classmethod
    def _positive_batch(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("allowed are 'auto' and whole numbers from 1")
        return value

    @field_validator("memory_budget", mode="before")
    @classmethod
    def _parse_budget(cls, value: Any) -> Any:
        if isinstance(value, str):
            match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", value)
            if match is None:
                raise ValueError("allowed are a number of bytes and sizes such as '512MiB' or '2GiB'")
            value = int(float(match[1]) * _SIZE_UNITS[match[2]])
        if value is not None and value < 1:
            raise ValueError("must be at least one byte")
        return value

    @model_validator(mode="after")
    def _check_combinations(self) -> GilotConfig:
        replaces = self.absence == "replace"
        if replaces and self.replace_with is None:
            raise ValueError("absence='replace' needs replace_with: a token id, or the text of one token")
        if not replaces and self.replace_with is not None:
            raise ValueError(
                f"replace_with={self.replace_with!r} has no effect with absence={self.absence!r}: allowed with 'replace' only"
            )
        if self.target == "choices" and plugins.absence_operators()[self.absence].rescored_without is not None:
            raise ValueError(
                f"target='choices' cannot be combined with absence={self.absence!r}, which is defined for generation "
                "only: allowed are 'delete', 'mask' and 'replace'"
            )
        return self

    @property
    def hash(self) -> str:
        """SHA-256 of all settings that determine the numbers, 64 hexadecimal digits."""
        content = self.model_dump(mode="json", exclude=set(_WORK_FIELDS))
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _member(value: str, allowed: Mapping[str, Any], what: str = "") -> str:
    if value not in allowed:
        raise ValueError(f"{what + ' ' if what else ''}{value!r} is unknown: allowed are {one_of(tuple(allowed))}")
    return value


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """One line a problem: field, value, what is allowed."""
    lines = []
    for problem in error.errors(include_url=False):
        path = ".".join(str(part) for part in problem["loc"] if part in model.model_fields or isinstance(part, int))
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            path = str(problem["loc"][-1])
            close = get_close_matches(path, model.model_fields, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            message = f"unknown setting: allowed are {one_of(tuple(model.model_fields)) or 'none'}{hint}"
        lines.append(f"{path}={problem['input']!r}: {message}" if path else message)
    return "\n".join(dict.fromkeys(lines))
