"""What ablations say, beside an evaluation and for one that ran before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from lm_eval.models.dummy import DummyLM
from lm_eval.models.huggingface import HFLM

from gilot_plugin.analysis.ablation import ScoreChange, ablation_table
from gilot_plugin.analysis.ablation_words import readings
from gilot_plugin.artifacts.ablations import TaskAblation, read_ablation
from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.harness.entry.attach import attach
from gilot_plugin.settings.ablation import FULL
from tests.harness.ablating.answering import (
    COUNT,
    ECHO,
    GIVEN_AWAY,
    LISTED,
    READ,
    CountingLM,
    LongestLM,
    ReadingLM,
)
from tests.harness.evaluations import CHEAP, essence, evaluate

pytestmark = pytest.mark.lm_eval


def _ablated(
    tasks: list[Any], ablate: Any, folder: Path | None = None, lm: Any = None, **arguments: Any
) -> tuple[Any, dict[str, TaskAblation]]:
    with attach({**CHEAP, "ablate": ablate}, folder) as attachment:
        results = evaluate(lm or ReadingLM(), tasks, **arguments)
    return results, {one.plan.task: one for one in attachment.ablations}


def _changes(found: Mapping[str, TaskAblation]) -> dict[tuple[str, str], ScoreChange]:
    table = ablation_table(list(found.values()))
    return {(change.task, change.arm): change for change in table.changes}


def test_choices_that_give_the_answer_away_are_told_from_a_question_that_is_needed() -> None:
    _, found = _ablated([READ, GIVEN_AWAY], ["question"])
    changes = _changes(found)
    given, read = changes["given_away", "without question"], changes["read", "without question"]
    assert (given.full, given.score, given.difference) == (1.0, 1.0, 0.0)
    assert given.guessing is not None
    assert given.guessing.is_finding
    assert given.guessing.expected == 0.5
    assert given.guessing.q_value < 0.01
    assert read.full == 1.0
    assert read.is_finding
    assert read.q_value < 0.01
    assert read.guessing is not None
    assert not read.guessing.is_finding
    told = list(readings(ablation_table(list(found.values()))))
    assert any("given_away: acc is 1 without the question, where guessing gives 0.5" in line for line in told)
    assert any("read: acc falls from 1" in line for line in told)
    assert "given_away: 100% of the answers are the same without the question." in told


def test_a_model_that_answers_from_the_choices_alone_is_told_from_one_that_reads_the_stem() -> None:
    told = {}
    for lm in (LongestLM(), CountingLM()):
        _, found = _ablated([LISTED], "auto", lm=lm)
        change = _changes(found)["listed", "without stem"]
        assert change.full == 1.0
        assert change.guessing is not None
        told[type(lm)] = change, list(readings(ablation_table(list(found.values()))))
    change, lines = told[LongestLM]
    assert (change.score, change.same, change.is_finding) == (1.0, 1.0, False)
    assert change.guessing.is_finding
    assert change.guessing.q_value < 0.01
    assert (
        "listed: acc is 1 without the question's stem (its choices stay), where guessing gives 0.5 (adjusted "
        "p < 0.001): the choices, or the order in which they are listed, give answers away."
    ) in lines
    change, lines = told[CountingLM]
    assert change.is_finding
    assert change.q_value < 0.01
    assert change.score < 0.75
    assert not change.guessing.is_finding
    assert not any("give answers away" in line for line in lines)


def test_prompts_whose_choices_are_not_found_are_counted() -> None:
    listed = "{{text}}{% if text.endswith('0long .') %} Go!{% else %}\n- {{options|join('\n- ')}}{% endif %}"
    config = {**LISTED, "doc_to_text": listed + "\nAnswer:", "doc_to_choice": "{{options}}"}
    _, found = _ablated([config, READ], ["stem", "all_choices", "question"], lm=CountingLM())
    assert found["listed"].arms["without stem"].changed == COUNT - 4
    told = list(readings(ablation_table(list(found.values()))))
    assert (
        "listed: 36 of 40 prompts are changed without the question's stem (its choices stay); in the others "
        "the choices are not found."
    ) in told
    assert not any("changed without the question." in line for line in told)
    left = found["read"].arms["without stem"]
    assert (left.status, left.reason) == (
        "left_out",
        "it changes no prompt: no choices are found in the question",
    )


def test_a_model_that_reads_nothing_has_equal_answers() -> None:
    class Deaf(ReadingLM):
        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            return [(-float(len(request.args[1])), False) for request in requests]

    _, found = _ablated([READ], ["question"], lm=Deaf())
    (change,) = _changes(found).values()
    assert (change.same, change.difference) == (1.0, 0.0)
    assert not change.is_finding


def test_the_unablated_score_is_that_of_lm_eval_to_the_last_digit(
    make_lm: Callable[..., HFLM], tmp_path: Path
) -> None:
    from tests.harness.evaluations import ANSWERS, ENDINGS, MUTUAL_INFORMATION

    tasks = [ANSWERS, ENDINGS, MUTUAL_INFORMATION]
    results, found = _ablated(tasks, ["question", {"regex": "What|Which"}], tmp_path, make_lm())
    for task, one in found.items():
        scores = {score.metric: score.value for score in one.arms[FULL].scores}
        assert scores == {name: results["results"][task][name] for name in scores}
        assert scores
    assert validate_path(tmp_path).problems == ()


def test_scores_are_as_without_ablations() -> None:
    plainly = evaluate(ReadingLM(), [READ, ECHO])
    results, _ = _ablated([READ, ECHO], "auto")
    for rows in results["samples"].values():
        for row in rows:
            row.pop("gilot", None)
    assert essence(results) == essence(plainly)


def test_answers_are_scored_by_the_filters_and_metrics_of_the_task() -> None:
    config = {
        **ECHO,
        "doc_to_target": "word7",
        "doc_to_text": "Never mind. {{text}}",
        "filter_list": [
            {
                "name": "digits",
                "filter": [{"function": "regex", "regex_pattern": r"(\d+)"}, {"function": "take_first"}],
            },
            {"name": "plain", "filter": [{"function": "take_first"}]},
        ],
    }
    _, found = _ablated([config], [{"regex": r"\d", "name": "without digits"}])
    lines = list(found["echo"].samples["without digits"].values())
    assert {line.answers["digits"] for line in lines} == {"[invalid]"}
    assert {line.answers["plain"] for line in lines} == {"word"}
    assert sum(line.metrics["exact_match,plain"] for line in found["echo"].samples[FULL].values()) == 1


def test_a_random_part_of_the_samples_is_the_same_for_one_seed(tmp_path: Path) -> None:
    _, first = _ablated([READ], {"arms": ["question"], "n": 7, "seed": 3})
    _, again = _ablated([READ], {"arms": ["question"], "n": 7, "seed": 3})
    _, other = _ablated([READ], {"arms": ["question"], "n": 7, "seed": 4})
    keys = [list(found["read"].samples[FULL]) for found in (first, again, other)]
    assert keys[0] == keys[1] != keys[2]
    assert [len(found) for found in keys] == [7, 7, 7]


def test_what_does_not_apply_or_fails_is_told_and_the_others_go_on() -> None:
    arms = ["shots", {"function": "os.path:basename", "name": "broken"}, "question"]
    _, found = _ablated([READ], arms)
    lines = found["read"].arms
    assert (lines["without shots"].status, lines["without question"].status) == ("left_out", "ok")
    assert lines["broken"].status == "failed"
    assert "TypeError" in str(lines["broken"].reason)


def test_samples_that_belong_together_are_tested_together() -> None:
    config = {**READ, "task": "grouped"}
    _, found = _ablated([config], {"arms": ["question"], "cluster": "options"})
    (change,) = _changes(found).values()
    assert change.test == "sign flip of clusters"
    with attach({**CHEAP, "ablate": {"arms": ["question"], "cluster": "nothing"}}) as attachment:
        evaluate(ReadingLM(), [config])
    assert (attachment.ablations, attachment.all_ablated) == ([], False)


def test_the_users_cache_of_answers_gets_nothing(tmp_path: Path, make_lm: Callable[..., HFLM]) -> None:
    import sqlite3

    from tests.harness.evaluations import ENDINGS

    evaluate(make_lm(), [ENDINGS], use_cache=str(tmp_path / "plain"))
    _ablated([ENDINGS], ["question"], lm=make_lm(), use_cache=str(tmp_path / "beside"))
    counts = []
    for name in ("plain", "beside"):
        with sqlite3.connect(tmp_path / f"{name}_rank0.db") as database:
            counts += database.execute("select count(*) from unnamed").fetchone()
    assert counts[0] == counts[1] > 0


def test_a_killed_ablation_goes_on_and_says_the_same(tmp_path: Path) -> None:
    from gilot_plugin.harness.ablating import jobs as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", 9)
        _, whole = _ablated([READ], "auto", tmp_path / "whole")
        (path,) = (tmp_path / "whole").glob("ablations_*.jsonl")
        expected = read_ablation(path)
        assert expected is not None
        content = path.read_bytes()
        for cut in (0, 40, 700, len(content) // 2, len(content) - 3):
            path.write_bytes(content[:cut])
            resumed = _repeated(path, whole["read"])
            assert (resumed.arms, resumed.samples) == (expected.arms, expected.samples)


def _repeated(path: Path, whole: TaskAblation) -> TaskAblation:
    """The same ablation once more, in the folder of a file."""
    import lm_eval.evaluator

    from gilot_plugin.harness.ablating.ablate import ablate, plan_job
    from gilot_plugin.harness.ablating.beside import model_identity
    from gilot_plugin.harness.ablating.jobs import Job
    from gilot_plugin.settings.ablation import Ablation
    from tests.harness.ablating.benches import make_bench

    bench = make_bench(READ)
    assert bench.evaluate is lm_eval.evaluator.evaluate
    job = Job(
        bench, Ablation(), whole.plan.model, model_identity(bench.lm), whole.plan.date, path.parent, None
    )
    samples, arms = plan_job(job)
    ablate(job, samples, arms)
    found = read_ablation(path)
    assert found is not None
    # The evaluation itself was at hand the first time.
    found.arms[FULL] = found.arms[FULL].model_copy(update={"logged": True})
    assert len(found.samples[FULL]) == COUNT
    return found


def test_a_run_that_gets_another_date_takes_its_ablations_along(tmp_path: Path) -> None:
    from gilot_plugin.artifacts.ablations import read_ablations
    from gilot_plugin.artifacts.continuing import rename_run
    from gilot_plugin.artifacts.reader import read_run

    _, found = _ablated([READ], ["question"], tmp_path)
    manifest = read_run(tmp_path).manifest
    assert manifest is not None
    old, new = manifest["date"], "2031-01-01T00-00-00.0"
    tasks = {name: {**entry, "file": None} for name, entry in manifest["tasks"].items()}
    rename_run(tmp_path, {**manifest, "date": new, "tasks": tasks}, old)
    assert read_ablations(tmp_path, old) == ()
    (renamed,) = read_ablations(tmp_path, new)
    assert renamed.samples == found["read"].samples


def test_any_model_class_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    # Some releases ask for the dummy's tokenizer, which is on the hub.
    monkeypatch.setattr(DummyLM, "tokenizer", None, raising=False)
    _, found = _ablated([READ, ECHO], ["question", {"regex": "[a-z]+"}], lm="dummy")
    assert found["read"].arms["without question"].status == "ok"
    # The dummy says the same whatever it is asked, and draws its scores.
    (change,) = [one for (task, _), one in _changes(found).items() if task == "echo"]
    assert change.same == 1.0
    assert "nothing is left" in str(found["echo"].arms["without question"].reason)
