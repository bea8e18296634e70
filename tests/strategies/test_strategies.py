"""Strategies by themselves: which of the samples they are given they choose."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gilot_plugin.errors import ConfigError
from gilot_plugin.extension import ChosenSample, Sample
from gilot_plugin.harness.choosing.samples import samples_of_task
from tests.strategies.logged import choose, chosen_by, samples


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
    return [ChosenSample(among[1], "because")]


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
    chosen = chosen_by([{"strategy": "first", "n": 2}, {"strategy": "incorrect", "n": 2}], among)
    assert [(one.sample.identity.doc_id, one.reason) for one in chosen] == [
        (0, "among the first 2"),
        (1, "among the first 2; incorrect: acc is 0"),
        (3, "incorrect: acc is 0"),
    ]


def test_chain_chooses_among_what_is_left() -> None:
    among = samples(9, acc=[1, 0, 0, 0, 1, 0, 0, 1, 0])
    of = [{"strategy": "incorrect", "n": None}, {"strategy": "random", "n": 2}, {"strategy": "first", "n": 1}]
    (one,) = chosen_by({"strategy": "chain", "of": of}, among, seed=4)
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
