"""lm-eval's class ``vllm`` over a stand-in of the engine, beside ``hf`` on the same checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gilot_plugin.harness.state.model_classes import is_engine
from tests.backends._vllm.stand_in_vllm import stand_in_package
from tests.harness.evaluations import (
    ANSWERS,
    ENDINGS,
    ROLLING,
    SETTINGS,
    essence,
    evaluate,
    explain,
    fed_ids,
    generation_task,
    inline_task,
)

LOGLIKELIHOOD = inline_task(
    "continuations",
    "loglikelihood",
    [{"text": "A bird", "target": " can fly"}, {"text": "One,", "target": " two"}],
)
EVERYTHING = [ANSWERS, ENDINGS, LOGLIKELIHOOD, ROLLING]


@pytest.fixture(scope="session", autouse=True)
def vllm_package() -> Iterator[Any]:
    """lm-eval's module of the class, imported once: its registry keeps the class."""
    with stand_in_package() as module:
        yield module


@pytest.fixture
def checkpoint(model_dir: Path) -> dict[str, str]:
    return {"pretrained": str(model_dir)}


def as_vllm(tasks: Any, checkpoint: dict[str, str], **settings: Any) -> Any:
    return explain("vllm", tasks, {**SETTINGS, **settings}, model_args=checkpoint, batch_size=2, limit=1)


def as_hf(tasks: Any, checkpoint: dict[str, str], **settings: Any) -> Any:
    arguments = {
        "model_args": {**checkpoint, "dtype": "float32"},
        "device": "cpu",
        "batch_size": 2,
        "limit": 1,
    }
    return explain("hf", tasks, {**SETTINGS, **settings}, **arguments)


def records_by_document(run: Any) -> dict[tuple[str, int], Any]:
    return {(record["task"], record["doc_id"]): record for record in run.records}


def test_scores_are_those_without_attributions(checkpoint: dict[str, str]) -> None:
    plain = evaluate("vllm", EVERYTHING, model_args=checkpoint, batch_size=2, limit=1)
    explained, run = as_vllm(EVERYTHING, checkpoint, units="segment")
    assert essence(explained) == essence(plain)
    assert {record["status"] for record in run.records} == {"ok"}, run.records[0].get("reason")


@pytest.mark.parametrize(
    ("hypotheses", "tasks"), [("response", EVERYTHING), ("shared", [ANSWERS]), ("regenerate", [ANSWERS])]
)
def test_records_are_those_of_hf(checkpoint: dict[str, str], hypotheses: str, tasks: list[Any]) -> None:
    # As many tokens are told of as the vocabulary has, so that nothing is left to the tail.
    _, ours = as_vllm(tasks, checkpoint, hypotheses=hypotheses, units="segment")
    _, theirs = as_hf(tasks, checkpoint, hypotheses=hypotheses, units="segment")
    found, expected = records_by_document(ours), records_by_document(theirs)
    assert found.keys() == expected.keys()
    for document, record in found.items():
        other = expected[document]
        assert record["status"] == other["status"] == "ok"
        assert fed_ids(record) == fed_ids(other)
        assert record["units"] == other["units"]
        if document[0] in ("answers", "endings"):
            assert record["metrics"] == other["metrics"]
        assert record.get("answer") == other.get("answer")
        assert record["scores"].keys() == other["scores"].keys()
        for measure, values in record["scores"].items():
            assert values == pytest.approx(other["scores"][measure], abs=2e-4), (document, measure)


@pytest.mark.parametrize(
    "settings",
    [
        {"scheme": "shapley", "coalitions": 10, "methods": ["kl"]},
        {"methods": ["kl", "kernel_shap"], "units": "segment"},
        {"absence": "replace", "replace_with": 5, "methods": ["kl"]},
        {"explain": "end", "methods": ["signed_kl", "logodds"]},
    ],
)
def test_coalitions_replacements_windows_and_other_libraries(
    checkpoint: dict[str, str], settings: dict[str, Any]
) -> None:
    _, ours = as_vllm([ANSWERS], checkpoint, **settings)
    _, theirs = as_hf([ANSWERS], checkpoint, **settings)
    for record, other in zip(ours.records, theirs.records, strict=True):
        assert record["status"] == other["status"] == "ok", record["reason"]
        for measure, values in record["scores"].items():
            assert values == pytest.approx(other["scores"][measure], abs=5e-4), measure


def test_scores_lie_within_their_bounds_where_little_is_told(checkpoint: dict[str, str]) -> None:
    _, ours = as_vllm([ANSWERS], {**checkpoint, "max_logprobs": 30}, methods=["ot", "kl"])
    _, theirs = as_hf([ANSWERS], checkpoint, methods=["ot", "kl"], top_p=1.0)
    for document, record in records_by_document(ours).items():
        whole = records_by_document(theirs)[document]["scores"]
        bounds = np.array(record["diagnostics"]["transport_bounds"])
        assert (bounds[:, 0] - 1e-5 <= whole["ot"]).all()
        assert (whole["ot"] <= bounds[:, 1] + 1e-5).all()
        assert (np.array(record["scores"]["kl"]) <= np.array(whole["kl"]) + 1e-5).all()


def test_truncated_prompts(checkpoint: dict[str, str]) -> None:
    task = generation_task("long", ["The quick brown fox jumps over the lazy dog. " * 30])
    _, run = as_vllm([task], {**checkpoint, "max_length": 60}, units="segment", methods=["l2"])
    (record,) = run.records
    assert record["status"] == "ok", record["reason"]
    assert len(record["prompt_tokens"]) == 56
    assert record["diagnostics"]["truncated_tokens"] > 50


def test_engines_tell_as_much_as_is_asked_for(checkpoint: dict[str, str], caplog: Any) -> None:
    _, run = as_vllm([ANSWERS], checkpoint, top_k=2500, units="segment", methods=["l2"])
    assert not [one for one in caplog.records if "max_logprobs" in one.getMessage()]
    assert run.loaded_as.arguments == checkpoint


def test_what_the_user_said_holds_and_is_warned_about(checkpoint: dict[str, str], caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        as_vllm([ANSWERS], {**checkpoint, "max_logprobs": 25}, units="segment", methods=["l2"])
    (warning,) = [one.getMessage() for one in caplog.records if "max_logprobs" in one.getMessage()]
    assert "25 likeliest tokens" in warning
    assert "add max_logprobs=2000 to --model_args" in warning


def test_masks_are_refused_before_anything_is_read(checkpoint: dict[str, str]) -> None:
    with pytest.raises(Exception, match="vLLM reads every token"):
        as_vllm([ANSWERS], checkpoint, absence="mask")


def test_several_engines_are_refused_with_the_way_out(
    checkpoint: dict[str, str], vllm_package: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = vllm_package.VLLM(**checkpoint)
    assert is_engine(lm)
    plain = evaluate(lm, [ANSWERS])
    engine = lm.model
    monkeypatch.setattr(lm, "model", None)
    monkeypatch.setattr(lm, "data_parallel_size", 2)
    # What actors of their own would do.
    monkeypatch.setattr(
        lm,
        "_model_generate",
        lambda requests, generate, sampling_params: engine.generate(
            [{"prompt_token_ids": ids} for ids in requests], sampling_params
        ),
    )
    monkeypatch.setattr(type(lm), "max_length", 512)
    explained, run = explain(lm, [ANSWERS])
    assert essence(explained) == essence(plain)
    assert {record["status"] for record in run.records} == {"skipped"}
    assert "gilot explain" in run.records[0]["reason"]
    assert "data_parallel_size=2" in run.records[0]["reason"]
