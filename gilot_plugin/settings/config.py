"""Settings of an attribution, and the checks that come before any model loads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from pydantic import ValidationError, model_validator

from gilot_plugin.errors import ConfigError, one_of
from gilot_plugin.settings.checking import explained, is_name_of
from gilot_plugin.settings.contradictions import Contradiction, contradictions_of
from gilot_plugin.settings.fields import Fields
from gilot_plugin.settings.presets import PRESETS, WORK_SETTINGS, decided_by

#: Whether settings are made whose combinations are checked elsewhere.
_UNCOMBINED: ContextVar[bool] = ContextVar("uncombined", default=False)


class GilotConfig(Fields):
    """Settings of an attribution.

    Raises:
        ConfigError: A setting is unknown or not allowed; the message names it, its value and what is allowed.
    """

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

    @model_validator(mode="after")
    def _check_combinations(self) -> GilotConfig:
        if not _UNCOMBINED.get() and (contradictions := self.contradictions()):
            raise ValueError("; ".join(found.message for found in contradictions))
        return self

    def contradictions(self) -> list[Contradiction]:
        """Settings that cannot stand together; there are some only in :func:`uncombined` settings."""
        return list(contradictions_of(self, preset_settings(self.preset)))

    @property
    def decisive_settings(self) -> dict[str, Any]:
        """All settings that determine the numbers, as JSON has them.

        A preset counts by its settings, not by its name.
        """
        return self.model_dump(mode="json", exclude={*WORK_SETTINGS, "preset"})

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
    return decided_by(preset, {name: field.default for name, field in Fields.model_fields.items()})
