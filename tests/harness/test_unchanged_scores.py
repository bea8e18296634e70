"""What lm-eval returns and writes with attributions is what it returns and writes without them."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lm_eval.api.model import LM
from lm_eval.models.api_models import JsonChatStr

from gilot_plugin.attribution.methods import PromptMethod
from gilot_plugin.hookspecs import hookimpl
from tests.harness.evaluations import (
    MUTUAL_INFORMATION,
    PAIRS,
    QUESTIONS,
    SUITE,
    essence,
    evaluate,
    explain,
    generation_task,
    inline_task,
)

pytestmark = pytest.mark.lm_eval

LOGLIKELIHOOD = inline_task(
    "likely_endings",
    "loglikelihood",
    [{"text": text, "target": options[0]} for text, options in PAIRS],
    metric_list=[
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
    ],
)

ROLLING = inline_task(
    "texts",
    "loglikelihood_rolling",
    [{"text": "", "target": question} for question in QUESTIONS],
    metric_list=[
        {"metric": "word_perplexity", "aggregation": "weighted_perplexity", "higher_is_better": False}
    ],
)

EXPLAINED_ROLLING = {
    **ROLLING,
    "task": "explained_texts",
    "metadata": {"version": 1, "gilot": {"rolling_target": 2}},
}

#: The choices stand in the contexts, as in Winogrande.
INPUTS = inline_task(
    "inputs",
    "multiple_choice",
    [
        {"options": [f"{text} {animal}" for animal in ("dog", "bird", "fox")], "answer": 1, "end": "can fly"}
        for text in ("The quick brown", "A")
    ],
    doc_to_text="{{answer}}",
    doc_to_choice="options",
    doc_to_target="end",
)

INFORMATIVE_INPUTS = {
    **INPUTS,
    "task": "informative_inputs",
    "metric_list": MUTUAL_INFORMATION["metric_list"],
}

SEVERAL_FILTERS = generation_task(
    "voted_answers",
    QUESTIONS,
    repeats=3,
    filter_list=[
        {"name": "first", "filter": [{"function": "take_first"}]},
        {
            "name": "vote",
            "filter": [
                {"function": "regex", "regex_pattern": "([A-Za-z]+)"},
                {"function": "majority_vote"},
                {"function": "take_first"},
            ],
        },
    ],
)


#: Tasks, arguments, and the statuses that the records must have.
CASES: Mapping[str, tuple[list[Any], dict[str, Any], set[str]]] = {
    "short answers": (["gilot_short_answers"], {"limit": 4}, {"ok"}),
    "two-shot choices": (["gilot_two_shot_choices"], {"limit": 4}, {"ok"}),
    "minimal pairs": (["gilot_minimal_pairs"], {"limit": 4}, {"ok"}),
    "group": (["gilot_examples"], {"limit": 2}, {"ok"}),
    "log-likelihood": ([LOGLIKELIHOOD], {}, {"ok"}),
    "log-likelihood after examples": (
        [{**LOGLIKELIHOOD, "num_fewshot": 1, "fewshot_split": "test"}],
        {},
        {"ok"},
    ),
    "rolling log-likelihood, explained": ([EXPLAINED_ROLLING], {}, {"ok"}),
    "choices in the context": ([INPUTS], {}, {"ok"}),
    "choices in the context after examples": (
        [
            {
                **INPUTS,
                "num_fewshot": 1,
                "fewshot_split": "test",
                "fewshot_config": {"doc_to_choice": "options"},
            }
        ],
        {},
        {"ok"},
    ),
    "choices in the context, mutual information": ([INFORMATIVE_INPUTS], {}, {"ok"}),
    "predictions of several kinds": ([SEVERAL_FILTERS, LOGLIKELIHOOD], {"predict_only": True}, {"ok"}),
    "documents by number": (
        [LOGLIKELIHOOD, INPUTS],
        {"samples": {"likely_endings": [2, 0], "inputs": [1]}},
        {"ok"},
    ),
    "rolling log-likelihood": ([ROLLING], {}, {"skipped"}),
    "filters and repeats": ([SEVERAL_FILTERS], {}, {"ok"}),
    "mutual information": ([MUTUAL_INFORMATION], {}, {"ok"}),
    "all kinds": ([LOGLIKELIHOOD, SEVERAL_FILTERS, ROLLING, MUTUAL_INFORMATION], {}, {"ok", "skipped"}),
    "samples not wanted": (["gilot_short_answers"], {"limit": 3, "log_samples": False}, {"ok"}),
    "chat template": (
        ["gilot_short_answers", "gilot_two_shot_choices"],
        {"limit": 2, "apply_chat_template": True, "fewshot_as_multiturn": True},
        {"ok"},
    ),
    "one turn": (
        ["gilot_two_shot_choices"],
        {"limit": 2, "apply_chat_template": True, "fewshot_as_multiturn": False},
        {"ok"},
    ),
    "system instruction": (
        ["gilot_short_answers"],
        {"limit": 2, "apply_chat_template": True, "system_instruction": "Be brief."},
        {"ok"},
    ),
    "system instruction without template": (
        ["gilot_minimal_pairs"],
        {"limit": 2, "system_instruction": "Be brief."},
        {"ok"},
    ),
    "predictions only": (
        ["gilot_short_answers", "gilot_minimal_pairs"],
        {"limit": 2, "predict_only": True},
        {"ok"},
    ),
    "some documents": (["gilot_minimal_pairs"], {"samples": {"gilot_minimal_pairs": [7, 2, 5]}}, {"ok"}),
    "batch size found": (
        ["gilot_short_answers", "gilot_minimal_pairs"],
        {"limit": 2, "batch_size": "auto", "max_batch_size": 2},
        {"ok"},
    ),
    "sampled answers": (
        ["gilot_short_answers", SEVERAL_FILTERS],
        {"limit": 3, "gen_kwargs": {"do_sample": True, "temperature": 1.0}},
        {"ok"},
    ),
}


def random_states() -> tuple[Any, ...]:
    return random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()  # noqa: NPY002


@pytest.fixture
def by_path(model_dir: Path) -> dict[str, Any]:
    """Arguments that make lm-eval load the tiny model itself."""
    return {"model_args": {"pretrained": str(model_dir), "device": "cpu"}, "batch_size": 2}


@pytest.mark.parametrize("case", CASES)
def test_results_are_the_same(by_path: dict[str, Any], case: str) -> None:
    tasks, arguments, statuses = CASES[case]
    arguments = {**by_path, **arguments}
    plain = evaluate("hf", tasks, **arguments)
    state = random_states()
    with_attributions, run = explain("hf", tasks, **arguments)
    assert essence(with_attributions) == essence(plain)
    assert random_states() == state
    assert {record["status"] for record in run.records} == statuses
    assert {record["task"] for record in run.records} == set(plain["configs"])
    assert ("samples" in plain) == arguments.get("log_samples", True)


def test_rows_are_the_same_objects(by_path: dict[str, Any]) -> None:
    """Beyond what JSON tells: a tuple is a tuple, numpy's numbers are numpy's."""
    plain = evaluate("hf", [SEVERAL_FILTERS, LOGLIKELIHOOD], **by_path)["samples"]
    explained = explain("hf", [SEVERAL_FILTERS, LOGLIKELIHOOD], **by_path)[0]["samples"]
    for task, rows in plain.items():
        for row, other in zip(rows, explained[task], strict=True):
            assert [*row, "gilot"] == list(other)
            assert repr({key: other[key] for key in row}) == repr(row)


class GreedyForNumbers:
    """Offers a method that draws from every global random state."""

    @hookimpl
    def gilot_attribution_methods(self) -> tuple[PromptMethod, ...]:
        def draw(context: Any) -> list[float]:
            return [random.random() + np.random.rand() + torch.rand(1).item() for _ in context.units]  # noqa: NPY002

        return (PromptMethod("greedy_for_numbers", "", draw),)


def test_later_evaluation_draws_the_same_numbers(
    make_lm: Callable[..., Any], plugged: Callable[[Any], Any]
) -> None:
    plugged(GreedyForNumbers())
    sampled = {"gen_kwargs": {"do_sample": True, "temperature": 1.0}}
    unseeded = {"random_seed": None, "numpy_random_seed": None, "torch_random_seed": None}
    tasks, lm = [generation_task("answers", QUESTIONS)], make_lm()
    first = evaluate(lm, tasks, **sampled)
    second = evaluate(lm, tasks, **sampled, **unseeded)
    explained, _ = explain(lm, tasks, {"methods": ["ot", "greedy_for_numbers"]}, **sampled)
    assert essence(explained) == essence(first)
    assert essence(evaluate(lm, tasks, **sampled, **unseeded)) == essence(second)
    assert essence(second) != essence(first)


# Models that cannot be attributed


@pytest.mark.lm_eval(since="0.4.12")
def test_dummy_model() -> None:
    """It takes its scores from Python's global random numbers, so a single draw too many shows."""
    tasks = [LOGLIKELIHOOD, ROLLING, SEVERAL_FILTERS, "gilot_minimal_pairs"]
    plain = evaluate("dummy", tasks, limit=4)
    state = random_states()
    explained, run = explain("dummy", tasks, limit=4)
    assert essence(explained) == essence(plain)
    assert random_states() == state
    assert {record["status"] for record in run.records} == {"skipped"}
    assert {record["reason"] for record in run.records} == {run.unsupported}
    assert "'DummyLM' cannot be attributed" in run.records[0]["reason"]
    documents = {(task, row["doc_id"]) for task, rows in plain["samples"].items() for row in rows}
    assert {(record["task"], record["doc_id"]) for record in run.records} == documents


class RemoteModel(LM):
    """Like lm-eval's models behind an API: conversations are no strings, tokens are none of our business."""

    tokenizer_name = "remote"

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return self._loglikelihood_tokens([request.args for request in requests])

    def _loglikelihood_tokens(self, requests: Any) -> list[tuple[float, bool]]:
        return [(-float(len(str(request))), False) for request in requests]

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        return [-1.0 for _ in requests]

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        return [request.args[0].prompt[:9] for request in requests]

    def chat_template(self, chat_template: bool | str = False) -> str:
        return ""

    def apply_chat_template(self, chat_history: Any, add_generation_prompt: bool = True) -> Any:
        return JsonChatStr(json.dumps(chat_history))


@pytest.mark.parametrize("task", ["gilot_short_answers", "gilot_minimal_pairs"])
def test_model_behind_an_api(task: str) -> None:
    arguments = {"limit": 2, "apply_chat_template": True}
    plain = evaluate(RemoteModel(), [task], **arguments)
    explained, run = explain(RemoteModel(), [task], **arguments)
    assert essence(explained) == essence(plain)
    assert {record["status"] for record in run.records} == {"skipped"}
    assert "'RemoteModel' cannot be attributed" in run.records[0]["reason"]


# The command line


def test_command_line(model_dir: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "COLUMNS": "200"}
    commands = Path(sys.executable).parent

    def run(program: str, *more: str) -> tuple[Path, str]:
        output = tmp_path / program
        arguments = [
            *(
                "--model",
                "hf",
                "--model_args",
                f"pretrained={model_dir}",
                "--device",
                "cpu",
                "--batch_size",
                "2",
            ),
            *("--tasks", "gilot_examples", "--include_path", str(SUITE), "--limit", "3"),
            *("--output_path", str(output), "--log_samples", *more),
        ]
        done = subprocess.run(
            [commands / program, "run", *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (folder,) = output.iterdir()
        return folder, done.stdout

    folder, plain_text = run("lm_eval")
    explained_folder, explained_text = run(
        "gilot", "--gilot_args", "num_beams=2,max_new_tokens=2,num_threads=1,select.n=2"
    )
    assert explained_folder.name == folder.name
    assert explained_text == plain_text

    def load(path: Path) -> Any:
        return [json.loads(line) for line in path.read_text().splitlines()]

    (results,) = folder.glob("results_*.json")
    (explained_results,) = explained_folder.glob("results_*.json")
    assert essence(json.loads(explained_results.read_text())) == essence(json.loads(results.read_text()))
    date = explained_results.stem.removeprefix("results_")
    tasks = ("gilot_short_answers", "gilot_two_shot_choices", "gilot_minimal_pairs")
    for task in tasks:
        (samples,) = folder.glob(f"samples_{task}_*.jsonl")
        rows = load(explained_folder / f"samples_{task}_{date}.jsonl")
        records = load(explained_folder / f"attributions_{task}_{date}.jsonl")
        assert [row.pop("gilot") for row in rows[:2]] == records
        assert rows == load(samples)
        assert [record["status"] for record in records] == ["ok", "ok"]
    written = {path.name for path in explained_folder.iterdir()}
    assert written == {
        f"results_{date}.json",
        f"attributions_manifest_{date}.json",
        *(f"{kind}_{task}_{date}.jsonl" for kind in ("samples", "attributions") for task in tasks),
    }
