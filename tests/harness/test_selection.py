"""Which samples are explained, and what happens when none can be chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.errors import ConfigError
from gilot_plugin.harness.samples import Sample, samples_of_task
from gilot_plugin.harness.selection import CountOptions, SelectionStrategy
from gilot_plugin.hookspecs import hookimpl
from gilot_plugin.plugins import selection_strategies
from tests.harness.evaluations import (
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
    found = selection_strategies()[strategy]
    choices = found.choose(among, found.options.model_validate(options), seed)
    return [choice.sample.identity.doc_id for choice in choices]


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


# In an evaluation


def test_incorrect_samples_of_an_evaluation(make_lm: Callable[..., Any]) -> None:
    rows = evaluate(make_lm(), [TASK])["samples"]["endings"]
    wrong = [row["doc_id"] for row in rows if row["acc"] == 0]
    assert len(rows) > len(wrong) > 3
    assert wrong[:3] != [0, 1, 2]
    _, run = explain(make_lm(), [TASK], {**CHEAP, "select": {"strategy": "incorrect", "n": 3}})
    assert chosen_in(run) == wrong[:3]
    assert [record["metrics"]["acc,none"] for record in run.records] == [0.0] * 3


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
        "options": {"n": 2},
        "candidates": 12,
        "chosen": [{"doc_id": doc_id, "reason": "among the first 2"} for doc_id in (0, 1)],
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
