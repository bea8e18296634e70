"""The demos do what they promise, on the real model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gilot_plugin.analysis.ablation import ablation_table
from gilot_plugin.artifacts.ablations import read_ablation

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_audit_of_a_learned_shortcut_names_its_cue(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"}
    subprocess.run(["bash", "examples/demo_compare.sh"], cwd=tmp_path, env=environment, check=True)
    (written,) = (tmp_path / "output" / "demo-compare").glob("comparison_*.json")
    words = {word["name"]: word for word in json.loads(written.read_text(encoding="utf-8"))["words"]}
    assert words["tuesday"]["is_finding"]
    assert words["tuesday"]["test"]["mean"] == max(word["test"]["mean"] for word in words.values())
    changes = {}
    for name in ("cued-base", "cued-tuned"):
        (path,) = (written.parent / name).rglob("ablations_*.jsonl")
        found = read_ablation(path)
        assert found is not None
        (changes[name],) = ablation_table([found]).changes
    assert changes["cued-tuned"].full > 0.9
    assert changes["cued-tuned"].is_finding
    assert changes["cued-tuned"].score < 0.6
    assert not changes["cued-base"].is_finding
    # The same model twice, with another batch size.
    again = ["gilot", "compare", "base", "base-again", "--output_path", "again", "--fail_on", "findings"]
    subprocess.run(again, cwd=written.parent, env=environment, check=True)
