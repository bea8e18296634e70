"""Code that settings name runs only where the user named it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from gilot_plugin.errors import ConfigError
from gilot_plugin.harness.entry.attach import attach
from gilot_plugin.settings.config import GilotConfig
from gilot_plugin.settings.sources import task_config
from gilot_plugin.strategies.functions import load_function


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a module that says when it is imported, by being among the modules."""
    name = "someones_choices"
    (tmp_path / f"{name}.py").write_text("def choose(samples):\n    return samples[:1]\n\n\nnumber = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def selection(module: str, name: str = "choose") -> dict[str, Any]:
    return {"strategy": "function", "function": f"{module}:{name}"}


def test_checking_settings_imports_nothing(module: str) -> None:
    GilotConfig(select=selection(module))
    assert module not in sys.modules


@pytest.mark.parametrize("form", ["alone", "in a list", "in a chain", "deep"])
def test_a_task_file_cannot_name_code(module: str, form: str) -> None:
    one = selection(module)
    forms: dict[str, Any] = {
        "alone": one,
        "in a list": ["first", one],
        "in a chain": {"strategy": "chain", "of": ["incorrect", one]},
        "deep": {"strategy": "union", "of": [{"strategy": "chain", "of": ["first", one]}]},
    }
    with pytest.raises(ConfigError, match=r"task films: .* your own command line, settings file or Python"):
        task_config("films", {"select": forms[form]}, {})
    assert module not in sys.modules
    # The user may name the very same.
    assert task_config("films", {}, {"select": forms[form]}).select


def test_what_the_user_names_is_loaded_before_the_model(module: str) -> None:
    with attach({"select": selection(module)}):
        assert module in sys.modules
    assert callable(load_function(f"{module}:choose"))
    for name, reason in (("number", "is not a function"), ("nothing", "cannot be loaded")):
        with pytest.raises(ConfigError, match=reason), attach({"select": ["first", selection(module, name)]}):
            pass
    with pytest.raises(ConfigError, match="cannot be loaded"), attach({"select": selection("nowhere")}):
        pass
