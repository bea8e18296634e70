"""What was evaluated without the plugin is explained as it would have been with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lm_eval.tasks import TaskManager
from transformers import PreTrainedTokenizerFast

from gilot_plugin import cli
from gilot_plugin.artifacts.evaluations import find_evaluation
from gilot_plugin.artifacts.reader import read_run
from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.errors import ArtifactError, ConfigError
from gilot_plugin.harness.entry import again
from gilot_plugin.harness.entry.attach import attach
from gilot_plugin.harness.entry.loading import ModelSource
from gilot_plugin.harness.entry.past import as_hf
from tests.commands.evaluating import evaluate_plainly

pytestmark = pytest.mark.lm_eval

_QUESTIONS = [f"Which animal can fly {number} times?" for number in range(4)]

_SETTINGS = {
    **{"units": "word", "methods": ["ot", "l2", "logprob"], "max_new_tokens": 2, "num_threads": 1},
    "rolling_target": 2,
}

#: A task of each kind of requests, with a description and an example.
_TASKS: Mapping[str, Mapping[str, Any]] = {
    "past_answers": {
        "output_type": "generate_until",
        "doc_to_text": "Question: {{text}}\nAnswer:",
        "doc_to_target": "{{target}}",
        "generation_kwargs": {"until": ["\n\n"], "do_sample": False, "max_gen_toks": 2},
        "metric_list": [{"metric": "exact_match"}],
    },
    "past_choices": {
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{text}}\nAnswer:",
        "doc_to_choice": "{{options}}",
        "doc_to_target": "{{gold}}",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}, {"metric": "acc_mutual_info"}],
    },
    "past_contexts": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{gold}}",
        "doc_to_choice": "{{[text ~ ' A dog', text ~ ' A bird']}}",
        "doc_to_target": "can fly",
        "num_fewshot": 0,
        "description": "",
        "metric_list": [{"metric": "acc"}],
    },
    "past_words": {
        "output_type": "loglikelihood",
        "doc_to_text": "{{text}}",
        "doc_to_target": " {{target}}",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc"}],
    },
    "past_texts": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "num_fewshot": 0,
        "description": "",
        "metric_list": [{"metric": "word_perplexity"}],
    },
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the tasks and their documents."""
    folder = tmp_path_factory.mktemp("suite")
    docs = [
        {"text": text, "target": "A bird", "options": ["A dog", "A bird can"], "gold": 1}
        for text in _QUESTIONS
    ]
    (folder / "docs.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    for name, config in _TASKS.items():
        defaults = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(folder / "docs.jsonl")}},
            "test_split": "test",
            "num_fewshot": 1,
            "description": "Answer these.\n\n",
            "metadata": {"version": 1, "gilot": {"select": {"n": 2}}},
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**defaults, **config}))
    return folder


@pytest.fixture(scope="module")
def model_dir(
    tmp_path_factory: pytest.TempPathFactory,
    build_model: Callable[..., Any],
    tokenizer: PreTrainedTokenizerFast,
) -> Path:
    """A tiny model that says text: tokens of printable characters come before all others."""
    model = build_model()
    words = tokenizer.batch_decode([[number] for number in range(len(tokenizer))])
    said = torch.tensor([word.isascii() and word.isprintable() and "<" not in word for word in words])
    with torch.no_grad():
        model.lm_head.weight[~said] = 0.0
    folder = tmp_path_factory.mktemp("models") / "talking"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _few_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval's own tasks take seconds to index."""
    monkeypatch.setattr(
        again, "TaskManager", lambda **given: TaskManager(**{**given, "include_defaults": False})
    )


def evaluate_and_log(model_dir: Path, suite: Path, folder: Path, tasks: list[str], **arguments: Any) -> None:
    """What ``lm_eval run --log_samples`` does with the tiny model."""
    model_args = {"pretrained": str(model_dir), **arguments.pop("model_args", {})}
    evaluate_plainly(model_args, folder, tasks, suite=suite, **arguments)


def gilot_explain(folder: Path, suite: Path, *arguments: str) -> int:
    """The command, with the settings of the attached run."""
    path = folder.parent / "settings.yaml"
    path.write_text(yaml.safe_dump(_SETTINGS))
    return cli.main(["explain", str(folder), "--include_path", str(suite), "--gilot", str(path), *arguments])


@pytest.mark.parametrize(
    ("tasks", "arguments"),
    [
        (list(_TASKS), {}),
        (
            ["past_answers", "past_choices"],
            {"apply_chat_template": True, "fewshot_as_multiturn": True, "system_instruction": "Be brief."},
        ),
        (["past_answers", "past_words"], {"model_args": {"max_length": 40, "add_bos_token": False}}),
    ],
    ids=["plain", "chat", "truncated"],
)
def test_records_are_those_of_an_attached_run(
    model_dir: Path, suite: Path, tmp_path: Path, tasks: list[str], arguments: dict[str, Any]
) -> None:
    with attach(_SETTINGS):
        evaluate_and_log(model_dir, suite, tmp_path / "attached", tasks, **_copied(arguments))
    evaluate_and_log(model_dir, suite, tmp_path / "plain", tasks, **_copied(arguments))
    assert gilot_explain(tmp_path / "plain", suite) == 0
    expected, found = (
        {(record["task"], record["doc_id"]): record for record in read_run(tmp_path / name).records}
        for name in ("attached", "plain")
    )
    assert expected.keys() == found.keys()
    assert {key[0] for key in found} == set(tasks)
    assert len(found) == 2 * len(tasks)
    for key, record in expected.items():
        _assert_equal(found[key], record)
    assert validate_path(tmp_path / "plain").problems == ()


def _copied(arguments: Mapping[str, Any]) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(arguments))
    return copied


def _assert_equal(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    own = {"record_sha256", "diagnostics", "scores", "step_scores", "flows", "total_flows", "target"}
    assert {key: value for key, value in found.items() if key not in own} == {
        key: value for key, value in expected.items() if key not in own
    }
    for method, values in expected["scores"].items():
        assert found["scores"][method] == pytest.approx(values, abs=1e-6)
    for name in ("kind", "gold", "response", "response_ids"):
        assert found["target"].get(name) == expected["target"].get(name)
    assert found["diagnostics"]["truncated_tokens"] == expected["diagnostics"]["truncated_tokens"]


def test_without_the_task_prompts_have_no_parts(
    model_dir: Path, suite: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "plain"
    evaluate_and_log(model_dir, suite, folder, ["past_choices"], limit=2)
    assert gilot_explain(folder, tmp_path / "nothing") == 0
    records = read_run(folder).records
    assert {unit["segment"] for record in records for unit in record["units"]} == {"content"}
    assert [record["target"]["gold"] for record in records] == [[1], [1]]
    assert "the parts of its prompts are not known" in caplog.text


def test_what_was_explained_is_not_explained_over(
    model_dir: Path, suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "plain"
    evaluate_and_log(model_dir, suite, folder, ["past_words"], limit=2)
    assert gilot_explain(folder, suite) == 0
    assert gilot_explain(folder, suite) == 2
    assert "has attributions of" in capsys.readouterr().err
    before = {path: path.read_bytes() for path in folder.rglob("attributions_past*")}
    assert (
        gilot_explain(
            folder, suite, "--gilot_args", f"resume={folder},output_path={find_evaluation(folder).folder}"
        )
        == 0
    )
    assert before == {path: path.read_bytes() for path in folder.rglob("attributions_past*")}


@pytest.mark.parametrize("damage", ["edited", "document", "old", "unlogged"])
def test_a_log_that_does_not_tell_is_refused(
    model_dir: Path, suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    folder = tmp_path / "plain"
    evaluate_and_log(model_dir, suite, folder, ["past_words"], limit=2)
    past = find_evaluation(folder)
    (samples,) = folder.rglob("samples_*.jsonl")
    if damage == "edited":
        samples.write_text(samples.read_text().replace("can fly 1", "can fly 7"))
        told = "edited after it was logged: doc_hash, prompt_hash"
    elif damage == "document":
        samples.write_text(samples.read_text().replace('"gold": 1', '"gold": 0'))
        told = "edited after it was logged: doc_hash"
    elif damage == "old":
        past.path.write_text(json.dumps({**past.content, "lm_eval_version": "0.4.9.1"}))
        told = "of lm-eval 0.4.9.1, whose log does not tell"
    else:
        samples.unlink()
        told = "--log_samples"
    assert gilot_explain(folder, suite) in (1, 2)
    assert told in " ".join(capsys.readouterr().err.split())


def test_no_results_are_no_evaluation(tmp_path: Path) -> None:
    (tmp_path / "results_2026-01-01T00-00-00.0.json").write_text("[]")
    with pytest.raises(ArtifactError, match="not a results file"):
        find_evaluation(tmp_path)


def test_models_that_cannot_be_read_are_loaded_by_hf(caplog: pytest.LogCaptureFixture) -> None:
    given = {"pretrained": "m", "dtype": "float16", "gpu_memory_utilization": 0.8}
    source = as_hf(ModelSource("vllm", given, "cpu"), named=False)
    assert (source.model, dict(source.arguments)) == ("hf", {"pretrained": "m", "dtype": "float16"})
    assert "without gpu_memory_utilization" in caplog.text
    assert as_hf(ModelSource("vllm", given, "cpu"), named=True).model == "vllm"
    with pytest.raises(ConfigError, match="give a checkpoint"):
        as_hf(ModelSource("openai-completions", {"model": "m"}, "cpu"), named=False)
