"""Which samples are explained, and what happens when none can be chosen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats

from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.extension import CountOptions, SelectionStrategy
from gilot_plugin.hookspecs import hookimpl
from tests.harness.evaluations import (
    ANSWERS,
    CHEAP,
    choices_task,
    essence,
    evaluate,
    explain,
    generation_task,
    inline_task,
    manifest_in,
)
from tests.strategies.logged import choose, samples

pytestmark = pytest.mark.lm_eval

ENDINGS = ["dog", "cannot", "Paris", "very good", "is"]
#: The right ending stands first: another one in each document, so the model gets some of them right.
TASK = choices_task("endings", [(f"Number {n}: the", ENDINGS[n % 5 :] + ENDINGS[: n % 5]) for n in range(12)])


def chosen_in(run: Any, task: str = "endings") -> list[int]:
    return [record["doc_id"] for record in run.records_of(task)]


def test_incorrect_samples_of_an_evaluation(make_lm: Callable[..., Any]) -> None:
    rows = evaluate(make_lm(), [TASK])["samples"]["endings"]
    wrong = [row["doc_id"] for row in rows if row["acc"] == 0]
    assert len(rows) > len(wrong) > 3
    assert wrong[:3] != [0, 1, 2]
    _, run = explain(make_lm(), [TASK], {**CHEAP, "select": {"strategy": "incorrect", "n": 3}})
    assert chosen_in(run) == wrong[:3]
    assert [record["metrics"]["acc,none"] for record in run.records] == [0.0] * 3


@pytest.mark.parametrize("scoring", ["sum", "norm"])
def test_lowest_margin_and_highest_entropy_between_choices(make_lm: Callable[..., Any], scoring: str) -> None:
    rows = evaluate(make_lm(), [TASK])["samples"]["endings"]
    values = []
    for row in rows:
        sums = np.array([response[0][0] for response in row["resps"]])
        lengths = [len(text.strip()) for _, text in row["arguments"]]
        values.append(sums if scoring == "sum" else sums / lengths)
    leads = [np.diff(np.sort(value)[-2:]).item() for value in values]
    entropies = [scipy.stats.entropy(scipy.special.softmax(value)) for value in values]
    for strategy, ranked in (("margin", np.argsort(leads)), ("entropy", np.argsort(entropies)[::-1])):
        settings = {**CHEAP, "choice_scoring": scoring, "select": {"strategy": strategy, "n": 4}}
        _, run = explain(make_lm(), [TASK], settings)
        assert chosen_in(run) == sorted(ranked[:4].tolist())
        chosen = run.chosen["endings"].samples
        if strategy == "margin":
            assert chosen[0].reason == (
                f"margin {leads[chosen_in(run)[0]]:.4g} between the best two choices, of the lowest 4"
            )
        # The records tell the same entropy, which the model was asked for again.
        found = [record["diagnostics"]["outcome_entropy"] for record in run.records]
        assert found == pytest.approx([entropies[doc_id] for doc_id in chosen_in(run)], abs=1e-5)


def test_highest_entropy_of_what_might_be_generated(make_lm: Callable[..., Any]) -> None:
    task = generation_task("answers", [f"Number {n}: what is it?" for n in range(7)])
    _, everything = explain(make_lm(), [task], CHEAP)
    entropies = [record["diagnostics"]["outcome_entropy"] for record in everything.records]
    assert len(set(entropies)) == 7
    _, run = explain(make_lm(), [task], {**CHEAP, "select": {"strategy": "entropy", "n": 3}})
    assert chosen_in(run, "answers") == sorted(np.argsort(entropies)[::-1][:3].tolist())


def test_margin_where_there_are_no_choices(make_lm: Callable[..., Any]) -> None:
    _, run = explain(make_lm(), [generation_task("answers", ["Why?"])], {**CHEAP, "select": "margin"})
    assert "have no choices; take 'entropy'" in str(run.chosen["answers"].error)


@pytest.mark.parametrize("over", ["task", "group", "run"])
def test_over_tasks_groups_and_the_run(make_lm: Callable[..., Any], over: str, tmp_path: Path) -> None:
    settings = {**CHEAP, "select": {"strategy": "random", "n": 3, "over": over}}
    _, run = explain(make_lm(), ["gilot_examples", ANSWERS], settings, tmp_path, limit=4)
    counts = {task: len(chosen.samples) for task, chosen in run.chosen.items()}
    assert all(chosen.candidates == 4 for chosen in run.chosen.values())
    grouped = sum(count for task, count in counts.items() if task != "answers")
    tasks = len(counts) - 1
    assert tasks > 1
    wanted = {"task": (3 * tasks, 3), "group": (3, 3), "run": (3 - counts["answers"], counts["answers"])}
    assert (grouped, counts["answers"]) == wanted[over]
    assert validate_path(tmp_path).problems == ()


# What it may cost


def test_budget_of_samples_starves_no_task(make_lm: Callable[..., Any], tmp_path: Path) -> None:
    settings = {**CHEAP, "budget": {"samples": 5}}
    _, run = explain(make_lm(), [TASK, ANSWERS], settings, tmp_path)
    assert (chosen_in(run), chosen_in(run, "answers")) == ([0, 1, 2], [0, 1])
    assert run.status == "complete"
    assert run.chosen["answers"].left_out == (2, 3)
    assert manifest_in(tmp_path)["tasks"]["endings"]["selection"]["left_out"] == list(range(3, 10))
    assert validate_path(tmp_path).problems == ()
    _, more = explain(make_lm(), [TASK, ANSWERS], {**CHEAP, "resume": tmp_path}, tmp_path)
    assert (len(more.records), more.kept_count) == (14, 5)
    assert validate_path(tmp_path).problems == ()


def test_budget_of_minutes(
    make_lm: Callable[..., Any], plugged: Callable[[Any], Any], monkeypatch: Any
) -> None:
    now = [100.0]
    monkeypatch.setattr("gilot_plugin.harness.explaining.spending.time.monotonic", lambda: now[0])

    class Slow:
        @hookimpl
        def gilot_record_written(self) -> None:
            now[0] += 61.0

    plugged(Slow())
    _, run = explain(make_lm(), [TASK, ANSWERS], {**CHEAP, "budget": {"minutes": 3}})
    assert (chosen_in(run), chosen_in(run, "answers")) == ([0, 1], [0])
    assert run.status == "complete"
    assert len(run.chosen["endings"].left_out) == 8


def test_seed_of_the_settings(make_lm: Callable[..., Any]) -> None:
    def drawn(seed: int) -> list[int]:
        settings = {**CHEAP, "select": {"strategy": "random", "n": 4}, "seed": seed}
        return chosen_in(explain(make_lm(), [TASK], settings)[1])

    assert drawn(1) == drawn(1) == choose("random", samples(12), seed=1, n=4)
    assert drawn(2) == choose("random", samples(12), seed=2, n=4) != drawn(1)


def test_ids_by_task(make_lm: Callable[..., Any]) -> None:
    tasks = [TASK, {**TASK, "task": "endings_again"}]
    settings = {**CHEAP, "select": {"strategy": "ids", "ids": {"endings": [4], "endings_again": [1, 0]}}}
    _, run = explain(make_lm(), tasks, settings)
    assert (chosen_in(run), chosen_in(run, "endings_again")) == ([4], [0, 1])


def test_settings_of_a_task(make_lm: Callable[..., Any]) -> None:
    settings = {**CHEAP, "select": {"strategy": "ids", "ids": [5]}, "num_beams": 2, "num_threads": 1}
    task = {**TASK, "metadata": {"version": 1, "gilot": settings}}
    _, run = explain(make_lm(), [task])
    assert chosen_in(run) == [5]
    assert run.tasks["endings"].config.num_beams == 2


def test_manifest_tells_what_was_chosen_and_why(make_lm: Callable[..., Any], tmp_path: Path) -> None:
    settings = {**CHEAP, "select": {"strategy": "first", "n": 2}}
    explain(make_lm(), [TASK], settings, tmp_path)
    assert manifest_in(tmp_path)["tasks"]["endings"]["selection"] == {
        "strategy": "first",
        "over": "task",
        "options": {"n": 2},
        "candidates": 12,
        "chosen": [{"doc_id": doc_id, "reason": "among the first 2"} for doc_id in (0, 1)],
        "left_out": [],
        "error": None,
    }


# Errors


class Broken:
    """Offers a strategy with a bug."""

    @hookimpl
    def gilot_selection_strategies(self) -> tuple[SelectionStrategy, ...]:
        def fail(*_: Any) -> Any:
            raise ZeroDivisionError("of the strategy")

        return (SelectionStrategy("broken", "fails", CountOptions, fail),)


@pytest.mark.parametrize(
    ("select", "error"),
    [
        ({"strategy": "ids", "ids": [2, 99]}, "select.ids=[99]: not among the 12 evaluated documents"),
        ({"strategy": "incorrect", "metric": "f1"}, "select.metric='f1': the task has no such metric"),
        ("broken", "ZeroDivisionError('of the strategy')"),
    ],
)
def test_error_of_one_task_stops_nothing_else(
    make_lm: Callable[..., Any], plugged: Callable[[Any], Any], tmp_path: Path, select: Any, error: str
) -> None:
    plugged(Broken())
    failing = {**TASK, "metadata": {"version": 1, "gilot": {"select": select}}}
    other = generation_task("answers", ["What?", "Why?"])
    plain = evaluate(make_lm(), [failing, other])
    results, run = explain(make_lm(), [failing, other], CHEAP, tmp_path)
    assert essence(results) == essence(plain)
    assert (chosen_in(run), chosen_in(run, "answers")) == ([], [0, 1])
    manifest = manifest_in(tmp_path)
    assert error in manifest["tasks"]["endings"]["selection"]["error"]
    assert manifest["tasks"]["endings"]["file"] is None
    assert manifest["tasks"]["answers"]["selection"]["error"] is None
    assert manifest["status"] == "complete"
    assert validate_path(tmp_path).problems == ()


def test_incorrect_where_no_metric_says_so(make_lm: Callable[..., Any]) -> None:
    task = inline_task(
        "texts",
        "loglikelihood",
        [{"text": "A bird", "target": " can fly"}],
        metric_list=[{"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}],
    )
    _, run = explain(make_lm(), [task], {"select": "incorrect"})
    assert "no metric of the task says right or wrong" in run.chosen["texts"].error
    assert run.records == []
