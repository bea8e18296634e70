"""A plugin of another package, installed beside this one: listed, and used by a run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from gilot_plugin.artifacts.reader import read_run
from gilot_plugin.artifacts.validation import validate_path
from tests.harness.evaluations import SUITE

PLUGIN = '''
    """Another distance, a method that looks at the prompt only, and another way to choose samples."""

    from pydantic import Field

    from gilot_plugin import hookimpl
    from gilot_plugin.extension import ChosenSample, Distance, Options, PromptMethod, SelectionStrategy


    def hellinger(present, absent):
        return ((present / 2).exp() - (absent / 2).exp()).norm(dim=-1) / 2**0.5


    def token_count(context):
        return [unit.end_token - unit.start_token for unit in context.units]


    class Every(Options):
        k: int = Field(ge=1)


    def every(samples, options, context):
        return [ChosenSample(sample, f"every {options.k}") for sample in samples[:: options.k]]


    @hookimpl
    def gilot_attribution_methods():
        return [
            Distance("hellinger", "Hellinger distance of the outcome distributions", hellinger),
            PromptMethod("tokens", "number of tokens of the unit", token_count),
        ]


    @hookimpl
    def gilot_selection_strategies():
        return [SelectionStrategy("every", "each k-th document", Every, every)]
'''

RUN = """
    import sys

    from lm_eval.tasks import TaskManager

    import gilot_plugin

    model, suite, output = sys.argv[1:]
    gilot_plugin.simple_evaluate(
        model="hf",
        model_args={"pretrained": model, "device": "cpu"},
        tasks=["gilot_short_answers", "gilot_minimal_pairs"],
        task_manager=TaskManager(include_path=suite, include_defaults=False),
        limit=5,
        gilot={
            "methods": ["ot", "hellinger", "tokens", "l2"],
            "select": {"strategy": "every", "k": 3},
            "num_beams": 2,
            "max_new_tokens": 2,
            "num_threads": 1,
            "output_path": output,
        },
    )
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed package, as pip leaves one."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "gilot_extra.py").write_text(dedent(PLUGIN))
    info = folder / "gilot_extra-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gilot-extra\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[gilot]\nextra = gilot_extra\n")
    (info / "RECORD").write_text("gilot_extra.py,,\n")
    return folder


def run(site: Path, *command: str | Path) -> str:
    paths = filter(None, (str(site), os.environ.get("PYTHONPATH")))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def line_with(text: str, name: str) -> str:
    (line,) = [line for line in text.splitlines() if re.match(f"│ {name} +│", line)]
    return line


def test_listed_with_its_package(site: Path) -> None:
    line = line_with(run(site, Path(sys.executable).parent / "gilot", "plugins"), "extra")
    assert "gilot-extra 1.2" in line
    assert "gilot_attribution_methods, gilot_selection_strategies" in line


def test_listed_with_what_it_offers(site: Path) -> None:
    listed = run(site, Path(sys.executable).parent / "gilot", "methods")
    assert "Hellinger distance of the outcome distributions" in line_with(listed, "hellinger")
    assert "number of tokens of the unit" in line_with(listed, "tokens")
    assert "each k-th document" in line_with(listed, "every")
    names = [line.split()[1] for line in listed.splitlines() if line.startswith("│ ")]
    assert names.index("ot") < names.index("hellinger") < names.index("first") < names.index("every")


def test_used_by_a_run(site: Path, model_dir: Path, tmp_path: Path) -> None:
    run(site, sys.executable, "-c", dedent(RUN), model_dir, SUITE, tmp_path)
    found = read_run(tmp_path)
    assert found.manifest is not None
    assert found.manifest["plugins"] == [{"name": "gilot-extra", "version": "1.2"}]
    for task in ("gilot_short_answers", "gilot_minimal_pairs"):
        chosen = found.manifest["tasks"][task]["selection"]["chosen"]
        assert chosen == [{"doc_id": doc_id, "reason": "every 3"} for doc_id in (0, 3)]
        records = [record for record in found.records if record["task"] == task]
        assert [(record["doc_id"], record["status"]) for record in records] == [(0, "ok"), (3, "ok")]
        for record in records:
            scores = record["scores"]
            of_choices = ["margin"] if task == "gilot_minimal_pairs" else []
            assert list(scores) == ["ot", "hellinger", "tokens", "l2", *of_choices]
            assert scores["tokens"] == [unit["end_token"] - unit["start_token"] for unit in record["units"]]
            # It is at least the total variation over the square root of 2, which is at least half the norm.
            for distance, norm in zip(scores["hellinger"], scores["l2"], strict=True):
                assert norm / 8**0.5 <= distance + 1e-9 <= 1 + 2e-9
            assert max(scores["hellinger"]) > 0
    assert validate_path(tmp_path).problems == ()
