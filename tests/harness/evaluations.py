"""Short ways to evaluate a tiny model with lm-eval, with and without attributions."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import lm_eval.evaluator
import pytest
from datasets import Dataset, DatasetDict
from lm_eval.api.task import ConfigurableTask
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager
from lm_eval.utils import handle_non_serializable

from gilot_plugin.harness.entry.attach import attach
from gilot_plugin.harness.state.run import EvaluationRun

SUITE = Path(__file__).parents[2] / "examples" / "suite"

#: What the generation tasks of several files ask.
QUESTIONS = [
    "What is the capital of France?",
    "Which animal can fly, and which can not?",
    "Say 3.",
    "One, two,",
]

#: Contexts and endings of their multiple-choice tasks.
PAIRS = [
    ("The quick brown fox", [" jumps over", " cannot", " dog"]),
    ("The movie was", [" very good", " not good at all"]),
    ("A bird", [" can fly", " is", " can", " lazy"]),
]

#: Cheap settings; ``num_threads`` because the cores are shared.
SETTINGS: Mapping[str, Any] = {"num_beams": 2, "max_new_tokens": 2, "num_threads": 1}

#: Settings for tests that look at other things than scores.
CHEAP: Mapping[str, Any] = {**SETTINGS, "units": "segment", "methods": ["l2"]}

#: Keys of results that say when and where, not what; somebody may commit while tests run.
_CIRCUMSTANCES = (
    *("date", "start_time", "end_time", "total_evaluation_time_seconds"),
    *("git_hash", "upper_git_hash", "pretty_env_info"),
)


@cache
def suite_manager() -> TaskManager:
    """Finds the tasks of ``examples/suite`` and none of lm-eval's own, which take seconds to index."""
    return TaskManager(include_path=str(SUITE), include_defaults=False)


def inline_task(
    name: str, output_type: str, docs: Sequence[Mapping[str, Any]], **config: Any
) -> dict[str, Any]:
    """A task with its documents in memory: ``{"text", "target"}`` unless the configuration says otherwise."""

    def load(**_: Any) -> DatasetDict:
        return DatasetDict({"test": Dataset.from_list([dict(doc) for doc in docs])})

    return {
        "task": name,
        "output_type": output_type,
        "custom_dataset": load,
        "test_split": "test",
        "num_fewshot": 0,
        "doc_to_text": "{{text}}",
        "doc_to_target": "{{target}}",
        "metadata": {"version": 1},
        **config,
    }


def choices_task(name: str, docs: Sequence[tuple[str, Sequence[str]]], **config: Any) -> dict[str, Any]:
    """Multiple choice between the given continuations of a context; the first one is right."""
    rows = [{"text": text, "options": list(options)} for text, options in docs]
    defaults = {"doc_to_choice": "options", "doc_to_target": 0}
    return inline_task(name, "multiple_choice", rows, **{**defaults, **config})


def generation_task(name: str, texts: Sequence[str], max_gen_toks: int = 4, **config: Any) -> dict[str, Any]:
    """Free answers of a few tokens."""
    rows = [{"text": text, "target": "x"} for text in texts]
    defaults = {
        "generation_kwargs": {"until": ["\n\n"], "do_sample": False, "max_gen_toks": max_gen_toks},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    return inline_task(name, "generate_until", rows, **{**defaults, **config})


_QUESTIONS = ("What is the capital of France?", "Which animal can fly?", "Say 3.", "One, two, three?")

#: A task of each kind that is explained, four documents each.
ANSWERS = generation_task("answers", _QUESTIONS)
ENDINGS = choices_task("endings", [(question, [" dog", " can fly"]) for question in _QUESTIONS])
#: One long text, of which the last three tokens are explained.
ROLLING = inline_task(
    "texts",
    "loglikelihood_rolling",
    [{"text": "The quick brown fox jumps over the lazy dog, and the dog does not mind."}],
    doc_to_target="{{text}}",
    metadata={"version": 1, "gilot": {"rolling_target": 3}},
)


def evaluate(model: Any, tasks: Sequence[Any], **arguments: Any) -> Any:
    """``lm_eval.simple_evaluate`` without the bootstrap, which forks processes."""
    defaults = {"task_manager": suite_manager(), "bootstrap_iters": 0}
    # Called through the module, as the command line does.
    return lm_eval.evaluator.simple_evaluate(model=model, tasks=loadable(tasks), **{**defaults, **arguments})


def loadable(tasks: Sequence[Any]) -> list[Any]:
    """Tasks as this release of lm-eval takes them; before 0.4.12 those in memory are built and listed."""
    tasks = copy.deepcopy(list(tasks))  # which lm-eval changes
    if hasattr(TaskManager, "load"):
        return tasks
    for task in tasks:
        if isinstance(task, dict):
            suite_manager().task_index[task["task"]] = {"type": "task", "yaml_path": "in memory"}
    return [ConfigurableTask(config=task) if isinstance(task, dict) else task for task in tasks]


def explain(
    model: Any,
    tasks: Sequence[Any],
    settings: Mapping[str, Any] | None = None,
    output_path: Path | None = None,
    **arguments: Any,
) -> tuple[Any, EvaluationRun]:
    """The same evaluation with attributions; returns the results and the run."""
    with attach({**SETTINGS, **(settings or {})}, output_path) as attachment:
        results = evaluate(model, tasks, **arguments)
    (run,) = attachment.runs
    return results, run


def records_of(model: Any, tasks: Sequence[Any], **arguments: Any) -> list[Mapping[str, Any]]:
    """The records of an evaluation with attributions."""
    return explain(model, tasks, **arguments)[1].records


def essence(results: Any) -> list[str]:
    """Everything in results but circumstances and attributions, as lm-eval would write it, line by line."""
    kept = {key: value for key, value in results.items() if key not in _CIRCUMSTANCES}
    if "samples" in kept:
        kept["samples"] = {
            task: [{key: value for key, value in row.items() if key != "gilot"} for row in rows]
            for task, rows in kept["samples"].items()
        }
    return json.dumps(kept, indent=1, default=handle_non_serializable).splitlines()


def fed_ids(record: Mapping[str, Any]) -> list[int]:
    """Ids of a record's prompt."""
    return [token["id"] for token in record["prompt_tokens"]]


def numbers(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record without what differs from run to run: seconds and the checksum over them."""
    kept = {key: value for key, value in record.items() if key != "record_sha256"}
    return {**kept, "diagnostics": {**record["diagnostics"], "seconds": None}}


def tracked(
    lm: Any, folder: Path, model_args: str = "pretrained=tiny/llama"
) -> tuple[EvaluationTracker, Any]:
    """An evaluation as the command line does it, up to the results."""
    tracker = EvaluationTracker(output_path=str(folder))
    results = evaluate(lm, [ANSWERS], evaluation_tracker=tracker, model_args=model_args)
    return tracker, results


def save(tracker: EvaluationTracker, results: Any) -> str:
    """Write lm-eval's files; returns their date."""
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    tracker.save_results_samples(task_name="answers", samples=samples["answers"])
    return tracker.date_id


def manifest_in(folder: Path) -> Mapping[str, Any]:
    """The only manifest in a folder or below."""
    (path,) = folder.rglob("attributions_manifest_*.json")
    return json.loads(path.read_text())


def artifacts_in(folder: Path) -> set[str]:
    """Names of the artifacts in a folder or below."""
    return {path.name for path in folder.rglob("attributions_*")}


def lines_in(folder: Path) -> dict[tuple[str, int], bytes]:
    """Whole lines on the disk, by task and document."""
    found = {}
    for path in folder.rglob("attributions_*.jsonl"):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                record = json.loads(line)
                found[record["task"], record["doc_id"]] = line
    return found


def without_reasons_to_differ(folder: Path) -> tuple[Any, ...]:
    """What an undisturbed run leaves: everything but dates and seconds."""
    manifest = manifest_in(folder)
    tasks = {name: {**entry, "file": None} for name, entry in manifest["tasks"].items()}
    order = [
        [(record["task"], record["doc_id"]) for record in map(json.loads, path.read_text().splitlines())]
        for path in sorted(folder.rglob("attributions_*.jsonl"), key=lambda path: path.name.split("_")[1])
    ]
    return manifest["status"], tasks, order, len(artifacts_in(folder))


def assert_same_numbers(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Samples that are explained together share passes, which may move the last digits."""
    assert found["scores"].keys() == wanted["scores"].keys()
    for name, values in wanted["scores"].items():
        assert found["scores"][name] == pytest.approx(values, abs=1e-5)
    for key in ("task", "doc_id", "doc_hash", "prompt_tokens", "units", "metrics", "config_hash", "status"):
        assert found[key] == wanted[key]


#: Asks for the endings without their contexts, too.
MUTUAL_INFORMATION = choices_task(
    "informative_endings",
    PAIRS,
    metric_list=[
        {"metric": metric, "aggregation": "mean", "higher_is_better": True}
        for metric in ("acc", "acc_mutual_info")
    ],
)
