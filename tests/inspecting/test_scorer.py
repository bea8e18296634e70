"""Logs of inspect_ai get attributions of the very prompts that its model was fed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# ``make test`` installs its extra; `make test-oldest` cannot, for it asks for newer releases of others.
pytest.importorskip("inspect_ai")

from inspect_ai import Task, eval, score
from inspect_ai._cli.main import inspect as inspect_command
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import ChatMessageSystem, ChatMessageUser
from inspect_ai.scorer import includes
from inspect_ai.solver import generate
from transformers import GenerationMixin

from gilot_plugin import GilotConfig, attribute
from gilot_plugin.artifacts.record_checks import record_problems
from gilot_plugin.errors import ConfigError
from gilot_plugin.inspecting.scorer import UNEXPLAINED, attribution

SETTINGS = {"max_new_tokens": 2, "methods": ["ot", "kl"]}


@pytest.fixture(scope="module")
def model_folder(
    make_tiny_model: Callable[..., Any], tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_tiny_model("llama", max_position_embeddings=256).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Prompts as inspect_ai fed them, without what fills its batches up."""
    prompts: list[list[int]] = []
    generated = GenerationMixin.generate

    def watched(model: Any, *, input_ids: Any, attention_mask: Any, **named: Any) -> Any:
        for row, mask in zip(input_ids, attention_mask, strict=True):
            prompts.append(row[mask.bool()].tolist())
        return generated(model, input_ids=input_ids, attention_mask=attention_mask, **named)

    monkeypatch.setattr(GenerationMixin, "generate", watched)
    return prompts


def evaluated(model: str, folder: Path, samples: list[Sample], **model_args: Any) -> EvalLog:
    task = Task(dataset=samples, solver=generate(), scorer=includes(), name="questions")
    (log,) = eval(
        task,
        model=model,
        model_args=model_args,
        log_dir=str(folder),
        max_tokens=4,
        seed=1,
        display="none",
        log_format="json",
    )
    assert log.status == "success"
    return log


TALK = [
    ChatMessageSystem(content="Answer with one word."),
    ChatMessageUser(content="The opposite of hot is"),
]


def test_the_command_adds_attributions_of_what_the_model_was_fed(
    model_folder: Path, tmp_path: Path, fed: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [Sample(input="The capital of France?", target="x"), Sample(input=TALK, target="x")]
    log = evaluated("hf/tiny", tmp_path, samples, model_path=str(model_folder), device="cpu", do_sample=False)
    given = tmp_path / "settings.yaml"
    given.write_text(json.dumps(SETTINGS))
    written = tmp_path / "scored.json"
    command = ["score", str(log.location), "--scorer", "gilot_plugin/attribution", "--action", "append"]
    options = [
        "-S",
        f"config={given}",
        "-S",
        "methods=ot",
        "--output-file",
        str(written),
        "--display",
        "none",
    ]
    monkeypatch.chdir(tmp_path)  # where the scorer's name is no path, as it is in this repository
    inspect_command.main([*command, *options], standalone_mode=False)

    scored = read_eval_log(str(written))
    assert scored.results is not None
    assert [each.scorer for each in scored.results.scores] == ["includes", "attribution"]
    prompts = []
    for sample in scored.samples or ():
        assert sample.scores is not None
        assert set(sample.scores) == {"includes", "attribution"}
        found = sample.scores["attribution"]
        assert found.metadata is not None
        record = found.metadata["gilot"]
        assert list(record_problems(record)) == []
        prompts.append([token["id"] for token in record["prompt_tokens"]])
        assert list(record["scores"]) == ["ot"]
        shares = [abs(value) / sum(map(abs, record["scores"]["ot"])) for value in record["scores"]["ot"]]
        assert found.value == pytest.approx(max(shares))
        top = record["units"][shares.index(max(shares))]
        assert found.answer == top["text"].strip()
        assert sum(found.metadata["parts"].values()) == pytest.approx(1.0)
        assert record["target"]["response"] == sample.output.completion
    assert sorted(prompts) == sorted(fed)
    first, second = (sample.scores["attribution"] for sample in scored.samples or ())
    assert set(first.metadata["parts"]) == {"question"}
    assert set(second.metadata["parts"]) == {"system", "question"}
    assert "Answer" in second.explanation
    assert "| without | part | score |" in second.explanation


def test_scores_are_those_of_the_prompt_by_itself(
    model_folder: Path, tmp_path: Path, fed: list[list[int]], make_tiny_model: Any, tiny_tokenizer: Any
) -> None:
    model_args = {"model_path": str(model_folder), "device": "cpu", "do_sample": False}
    log = evaluated("hf/tiny", tmp_path, [Sample(input=TALK, target="x")], **model_args)
    scored = score(log, attribution(**SETTINGS), display="none")
    (sample,) = scored.samples or ()
    assert sample.scores is not None
    record = sample.scores["attribution"].metadata["gilot"]  # type: ignore[index]
    model = make_tiny_model("llama", max_position_embeddings=256)
    alone = attribute(
        model, tiny_tokenizer, fed[0], GilotConfig(**SETTINGS), response=sample.output.completion
    )
    # By the part of the prompt, too: the words of the talk, and neither roles nor template.
    own = {
        (unit.start_token, unit.text): value
        for unit, value in zip(alone.units, alone.scores["ot"], strict=True)
    }
    told = {
        (unit["start_token"], unit["text"]): value
        for unit, value in zip(record["units"], record["scores"]["ot"], strict=True)
    }
    assert {"opposite", "hot"} <= {text.strip() for _, text in told}
    assert "user" not in {text.strip() for _, text in told}
    for place in told.keys() & own.keys():
        assert told[place] == pytest.approx(own[place], abs=1e-5)
    assert len(told.keys() & own.keys()) >= 5


def test_models_without_distributions_are_named(model_folder: Path, tmp_path: Path) -> None:
    model_args = {"model_path": str(model_folder), "device": "cpu", "do_sample": False}
    log = evaluated("hf/tiny", tmp_path, [Sample(input="One?", target="x")], **model_args)
    scored = score(log, attribution(), model="mockllm/model", display="none")
    (sample,) = scored.samples or ()
    assert sample.scores is not None
    found = sample.scores["attribution"]
    assert found.reason == UNEXPLAINED
    assert found.value != found.value  # NaN: it counts in no mean
    assert "mockllm/model gives no access to its distributions" in str(found.explanation)
    assert "hf" in str(found.explanation)


def test_wrong_settings_are_refused_before_a_sample_is_read() -> None:
    with pytest.raises(ConfigError, match="max_new_tokens"):
        attribution(max_new_tokens=0)
