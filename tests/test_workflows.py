"""The workflows of the forge only call make, and what they call is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_commands_are_targets_of_make(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    called = []
    for job in workflow["jobs"].values():
        choices = job.get("strategy", {}).get("matrix", {}).get("target", [])
        for command in (step["run"] for step in job["steps"] if "run" in step):
            program, target, *_ = command.split(maxsplit=2)
            assert program == "make"
            called += choices if target == "${{" else [target]
    assert called
    assert set(called) <= targets


def test_what_must_pass_before_a_change_goes_in_runs_there_too() -> None:
    wanted = set(re.findall(r"^make ([a-z-]+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE))
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    assert {target for target in wanted if target in re.findall(r"[a-z-]+", text)} == wanted
