"""Data flows one way: which package may know which, imports for types and within functions included."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1] / "gilot_plugin"

#: From the bottom up. What stands on a line may import what stands on lines before it, and itself.
LAYERS = """
    errors  deferred  version  display
    statistics
    backends
    attribution
    artifacts
    extension
    hookspecs
    plugins
    settings
    baselines  strategies
    resolve
    faithfulness  analysis
    comparison
    reports
    exports
    harness.random_states  harness.state
    harness.watching
    harness.asking
    harness.ablating
    harness.keeping
    harness.choosing
    harness.explaining
    harness.entry
    api  lm_eval_plugin
    inspecting
    commands
    cli
    __init__
"""

RANKS = {layer: rank for rank, line in enumerate(LAYERS.split("\n")) for layer in line.split()}

#: Functions whose module is imported when they are called.
_DEFERRED = re.compile(r"gilot_plugin\.([\w.]+):\w*")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def imported_by(name: str) -> Iterator[str]:
    """Modules of the package that a module imports anywhere in its text."""
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("gilot_plugin") for alias in node.names), (
                "write from ... import"
            )
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            home, *rest = str(node.module).split(".")
            if home == "gilot_plugin":
                base = ".".join(rest)
                for alias in node.names:
                    inner = f"{base}.{alias.name}".removeprefix(".")
                    yield inner if inner in MODULES else base or "__init__"
        elif isinstance(node, ast.Constant) and (found := _DEFERRED.fullmatch(str(node.value))):
            yield found[1]


IMPORTS = {name: set(imported_by(name)) - {name} for name in MODULES}


def layer_of(name: str) -> str:
    first, *rest = name.split(".")
    return f"{first}.{rest[0]}" if first == "harness" and rest else first


def test_no_arrow_runs_back_up() -> None:
    rank = {name: RANKS[layer_of(name)] for name in MODULES if name != "harness"}
    upwards = [
        f"{name} imports {other}"
        for name in rank
        for other in IMPORTS[name]
        if layer_of(other) != layer_of(name) and rank[other] >= rank[name]
    ]
    assert not upwards


def test_modules_import_one_another_in_no_circle() -> None:
    TopologicalSorter(IMPORTS).prepare()  # raises CycleError, which names the circle


def test_types_and_late_imports_count() -> None:
    assert "extension" in IMPORTS["hookspecs"]  # for types only
    assert "harness.entry.taking_part" in IMPORTS["commands.plugins"]  # within a function
    assert "attribution.distances" in IMPORTS["attribution.builtins"]  # by its name
