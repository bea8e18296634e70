"""Settings of the method, from the command line's point of view: what they do to a run's records."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gilot_plugin.artifacts.validation import validate_path
from tests.harness.evaluations import ANSWERS, ENDINGS, PAIRS, choices_task, essence, evaluate, explain

pytestmark = pytest.mark.lm_eval

NORMALIZED = [
    {"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in ("acc", "acc_norm")
]

#: Six contexts, each with its choices in two orders, so that the first is not always the likeliest.
BOTH_ORDERS = [(text, ordered) for text, choices in PAIRS for ordered in (choices, choices[::-1])]


@pytest.mark.parametrize("delimiter", [" ", ""])
@pytest.mark.parametrize(("scoring", "metric"), [("sum", "acc,none"), ("norm", "acc_norm,none")])
def test_margin_is_positive_where_lm_eval_says_right(
    make_lm: Callable[..., Any], scoring: str, metric: str, delimiter: str
) -> None:
    # lm-eval counts the characters of a choice without the delimiter, so a choice's own space counts.
    task = choices_task("endings", BOTH_ORDERS, metric_list=NORMALIZED, target_delimiter=delimiter)
    results, run = explain(make_lm(), [task], {"choice_scoring": scoring})
    assert {record["metrics"][metric] for record in run.records} == {0.0, 1.0}
    for row, record in zip(results["samples"]["endings"], run.records, strict=True):
        target = record["target"]
        assert (target["margin"] > 0) == (record["metrics"][metric] == 1.0)
        choices = target["choices"]
        for choice, text in zip(choices, row["doc"]["options"], strict=True):
            assert choice["normalized_logprob"] == pytest.approx(choice["logprob"] / len(text))
        values = [choice["logprob" if scoring == "sum" else "normalized_logprob"] for choice in choices]
        total = sum(map(math.exp, values))
        for choice, value in zip(choices, values, strict=True):
            assert choice["probability"] == pytest.approx(math.exp(value) / total, rel=1e-5)
        assert target["margin"] == pytest.approx(values[0] - max(values[1:]))
        assert list(record["scores"]) == ["ot", "kl", "l2", "margin"]
        assert any(score < 0 for score in record["scores"]["margin"]) or max(record["scores"]["margin"]) > 0


def test_no_margin_where_every_choice_is_right(make_lm: Callable[..., Any]) -> None:
    task = choices_task("endings", PAIRS[1:2], doc_to_target="{{[0, 1]}}")
    _, run = explain(make_lm(), [task])
    assert "margin" not in run.records[0]["target"]
    assert "margin" not in run.records[0]["scores"]


@pytest.mark.parametrize("max_new_tokens", [2, 3, 50])
def test_response_is_the_only_hypothesis(make_lm: Callable[..., Any], max_new_tokens: int) -> None:
    lm = make_lm()
    settings = {"hypotheses": "response", "max_new_tokens": max_new_tokens, "methods": ["ot", "logprob"]}
    results, run = explain(lm, [ANSWERS], settings)
    answered = 0
    for row, record in zip(results["samples"]["answers"], run.records, strict=True):
        assert record["status"] == "ok"
        (hypothesis,) = record["target"]["hypotheses"]
        response = row["resps"][0][0]
        assert record["target"]["response"] == response
        assert response.startswith(hypothesis["text"])
        assert hypothesis["text"] == response or len(hypothesis["token_ids"]) == max_new_tokens
        assert len(hypothesis["token_ids"]) <= max_new_tokens
        assert (hypothesis["logprob"] < 0) == bool(hypothesis["token_ids"])
        answered += bool(response)
    assert answered > 1


@pytest.mark.parametrize("hypotheses", ["regenerate", "shared", "response"])
@pytest.mark.parametrize("steps", ["last", "mean"])
def test_every_way_to_look_ahead(
    make_lm: Callable[..., Any], tmp_path: Path, hypotheses: str, steps: str
) -> None:
    methods = ["ot", "kl", "l2", "js", "tv", "logprob"]
    settings = {"hypotheses": hypotheses, "steps": steps, "methods": methods}
    _, run = explain(make_lm(), [ANSWERS, ENDINGS], settings, output_path=tmp_path)
    assert [record["status"] for record in run.records] == ["ok"] * 8
    for record in run.records:
        margin = ["margin"] if record["task"] == "endings" else []
        assert list(record["scores"]) == [*methods, *margin]
        assert len(record["diagnostics"]["transport_bounds"]) == len(record["units"])
        for score, (lower, upper) in zip(
            record["scores"]["ot"], record["diagnostics"]["transport_bounds"], strict=True
        ):
            assert lower - 1e-9 <= score <= upper + 1e-9
    assert validate_path(tmp_path).problems == ()


def test_adaptive_units_say_at_which_level_they_were_measured(
    make_lm: Callable[..., Any], tmp_path: Path
) -> None:
    settings = {"units": "auto", "unit_budget": 2000}
    _, run = explain(make_lm(), [ANSWERS, ENDINGS], settings, output_path=tmp_path)
    levels = set()
    for record in run.records:
        assert record["status"] == "ok"
        assert record["diagnostics"]["model_tokens"] <= 2000
        levels |= {unit["level"] for unit in record["units"]}
        for coarse in record["coarse_units"]:
            assert coarse["scores"].keys() == record["scores"].keys()
            assert coarse["unit"]["level"] != "word"
    assert levels & {"word", "sentence"}
    assert any(record["coarse_units"] for record in run.records)
    assert validate_path(tmp_path).problems == ()


def test_small_budget_leaves_the_coarsest_units(make_lm: Callable[..., Any]) -> None:
    _, run = explain(make_lm(), [ANSWERS], {"units": "auto", "unit_budget": 1})
    for record in run.records:
        assert {unit["level"] for unit in record["units"]} == {"segment"}
        assert record["coarse_units"] == []


def test_total_flows_are_those_of_the_units(make_lm: Callable[..., Any]) -> None:
    _, run = explain(make_lm(), [ENDINGS])
    for record in run.records:
        for total in record["total_flows"]:
            same = [
                flow["mass"]
                for flows in record["flows"]
                for flow in flows
                if (flow["from"], flow["to"]) == (total["from"], total["to"])
            ]
            assert total["mass"] == pytest.approx(sum(same))
            assert total["units"] == len(same)
    assert any(total["units"] > 1 for record in run.records for total in record["total_flows"])


@pytest.mark.parametrize(
    "settings",
    [{"hypotheses": "response", "methods": ["logprob", "tv"]}, {"hypotheses": "shared", "units": "auto"}],
)
def test_scores_are_the_same_in_every_mode(make_lm: Callable[..., Any], settings: dict[str, Any]) -> None:
    plain = evaluate(make_lm(), [ANSWERS, ENDINGS])
    explained, _ = explain(make_lm(), [ANSWERS, ENDINGS], settings)
    assert essence(explained) == essence(plain)
