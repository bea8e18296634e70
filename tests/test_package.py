"""What importing costs, what is public, and which files come along."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import gilot_plugin
import gilot_plugin.extension

#: Packages that take long to import, or that a light start has no use for.
HEAVY = ("torch", "transformers", "lm_eval", "datasets", "ot", "numpy", "scipy", "pydantic")


@pytest.mark.parametrize(
    "code",
    [
        "import gilot_plugin",
        "import gilot_plugin.cli",
        "from gilot_plugin import hookimpl, __version__",
        "from gilot_plugin.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from gilot_plugin.cli import main\ntry: main(['nonsense'])\nexcept SystemExit: pass",
    ],
)
def test_starting_is_light(code: str) -> None:
    report = f"import sys; print('LOADED', *sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "LOADED"


@pytest.mark.parametrize(
    "code",
    [
        "import gilot_plugin; gilot_plugin.GilotConfig()",
        "import gilot_plugin.extension",
        "from gilot_plugin.plugins import offers; offers.attribution_methods(), offers.absence_operators()",
        "from gilot_plugin.cli import main; main(['methods'])",
        "from gilot_plugin.cli import main; main(['settings'])",
    ],
)
def test_settings_and_offers_need_no_model(code: str) -> None:
    report = "import sys; print('LOADED', *sorted(set(HEAVY) & set(sys.modules)))"
    report = report.replace("HEAVY", repr(("torch", "transformers", "lm_eval", "datasets", "scipy", "ot")))
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "LOADED"


@pytest.mark.parametrize("name", gilot_plugin.extension.__all__)
def test_what_plugins_may_import_is_there(name: str) -> None:
    assert getattr(gilot_plugin.extension, name) is not None


@pytest.mark.parametrize("name", gilot_plugin.__all__)
def test_public_names_exist(name: str) -> None:
    assert getattr(gilot_plugin, name) is not None


def test_other_names_do_not() -> None:
    with pytest.raises(AttributeError, match="module 'gilot_plugin' has no attribute 'attribut'"):
        _ = gilot_plugin.attribut  # type: ignore[attr-defined]


def test_the_version_is_that_of_the_distribution() -> None:
    assert gilot_plugin.__version__ == version("gilot-plugin")


def test_the_command_is_installed() -> None:
    (command,) = entry_points(group="console_scripts", name="gilot")
    assert command.value == "gilot_plugin.cli:main"


def test_the_types_come_along() -> None:
    assert (resources.files("gilot_plugin") / "py.typed").is_file()


@pytest.mark.parametrize("name", ["record-1.1.json", "manifest-1.1.json"])
def test_the_schemas_come_along(name: str) -> None:
    schema = json.loads((resources.files("gilot_plugin") / "artifacts" / "schema" / name).read_text())
    assert schema["$schema"].startswith("https://json-schema.org/")


def test_the_settings_of_tasks_come_along() -> None:
    root = Path(gilot_plugin.__file__).parent.parent
    if not (root / "pyproject.toml").is_file():
        assert (resources.files("gilot_plugin") / "task_configs").is_dir()
        return
    assert any((root / "task_configs").glob("*.yaml"))
    assert '"task_configs" = "gilot_plugin/task_configs"' in (root / "pyproject.toml").read_text()
