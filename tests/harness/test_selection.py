"""Which samples are explained, and what happens when none can be chosen."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import scipy.special
import scipy.stats

from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.errors import ConfigError
from gilot_plugin.harness.run import EvaluationRun
from gilot_plugin.harness.samples import Choice, Sample, samples_of_task
from gilot_plugin.harness.selecting import SelectionContext
from gilot_plugin.harness.selecting import choose as strategies_choose
from gilot_plugin.harness.selection import CountOptions, SelectionStrategy
from gilot_plugin.hookspecs import hookimpl
from gilot_plugin.selections import checked_selection
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

ENDINGS = ["dog", "cannot", "Paris", "very good", "is"]
#: The right ending stands first: another one in each document, so the model gets some of them right.
TASK = choices_task("endings", [(f"Number {n}: the", ENDINGS[n % 5 :] + ENDINGS[: n % 5]) for n in range(12)])


def samples(count: int, **metrics: Sequence[Any]) -> list[Sample]:
    """Samples of a task as lm-eval logs them, with a value of each metric for each document."""
    rows = [
        {
            "doc_id": doc_id,
            "doc": {"n": doc_id},
            "target": 0,
            "arguments": [("prompt", " yes")],
            "resps": [[(0.0, False)]],
            "filter": "none",
            "metrics": list(metrics),
            "doc_hash": f"doc {doc_id}",
            "prompt_hash": f"prompt {doc_id}",
            "target_hash": "target",
            **{name: values[doc_id] for name, values in metrics.items()},
        }
        for doc_id in range(count)
    ]
    return samples_of_task("some_task", "multiple_choice", rows)


def choose(strategy: str, among: Sequence[Sample], seed: int = 0, **options: Any) -> list[int]:
    """Numbers of the documents that a strategy chooses."""
    context = SelectionContext(cast("EvaluationRun", None), seed)
    chosen = strategies_choose(checked_selection({"strategy": strategy, **options}), among, context)
    return [choice.sample.identity.doc_id for choice in chosen]


def chosen_in(run: Any, task: str = "endings") -> list[int]:
    return [record["doc_id"] for record in run.records_of(task)]


# Strategies by themselves


@pytest.mark.parametrize(
    ("n", "expected"), [(1, [0]), (3, [0, 1, 2]), (5, [0, 1, 2, 3, 4]), (9, [0, 1, 2, 3, 4])]
)
def test_first(n: int, expected: list[int]) -> None:
    assert choose("first", samples(5), n=n) == expected


def test_first_takes_ten_unless_told_otherwise() -> None:
    assert choose("first", samples(30)) == list(range(10))


@pytest.mark.parametrize(
    ("ids", "expected"),
    [([3, 1], [1, 3]), ([2, 2], [2]), ({"some_task": [4, 0]}, [0, 4]), ({"other_task": [1]}, []), ([], [])],
)
def test_ids(ids: Any, expected: list[int]) -> None:
    assert choose("ids", samples(5), ids=ids) == expected


@pytest.mark.parametrize("ids", [[1, 7, 9], {"some_task": [1, 7, 9]}])
def test_missing_ids_are_named(ids: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"select.ids=\[7, 9\]: not among the 5 evaluated documents .*0 to 4"
    ):
        choose("ids", samples(5), ids=ids)


def test_random_is_drawn_by_the_seed_alone() -> None:
    among = samples(50)
    draws = [choose("random", among, seed=seed, n=8) for seed in range(6)]
    assert draws == [choose("random", among, seed=seed, n=8) for seed in range(6)]
    assert len(set(map(tuple, draws))) == 6
    for drawn in draws:
        assert drawn == sorted(set(drawn))
        assert len(drawn) == 8


def test_random_takes_all_where_there_are_few() -> None:
    assert choose("random", samples(3), n=8) == [0, 1, 2]


def test_incorrect_finds_the_metric() -> None:
    among = samples(4, f1=[0.5] * 4, acc_norm=[0, 0, 0, 0], acc=[1, 0, 1, 0])
    assert choose("incorrect", among) == [1, 3]
    assert choose("incorrect", among, n=1) == [1]


@pytest.mark.parametrize("metric", ["acc_norm", "acc_norm,none"])
def test_incorrect_by_a_named_metric(metric: str) -> None:
    assert choose("incorrect", samples(3, acc=[1, 1, 1], acc_norm=[0, 1, 0]), metric=metric) == [0, 2]


@pytest.mark.parametrize(
    "right_and_wrong", [(True, False), (1.0, 0.0), (np.float64(1), np.float64(0)), (np.True_, 0)]
)
def test_incorrect_takes_all_spellings_of_0_and_1(right_and_wrong: tuple[Any, Any]) -> None:
    assert choose("incorrect", samples(2, exact_match=right_and_wrong)) == [1]


@pytest.mark.parametrize("value", [0.5, float("nan"), "0", None, (0, 1), [0]])
def test_metric_that_is_neither_0_nor_1(value: Any) -> None:
    with pytest.raises(ConfigError, match="neither 0 nor 1"):
        choose("incorrect", samples(2, acc=[0, value]))


def test_metric_that_is_not_there() -> None:
    with pytest.raises(
        ConfigError, match=r"select\.metric='f1': the task has no such metric, it has 'acc,none'"
    ):
        choose("incorrect", samples(1, acc=[0]), metric="f1")


def test_no_metric_says_right_or_wrong() -> None:
    with pytest.raises(
        ConfigError, match="no metric of the task says right or wrong; name one of 'bleu,none'"
    ):
        choose("incorrect", samples(1, bleu=[0.0]))


def test_several_filters_are_one_sample_with_all_metrics() -> None:
    (one,) = samples(1, exact_match=[1])
    rows = [
        {**one.rows[0], "filter": name, "exact_match": value} for name, value in (("strict", 0), ("loose", 1))
    ]
    (grouped,) = samples_of_task("some_task", "generate_until", rows)
    assert grouped.identity.metrics == {"exact_match,strict": 0, "exact_match,loose": 1}
    assert choose("incorrect", [grouped]) == [0]
    assert choose("incorrect", [grouped], metric="exact_match,loose") == []


def test_correct_is_the_other_side_of_incorrect() -> None:
    among = samples(5, acc=[1, 0, 1, 0, 1])
    assert choose("correct", among) == [0, 2, 4]
    assert choose("correct", among, n=None) == [0, 2, 4]
    assert choose("incorrect", among) == [1, 3]


def test_stratified_by_a_field() -> None:
    among = [replace(one, doc={"meta": {"kind": "ab"[number % 2]}}) for number, one in enumerate(samples(20))]
    chosen = choose("stratified", among, seed=3, by="meta.kind", n=3)
    assert [sum(number % 2 == kind for number in chosen) for kind in (0, 1)] == [3, 3]
    assert chosen == sorted(chosen) == choose("stratified", among, seed=3, by="meta.kind", n=3)
    assert chosen != choose("stratified", among, seed=4, by="meta.kind", n=3)
    with pytest.raises(ConfigError, match=r"select.by='meta.sort': .* 0 has no such field, it has 'kind'"):
        choose("stratified", among, by="meta.sort")


def even_ones(among: Sequence[Sample]) -> list[Any]:
    return [one.identity.doc_id for one in among if one.identity.doc_id % 2 == 0]


def with_reasons(among: Sequence[Sample]) -> list[Any]:
    return [Choice(among[1], "because")]


def made_up(among: Sequence[Sample]) -> list[Any]:
    return ["a sample"]


def test_function_of_the_user() -> None:
    place = f"{__name__}:"
    assert choose("function", samples(6), function=f"{place}even_ones") == [0, 2, 4]
    assert choose("function", samples(6), function=f"{place}even_ones", n=2) == [0, 2]
    assert choose("function", samples(6), function=f"{place}with_reasons") == [1]
    with pytest.raises(ConfigError, match="it returned 'a sample'; allowed are the samples"):
        choose("function", samples(6), function=f"{place}made_up")


def test_union_names_every_reason() -> None:
    among = samples(6, acc=[1, 0, 1, 0, 1, 0])
    selection = checked_selection([{"strategy": "first", "n": 2}, {"strategy": "incorrect", "n": 2}])
    chosen = strategies_choose(selection, among, SelectionContext(cast("EvaluationRun", None), 0))
    assert [(one.sample.identity.doc_id, one.reason) for one in chosen] == [
        (0, "among the first 2"),
        (1, "among the first 2; incorrect: acc is 0"),
        (3, "incorrect: acc is 0"),
    ]


def test_chain_chooses_among_what_is_left() -> None:
    among = samples(9, acc=[1, 0, 0, 0, 1, 0, 0, 1, 0])
    of = [{"strategy": "incorrect", "n": None}, {"strategy": "random", "n": 2}, {"strategy": "first", "n": 1}]
    selection = checked_selection({"strategy": "chain", "of": of})
    (one,) = strategies_choose(selection, among, SelectionContext(cast("EvaluationRun", None), 4))
    assert one.sample.identity.metrics["acc,none"] == 0
    assert one.reason == "incorrect: acc is 0, then drawn at random with seed 4, then among the first 1"


def logged(folder: Path, among: Sequence[Sample], **metrics: Sequence[Any]) -> Path:
    """Samples of an earlier run, as lm-eval writes them."""
    path = folder / "samples_some_task_2025-01-01T10-00-00.jsonl"
    rows = [
        {
            **{"doc_hash": one.identity.doc_hash, "target_hash": one.identity.target_hash, "filter": "none"},
            **{"metrics": list(metrics), **{name: values[place] for name, values in metrics.items()}},
        }
        for place, one in enumerate(among)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_flips_since_an_earlier_run(tmp_path: Path) -> None:
    among = samples(5, acc=[1, 0, 1, 0, 1])
    path = logged(tmp_path, among[:4], acc=[0, 0, 1, 1])
    other = tmp_path / "samples_some_task_again_2026-01-01T10-00-00.jsonl"
    other.write_text("no samples")
    assert choose("flips", among, against=str(path)) == [0, 3]
    assert choose("flips", among, against=str(tmp_path), direction="to_right") == [0]
    assert choose("flips", among, against=str(tmp_path), direction="to_wrong") == [3]
    with pytest.raises(ConfigError, match="not samples that lm-eval logged"):
        choose("flips", among, against=str(other))
    path.unlink()
    with pytest.raises(ConfigError, match="it has no samples of task 'some_task'"):
        choose("flips", among, against=str(tmp_path))
    logged(tmp_path, samples(9)[5:], acc=[0] * 4)
    with pytest.raises(ConfigError, match="none of its documents is among the 5 evaluated ones"):
        choose("flips", among, against=str(tmp_path))


# In an evaluation


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
        chosen = run.selections["endings"].choices
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
    assert "have no choices; take 'entropy'" in str(run.selections["answers"].error)


@pytest.mark.parametrize("over", ["task", "group", "run"])
def test_over_tasks_groups_and_the_run(make_lm: Callable[..., Any], over: str, tmp_path: Path) -> None:
    settings = {**CHEAP, "select": {"strategy": "random", "n": 3, "over": over}}
    _, run = explain(make_lm(), ["gilot_examples", ANSWERS], settings, tmp_path, limit=4)
    counts = {task: len(selection.choices) for task, selection in run.selections.items()}
    assert all(selection.candidates == 4 for selection in run.selections.values())
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
    assert run.selections["answers"].left_out == (2, 3)
    assert manifest_in(tmp_path)["tasks"]["endings"]["selection"]["left_out"] == list(range(3, 10))
    assert validate_path(tmp_path).problems == ()
    _, more = explain(make_lm(), [TASK, ANSWERS], {**CHEAP, "resume": tmp_path}, tmp_path)
    assert (len(more.records), more.kept_count) == (14, 5)
    assert validate_path(tmp_path).problems == ()


def test_budget_of_minutes(
    make_lm: Callable[..., Any], plugged: Callable[[Any], Any], monkeypatch: Any
) -> None:
    now = [100.0]
    monkeypatch.setattr("gilot_plugin.harness.spending.time.monotonic", lambda: now[0])

    class Slow:
        @hookimpl
        def gilot_record_written(self) -> None:
            now[0] += 61.0

    plugged(Slow())
    _, run = explain(make_lm(), [TASK, ANSWERS], {**CHEAP, "budget": {"minutes": 3}})
    assert (chosen_in(run), chosen_in(run, "answers")) == ([0, 1], [0])
    assert run.status == "complete"
    assert len(run.selections["endings"].left_out) == 8


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
    assert "no metric of the task says right or wrong" in run.selections["texts"].error
    assert run.records == []
