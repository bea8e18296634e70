"""``gilot ablate`` on what lm-eval alone left, from the results to the files that it writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gilot_plugin.artifacts.ablations import read_ablations
from gilot_plugin.artifacts.evaluations import find_evaluation
from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.settings.ablation import FULL
from tests.commands.conftest import Gilot
from tests.commands.evaluating import evaluate_plainly
from tests.harness.evaluations import SUITE

pytestmark = pytest.mark.usefixtures("few_tasks")

_TASKS = ["gilot_two_shot_choices", "gilot_short_answers"]


@pytest.fixture(scope="session")
def evaluated(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of lm-eval alone; not to be changed."""
    folder = tmp_path_factory.mktemp("evaluated")
    evaluate_plainly(
        {"pretrained": str(model_dir)},
        folder,
        _TASKS,
        limit=6,
        system_instruction="Be brief.",
        apply_chat_template=True,
    )
    return folder


@pytest.fixture
def copied(evaluated: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(evaluated, tmp_path / "evaluated"))


def test_a_plain_evaluation_is_ablated_and_told(gilot: Gilot, copied: Path) -> None:
    ended = gilot("ablate", copied, "--include_path", SUITE)
    assert ended.code == 0, ended.err
    past = find_evaluation(copied)
    found = {one.plan.task: one for one in read_ablations(past.folder, past.date)}
    for task in _TASKS:
        full = found[task].arms[FULL]
        assert full.logged
        scores = past.content["results"][task]
        assert {score.metric: score.value for score in full.scores}.items() <= scores.items()
    assert found["gilot_two_shot_choices"].plan.arms == (
        *("full", "without system", "without shots", "without shot_1", "without shot_2", "without question"),
        *("only the question", "shots in another order"),
    )
    assert validate_path(copied).problems == ()
    assert "without the question." in ended.out
    again = gilot("ablate", copied, "--include_path", SUITE)
    assert "answered already" in again.out
    assert ended.out.splitlines()[-1] == again.out.splitlines()[-1]


def without_description(folder: Path) -> tuple[Any, ...]:
    """The command with one arm of one task."""
    return (
        *("ablate", folder, "--include_path", SUITE),
        *("--tasks", "gilot_short_answers", "--arms", "description"),
    )


def test_where_the_model_answers_otherwise_it_is_asked_all_again(gilot: Gilot, copied: Path) -> None:
    (path,) = copied.rglob("samples_gilot_short_answers_*.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows[2]["filtered_resps"] = ["something else"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ended = gilot(*without_description(copied))
    assert ended.code == 0, ended.err
    past = find_evaluation(copied)
    (found,) = read_ablations(past.folder, past.date)
    assert not found.arms[FULL].logged


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--arms", "everything"], "'everything' is unknown"),
        (["--arms", "{function: 'no.such:thing'}"], "cannot be loaded"),
        (["--tasks", "nothing"], "has no such task, it has 'gilot_short_answers', 'gilot_two_shot_choices'"),
        (["--arms", "{shots_of: nothing}"], "lm-eval knows no task 'nothing'"),
        (["--cluster", ""], "cluster"),
    ],
)
def test_what_is_wrong_is_said_before_a_model_loads(
    gilot: Gilot, evaluated: Path, arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gilot_plugin.harness.entry import loading

    monkeypatch.setattr(loading, "load_lm", lambda source: pytest.fail("a model was loaded"))
    ended = gilot("ablate", evaluated, "--include_path", SUITE, *arguments)
    assert ended.code == 2
    assert told in ended.err


def test_other_samples_than_those_of_the_file_are_refused(gilot: Gilot, copied: Path) -> None:
    command = without_description(copied)
    assert gilot(*command, "--n", "3").code == 0
    ended = gilot(*command, "--n", "4")
    assert ended.code == 1
    assert "n was 3 and is 4" in ended.err
    more = gilot(*command[:-1], "description,system", "--n", "3")
    assert more.code == 0
    past = find_evaluation(copied)
    (found,) = read_ablations(past.folder, past.date)
    assert found.plan.arms == ("full", "without description", "without system")


def test_a_folder_without_an_evaluation_is_refused(gilot: Gilot, tmp_path: Path) -> None:
    ended = gilot("ablate", tmp_path)
    assert ended.code == 1
    assert "has no results of lm-eval" in ended.err


def test_chosen_documents_are_those_of_the_evaluation(gilot: Gilot, model_dir: Path, tmp_path: Path) -> None:
    samples = {"gilot_short_answers": [2, 5, 11]}
    results = evaluate_plainly(
        {"pretrained": str(model_dir)}, tmp_path, ["gilot_short_answers"], samples=samples
    )
    ended = gilot("ablate", tmp_path, "--include_path", SUITE)
    assert ended.code == 0, ended.err
    past = find_evaluation(tmp_path)
    (found,) = read_ablations(past.folder, past.date)
    assert [line.doc_id for line in found.samples["without description"].values()] == [2, 5, 11]
    (score,) = found.arms[FULL].scores
    assert found.arms[FULL].logged
    assert score.value == results["results"]["gilot_short_answers"][score.metric]
