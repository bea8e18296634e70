"""The JSON Schema of settings files: the committed copy, and what it takes and refuses."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from gilot_plugin.errors import ConfigError
from gilot_plugin.settings.config import GilotConfig
from gilot_plugin.settings.presets import PRESETS
from gilot_plugin.settings.schema import SCHEMA_FILE, schema_text, settings_schema

_VALIDATOR = Draft202012Validator(settings_schema())

RIGHT: list[dict[str, Any]] = [
    {},
    *({"preset": name} for name in PRESETS),
    {"methods": "ot"},
    {"methods": ["ot", "kl"]},
    {"select": "random"},
    {"select": {"strategy": "random", "n": 5}},
    {"select": ["first", {"strategy": "incorrect", "n": None}]},
    {"units": {"regex": "[a-z]+"}, "memory_budget": "2GiB"},
    {"memory_budget": 1_000_000, "batch_size": 4, "noise_floor": True},
    {"budget": {"minutes": 1.5}, "output_path": "results", "absence": "replace", "replace_with": 5},
    {"ground_cost": "truncated", "cost_limit": 0.5, "unit_budget": 5, "units": "auto"},
]

WRONG: list[dict[str, Any]] = [
    {"num_beam": 2},
    {"num_beams": 0},
    {"num_beams": True},
    {"num_threads": 0},
    {"top_p": 2},
    {"cost_limit": 2, "ground_cost": "truncated"},
    {"preset": "refrence"},
    {"solver": "best"},
    {"hypotheses": "none"},
    {"methods": 5},
    {"select": 5},
    {"budget": {"hours": 1}},
    {"noise_floor": "maybe"},
]


def test_the_committed_schema_is_that_of_the_settings() -> None:
    committed = resources.files("gilot_plugin") / SCHEMA_FILE
    assert committed.read_text(encoding="utf-8") == schema_text(), (
        f"write it again: gilot settings --schema > gilot_plugin/{SCHEMA_FILE}"
    )


def test_it_is_a_schema_that_names_every_setting_and_says_what_it_is() -> None:
    Draft202012Validator.check_schema(settings_schema())
    properties = settings_schema()["properties"]
    assert set(properties) == set(GilotConfig.model_fields)
    assert not {"gt", "ge", "lt", "le"} & set(str(settings_schema()).replace("'", " ").split())


@pytest.mark.parametrize("settings", RIGHT, ids=str)
def test_settings_that_are_allowed_are_valid(settings: dict[str, Any]) -> None:
    GilotConfig(**settings)
    assert list(_VALIDATOR.iter_errors(settings)) == []


@pytest.mark.parametrize("settings", WRONG, ids=str)
def test_settings_that_are_refused_are_not(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        GilotConfig(**settings)
    assert list(_VALIDATOR.iter_errors(settings))


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[2] / "task_configs").glob("*.yaml")))
def test_settings_that_ship_are_valid(file: Path) -> None:
    assert list(_VALIDATOR.iter_errors(yaml.safe_load(file.read_text())["settings"])) == []
