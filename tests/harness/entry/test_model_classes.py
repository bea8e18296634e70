"""Model classes of lm-eval: what can be attributed is, the others say why not, once, and scoring goes on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import dispatch_model
from lm_eval.models.huggingface import HFLM
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedTokenizerFast

from tests.harness.evaluations import ANSWERS, CHEAP, ENDINGS, essence, evaluate, explain

TASKS = (ANSWERS, ENDINGS)


def assert_scores_stay_and_all_is_explained(lm: Any) -> Any:
    plain = evaluate(lm, TASKS)
    explained, run = explain(lm, TASKS, CHEAP)
    assert essence(explained) == essence(plain)
    assert [record["status"] for record in run.records] == ["ok"] * 8
    return run


def scores_of(run: Any) -> list[float]:
    return [score for record in run.records for score in record["scores"]["l2"]]


def test_adapter(
    build_model: Callable[..., Any], model_dir: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """As in ``peft=FOLDER``."""
    adapted = get_peft_model(build_model(), LoraConfig(r=2, init_lora_weights=False, task_type="CAUSAL_LM"))
    adapted.save_pretrained(tmp_path)
    lm = HFLM(pretrained=str(model_dir), peft=str(tmp_path), device="cpu", batch_size=2)
    found = scores_of(assert_scores_stay_and_all_is_explained(lm))
    base = HFLM(pretrained=str(model_dir), device="cpu", batch_size=2)
    assert found != pytest.approx(scores_of(explain(base, TASKS, CHEAP)[1]), abs=1e-4)


def test_delta_weights(
    build_model: Callable[..., Any], model_dir: Path, tokenizer: Any, tmp_path: Path
) -> None:
    """As in ``delta=FOLDER``: what is explained is the sum."""
    delta = build_model()
    with torch.no_grad():
        for parameter in delta.parameters():
            parameter.copy_(0.05 * torch.randn_like(parameter))
    delta.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    lm = HFLM(pretrained=str(model_dir), delta=str(tmp_path), device="cpu", batch_size=2)
    assert_scores_stay_and_all_is_explained(lm)


def test_quantized_layers(make_lm: Callable[..., HFLM], build_model: Callable[..., Any]) -> None:
    """Linear layers of int8, which have no weight of floats."""
    quantized = torch.ao.quantization.quantize_dynamic(
        build_model(), {torch.nn.Linear: torch.ao.quantization.default_dynamic_qconfig}, dtype=torch.qint8
    )
    run = assert_scores_stay_and_all_is_explained(make_lm(quantized))
    assert all(score > 0 for score in scores_of(run))


def test_layers_that_are_spread_over_devices(
    make_lm: Callable[..., HFLM], build_model: Callable[..., Any], tmp_path: Path
) -> None:
    """As with ``parallelize=True`` where the model does not fit: hooks bring a layer's weights."""
    places = dict.fromkeys(("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"), "cpu")
    places |= {"model.layers.0": "cpu", "model.layers.1": "disk"}
    model = dispatch_model(build_model(), places, main_device="cpu", offload_dir=tmp_path, force_hooks=True)
    run = assert_scores_stay_and_all_is_explained(make_lm(model))
    assert scores_of(run) == pytest.approx(scores_of(explain(make_lm(), TASKS, CHEAP)[1]), abs=1e-5)


def test_multimodal_models_say_why_not(
    make_lm: Callable[..., HFLM], caplog: pytest.LogCaptureFixture
) -> None:
    lm = make_lm()
    lm.MULTIMODAL = True
    plain = evaluate(lm, TASKS)
    explained, run = explain(lm, TASKS, CHEAP)
    assert essence(explained) == essence(plain)
    assert {record["reason"] for record in run.records} == {run.unsupported}
    assert "part of what this model reads are images or sounds" in str(run.unsupported)
    said = [record for record in caplog.records if "cannot be attributed" in record.getMessage()]
    assert len(said) == 1


def test_copies_of_a_model_share_nothing(make_lm: Callable[..., HFLM]) -> None:
    """Two evaluations with two models in one process."""
    first, second = make_lm(), make_lm()
    second._model = copy.deepcopy(second.model)
    with torch.no_grad():
        second.model.get_input_embeddings().weight.mul_(1.5)
    one, other = (scores_of(explain(lm, TASKS, CHEAP)[1]) for lm in (first, second))
    assert one != pytest.approx(other, abs=1e-4)
    assert one == scores_of(explain(first, TASKS, CHEAP)[1])
