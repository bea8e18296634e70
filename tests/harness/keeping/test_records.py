"""The record of each chosen sample, whatever the sample is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.models.huggingface import HFLM
from transformers import T5Config, T5ForConditionalGeneration

from gilot_plugin.artifacts.reader import read_run
from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.attribution.methods import PromptMethod
from gilot_plugin.harness.entry.attach import attach
from gilot_plugin.hookspecs import hookimpl
from tests.harness.evaluations import (
    SETTINGS,
    choices_task,
    essence,
    evaluate,
    explain,
    fed_ids,
    generation_task,
    inline_task,
    records_of,
)

pytestmark = pytest.mark.lm_eval

QUESTIONS = ["What is the capital of France?", "Which animal can fly?", "Say 3."]
ENDINGS = [" can fly", " is a dog", "!"]


def only(records: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    (record,) = records
    return record


# Records of explained samples


def test_records_join_to_the_samples_of_lm_eval(make_lm: Callable[..., Any], tmp_path: Path) -> None:
    filters = [
        {"name": "first", "filter": [{"function": "take_first"}]},
        {
            "name": "letter",
            "filter": [{"function": "regex", "regex_pattern": "([a-z])"}, {"function": "take_first"}],
        },
    ]
    tasks = [
        generation_task("answers", QUESTIONS, repeats=2, filter_list=filters),
        choices_task("endings", [(question, ENDINGS) for question in QUESTIONS]),
    ]
    results, run = explain(make_lm(), tasks, output_path=tmp_path)
    for task in ("answers", "endings"):
        rows = results["samples"][task]
        records = run.records_of(task)
        assert [record["status"] for record in records] == ["ok"] * 3
        for record in records:
            keys = ("doc_id", "doc_hash", "prompt_hash", "target_hash")
            joined = [row for row in rows if all(row[key] == record[key] for key in keys)]
            assert len(joined) == (2 if task == "answers" else 1)
            assert all(row["gilot"] is record for row in joined)
            metrics = {f"{name},{row['filter']}": row[name] for row in joined for name in row["metrics"]}
            assert record["metrics"] == metrics
        assert all("gilot" in row for row in rows)
    assert read_run(tmp_path).records == tuple(run.records)
    assert validate_path(tmp_path).problems == ()


def test_choices_have_the_log_likelihoods_of_lm_eval(make_lm: Callable[..., Any]) -> None:
    task = choices_task("endings", [(question, ENDINGS) for question in QUESTIONS])
    results, run = explain(make_lm(), [task])
    for row, record in zip(results["samples"]["endings"], run.records, strict=True):
        target = record["target"]
        assert target["kind"] == "choices"
        assert [choice["text"] for choice in target["choices"]] == [f" {ending}" for ending in ENDINGS]
        logprobs = [logprob for ((logprob, _),) in row["resps"]]
        assert [choice["logprob"] for choice in target["choices"]] == pytest.approx(logprobs, abs=1e-3)
        shares = torch.tensor(logprobs).softmax(dim=0).tolist()
        assert [choice["probability"] for choice in target["choices"]] == pytest.approx(shares, abs=1e-3)


@pytest.mark.parametrize(
    ("gold", "numbers"),
    [(1, [1]), ("{{1}}", [1]), ("is a dog", [1]), ("{{[0, 2]}}", [0, 2]), (-1, [])],
)
def test_gold_choices_by_number(make_lm: Callable[..., Any], gold: Any, numbers: list[int]) -> None:
    endings = [ending.strip() for ending in ENDINGS]
    task = choices_task("endings", [(QUESTIONS[0], endings)], doc_to_target=gold)
    assert only(records_of(make_lm(), [task]))["target"]["gold"] == numbers


def test_generation_keeps_the_response(make_lm: Callable[..., Any]) -> None:
    results, run = explain(
        make_lm(), [generation_task("answers", QUESTIONS)], {"hypotheses": "regenerate", "num_beams": 3}
    )
    for row, record in zip(results["samples"]["answers"], run.records, strict=True):
        assert record["target"]["kind"] == "generation"
        assert record["target"]["response"] == row["resps"][0][0]
        assert len(record["target"]["hypotheses"]) == 3
        assert set(record["scores"]) == {"ot", "kl", "l2"}
        assert all(len(values) == len(record["units"]) for values in record["scores"].values())


def test_generation_can_be_the_target_of_choices(make_lm: Callable[..., Any]) -> None:
    task = choices_task("endings", [(QUESTIONS[0], ENDINGS)])
    record = only(records_of(make_lm(), [task], settings={"target": "generation"}))
    assert (record["status"], record["request_type"]) == ("ok", "multiple_choice")
    assert record["target"]["kind"] == "generation"
    assert "response" not in record["target"]


def test_absence_that_is_defined_for_generation_only(make_lm: Callable[..., Any]) -> None:
    task = choices_task("endings", [(QUESTIONS[0], ENDINGS)])
    settings = {"preset": "paper", "absence": "published", "scope": "content"}
    record = only(records_of(make_lm(), [task], settings=settings))
    assert record["target"]["kind"] == "generation"


@pytest.mark.parametrize("add_bos_token", [False, True])
def test_prompt_of_one_token(make_lm: Callable[..., Any], add_bos_token: bool) -> None:
    lm = make_lm(add_bos_token=add_bos_token)
    tasks = [generation_task("answers", ["A"]), choices_task("endings", [("A", ENDINGS)])]
    for record in records_of(lm, tasks):
        assert record["status"] == "ok"
        assert [unit["text"] for unit in record["units"]] == ["A"]
        assert len(record["prompt_tokens"]) == 1 + add_bos_token
        assert all(len(values) == 1 for values in record["scores"].values())


def test_prompt_longer_than_the_window(make_lm: Callable[..., Any], tokenizer: Any) -> None:
    text = "The quick brown fox jumps over the lazy dog, and the dog does not mind. " * 3 + "Why?"
    tasks = [generation_task("answers", [text]), choices_task("endings", [(text, ENDINGS)])]
    whole = tokenizer(text)["input_ids"]
    for record in records_of(make_lm(max_length=32), tasks):
        assert record["status"] == "ok"
        cut = record["diagnostics"]["truncated_tokens"]
        assert cut > 30
        assert fed_ids(record) == whole[cut:]


def test_prompt_without_room_for_the_hypotheses(make_lm: Callable[..., Any], build_model: Any) -> None:
    lm = make_lm(build_model(max_position_embeddings=32))
    task = generation_task("answers", ["The quick brown fox jumps over the lazy dog. " * 5])
    record = only(records_of(lm, [task], settings={"hypotheses": "shared", "max_new_tokens": 6}))
    assert record["status"] == "skipped"
    assert "max_new_tokens=6 need 33 positions, the model has 32" in record["reason"]


# Samples that are not explained


def test_texts_that_are_scored_as_a_whole(make_lm: Callable[..., Any], tmp_path: Path) -> None:
    task = inline_task(
        "texts",
        "loglikelihood_rolling",
        [{"text": "A bird", "target": " can fly"}],
        metric_list=[
            {"metric": "word_perplexity", "aggregation": "weighted_perplexity", "higher_is_better": False}
        ],
    )
    results, run = explain(make_lm(), [task], output_path=tmp_path)
    record = only(run.records)
    assert record["status"] == "skipped"
    assert "set rolling_target=N to explain its last N tokens" in record["reason"]
    assert list(record["metrics"]) == ["word_perplexity,none"]
    assert results["samples"]["texts"][0]["gilot"] is record
    assert validate_path(tmp_path).problems == ()


def test_choices_as_target_of_a_task_without(make_lm: Callable[..., Any]) -> None:
    record = only(
        records_of(make_lm(), [generation_task("answers", ["Why?"])], settings={"target": "choices"})
    )
    assert (record["status"], record["reason"]) == (
        "skipped",
        "target='choices': a 'generate_until' sample has no choices",
    )


def test_encoder_decoder(tokenizer: Any, tmp_path: Path) -> None:
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=16,
        d_kv=4,
        d_ff=16,
        num_layers=1,
        num_heads=4,
        decoder_start_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        model = T5ForConditionalGeneration(config).eval()
    lm = HFLM(pretrained=model, tokenizer=tokenizer, backend="seq2seq", max_length=64)
    tasks = [generation_task("answers", QUESTIONS), choices_task("endings", [(QUESTIONS[0], ENDINGS)])]
    plain = evaluate(lm, tasks)
    results, run = explain(lm, tasks, output_path=tmp_path)
    assert essence(results) == essence(plain)
    assert {(record["status"], record["reason"]) for record in run.records} == {("skipped", run.unsupported)}
    assert "encoder-decoder" in run.unsupported
    assert validate_path(tmp_path).problems == ()


# Samples that fail


@pytest.fixture
def broken_on_zebras(build_model: Callable[..., Any], tokenizer: Any) -> Any:
    """A model that returns NaN for prompts with the word 'zebra'."""
    model = build_model()
    zebra = tokenizer(" zebra", add_special_tokens=False)["input_ids"]
    forward = model.forward

    def break_down(*inputs: Any, **named: Any) -> Any:
        output = forward(*inputs, **named)
        for row, ids in enumerate((inputs[0] if inputs else named["input_ids"]).tolist()):
            if any(ids[start : start + len(zebra)] == zebra for start in range(len(ids))):
                output.logits[row] = float("nan")
        return output

    model.forward = break_down
    return model


def test_nan_fails_the_sample_and_no_other(
    make_lm: Callable[..., Any], broken_on_zebras: Any, tmp_path: Path
) -> None:
    texts = ["A bird can fly", "A zebra can not", "A dog can run"]
    tasks = [choices_task("endings", [(text, ENDINGS) for text in texts]), generation_task("answers", texts)]
    lm = make_lm(broken_on_zebras, batch_size=1)
    plain = evaluate(lm, tasks)
    results, run = explain(lm, tasks, output_path=tmp_path)
    assert essence(results) == essence(plain)
    assert [record["status"] for record in run.records] == ["ok", "failed", "ok"] * 2
    for record in (run.records[1], run.records[4]):
        assert record["reason"].startswith("NonFiniteLogitsError: ")
        assert (record["prompt_tokens"], record["units"], record["scores"]) == ([], [], {})
    assert validate_path(tmp_path).problems == ()


class OddMethods:
    """Methods with bugs."""

    @hookimpl
    def gilot_attribution_methods(self) -> tuple[PromptMethod, ...]:
        def fail(context: Any) -> Any:
            raise ZeroDivisionError("of the method")

        return (
            PromptMethod("fails", "", fail),
            PromptMethod("nan", "", lambda context: [float("nan")] * len(context.units)),
            PromptMethod("short", "", lambda context: []),
        )


class Raising:
    """A method that cannot explain birds as long as it has an error to raise."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error

    @hookimpl
    def gilot_attribution_methods(self) -> tuple[PromptMethod, ...]:
        return (PromptMethod("raises", "", self.score),)

    def score(self, context: Any) -> list[float]:
        if self.error is not None and "bird" in context.prompt.text:
            raise self.error
        return [0.0] * len(context.units)


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("fails", "ZeroDivisionError: of the method"),
        ("nan", "ValueError: method 'nan' gave nan for the unit 'A'"),
        ("short", "ValueError: method 'short' gave 0 scores for 2 units"),
    ],
)
def test_method_with_a_bug_takes_no_other_along(
    make_lm: Callable[..., Any], plugged: Callable[[Any], Any], tmp_path: Path, method: str, reason: str
) -> None:
    plugged(OddMethods())
    tasks = [
        generation_task("answers", ["A bird"]),
        choices_task("endings", [("A bird", ENDINGS)]),
    ]
    with attach({**SETTINGS, "methods": [method, "l2"]}, tmp_path) as attachment:
        results = evaluate(make_lm(), tasks)
    assert essence(results) == essence(evaluate(make_lm(), tasks))
    records = attachment.runs[0].records
    sound = records_of(make_lm(), tasks, settings={"methods": ["l2"]})
    assert len(records) == len(sound) == 2
    for record, other in zip(records, sound, strict=True):
        assert record["status"] == "ok"
        assert "reason" not in record
        assert record["diagnostics"]["failed_methods"] == {method: reason}
        assert other["diagnostics"]["failed_methods"] == {}
        assert record["scores"] == other["scores"]
        assert record["units"] == other["units"]
    assert not attachment.interrupted
    assert validate_path(tmp_path).problems == ()


@pytest.mark.parametrize(
    ("method", "reason"),
    [("fails", "ZeroDivisionError: of the method"), ("nan", "gave nan"), ("short", "gave 0 scores")],
)
def test_sample_whose_every_method_fails(
    make_lm: Callable[..., Any], plugged: Callable[[Any], Any], tmp_path: Path, method: str, reason: str
) -> None:
    plugged(OddMethods())
    tasks = [generation_task("answers", ["A bird"]), generation_task("more_answers", ["A dog"])]
    with attach({**SETTINGS, "methods": [method]}, tmp_path) as attachment:
        results = evaluate(make_lm(), tasks)
    assert essence(results) == essence(evaluate(make_lm(), tasks))
    for record in attachment.runs[0].records:
        assert record["status"] == "failed"
        assert reason in record["reason"]
        assert (record["scores"], record["diagnostics"]) == ({}, {})
    assert not attachment.interrupted
    assert validate_path(tmp_path).problems == ()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no room"), MemoryError("no room")])
def test_method_without_memory_fails_the_sample(
    make_lm: Callable[..., Any], plugged: Callable[[Any], Any], error: Exception
) -> None:
    plugged(Raising(error))
    settings = {"methods": ["l2", "raises"]}
    record = only(records_of(make_lm(), [generation_task("answers", ["A bird"])], settings=settings))
    assert (record["status"], record["scores"]) == ("failed", {})
    assert record["reason"] == f"{type(error).__name__}: no room"


def test_interruption_of_a_method_ends_the_run(
    make_lm: Callable[..., Any], plugged: Callable[[Any], Any], tmp_path: Path
) -> None:
    plugged(Raising(KeyboardInterrupt()))
    with attach({**SETTINGS, "methods": ["l2", "raises"]}, tmp_path) as attachment:
        evaluate(make_lm(), [generation_task("answers", ["A bird"])])
    assert attachment.interrupted
    assert attachment.runs[0].records == []


def test_resumed_run_tries_failed_methods_again(
    make_lm: Callable[..., Any], plugged: Callable[[Any], Any], tmp_path: Path
) -> None:
    once = Raising(ValueError("for now"))
    plugged(once)
    tasks = [generation_task("answers", ["A bird", "A dog"])]
    settings = {**SETTINGS, "methods": ["l2", "raises"]}
    with attach(settings, tmp_path) as attachment:
        evaluate(make_lm(), tasks)
    first, second = attachment.runs[0].records
    assert first["diagnostics"]["failed_methods"] == {"raises": "ValueError: for now"}
    assert second["diagnostics"]["failed_methods"] == {}
    once.error = None
    with attach({**settings, "resume": str(tmp_path)}, tmp_path) as attachment:
        evaluate(make_lm(), tasks)
    assert attachment.runs[0].kept_count == 1
    again, kept = attachment.runs[0].records
    assert kept == second
    assert again["diagnostics"]["failed_methods"] == {}
    assert again["scores"]["raises"] == [0.0, 0.0]
    assert again["scores"]["l2"] == pytest.approx(first["scores"]["l2"], abs=1e-5)
