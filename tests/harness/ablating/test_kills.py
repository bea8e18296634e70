"""Two thousand samples, killed at ten random moments."""

from __future__ import annotations

import random
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pytest

from gilot_plugin.analysis.ablation import ablation_table
from gilot_plugin.artifacts.ablations import ablation_problems, read_ablation
from gilot_plugin.artifacts.names import ablations_name
from tests.harness.ablating.killed import COUNT, DATE, ablate_many

_KILLS = 10


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_killed_ablation_resumed_gives_the_same_table(
    model_dir: Path, tmp_path: Path, forked: BaseContext
) -> None:
    def begin(folder: Path) -> Any:
        begun = forked.Event()
        process = forked.Process(target=ablate_many, args=(model_dir, folder, begun))
        process.start()
        begun.wait(120)
        return process

    name = ablations_name("many", DATE)
    whole = begin(tmp_path / "whole")
    whole.join()
    expected = read_ablation(tmp_path / "whole" / name)
    assert expected is not None
    assert expected.is_complete
    assert {len(lines) for lines in expected.samples.values()} == {COUNT}

    chance = random.Random(0)
    folder = tmp_path / "killed"
    lengths = [0]
    for _ in range(_KILLS):
        process = begin(folder)
        process.join(chance.uniform(0.05, 2.5))
        process.kill()
        process.join()
        path = folder / name
        lengths.append(path.stat().st_size if path.exists() else 0)
    assert len(set(lengths)) > 3
    last = begin(folder)
    last.join()
    assert last.exitcode == 0
    found = read_ablation(folder / name)
    assert found is not None
    assert found.samples == expected.samples
    assert found.arms == expected.arms
    assert ablation_table([found]) == ablation_table([expected])
    assert ablation_problems(folder / name)[1] == []
