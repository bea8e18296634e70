"""Nothing of a task's is called that a plain run would not call, and nothing that it keeps is changed."""

from __future__ import annotations

import gc
import random
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lm_eval.caching.cache
import numpy as np
import pytest
import torch
from lm_eval.api.task import ConfigurableTask

from gilot_plugin.harness.entry.attach import attach
from gilot_plugin.harness.watching.apart import TaskApart
from tests.harness.evaluations import (
    ANSWERS,
    CHEAP,
    choices_task,
    essence,
    evaluate,
    explain,
    generation_task,
    inline_task,
    save,
    tracked,
)

pytestmark = pytest.mark.lm_eval


def capricious(calls: Counter[str]) -> dict[str, Callable[..., Any]]:
    """Functions of a task that count their calls and draw from the generators that lm-eval seeds."""

    def draw(name: str) -> float:
        calls[name] += 1
        return random.random() + np.random.rand() + float(torch.rand(1))  # noqa: NPY002 - that is their caprice

    def target(doc: Any) -> Any:
        return f"{draw('target'):.6f}"

    def number(doc: Any) -> int:
        return int(draw("number") * 1000) % 2

    def choices(doc: Any) -> list[str]:
        draw("choices")
        return ["dog", "can fly"]

    def results(doc: Any, results: Any) -> dict[str, float]:
        return {"drawn": draw("results")}  # changed by every draw before it

    return {"target": target, "number": number, "choices": choices, "results": results}


_QUESTIONS = ("Which animal can fly?", "Say 3.", "One, two,")
_METRIC = [{"metric": "drawn", "aggregation": "mean", "higher_is_better": True}]


def task_of(kind: str, functions: dict[str, Callable[..., Any]]) -> dict[str, Any]:
    target = functions["target"]
    if kind == "answers":
        return generation_task(kind, _QUESTIONS, doc_to_target=target)
    if kind == "judged":
        judge = functions["results"]
        return generation_task(
            kind, _QUESTIONS, doc_to_target=target, process_results=judge, metric_list=_METRIC
        )
    if kind == "choices":
        docs = [(text, ["-"]) for text in _QUESTIONS]
        return choices_task(kind, docs, doc_to_choice=functions["choices"], doc_to_target=functions["number"])
    rows = [{"text": text, "target": ""} for text in _QUESTIONS]
    return inline_task(kind, "loglikelihood", rows, doc_to_target=target)


@pytest.mark.parametrize("log_samples", [True, False])
@pytest.mark.parametrize("kind", ["answers", "judged", "choices", "texts"])
def test_a_task_is_asked_what_a_plain_run_asks(
    make_lm: Callable[..., Any], kind: str, log_samples: bool
) -> None:
    found = []
    calls: Counter[str] = Counter()
    task = task_of(kind, capricious(calls))
    for run in (evaluate, lambda *given, **more: explain(*given, CHEAP, **more)[0]):
        calls.clear()
        results = run(make_lm(), [task], log_samples=log_samples)
        drawn = (random.random(), np.random.rand(), float(torch.rand(1)))  # noqa: NPY002 - as above
        if kind == "judged" and not log_samples:
            del calls["target"]  # counted beside the task, and asked for by nothing else
        found.append((essence(results), drawn, dict(calls)))
    assert found[0] == found[1]


def test_a_copy_of_the_task_is_asked_what_nobody_else_asks() -> None:
    class Counting:
        def __init__(self) -> None:
            self.dataset = [{"text": "a"}]
            self.count = 0
            self.seen: list[str] = []
            self.myself = self

        def doc_to_target(self, doc: dict[str, str]) -> str:
            self.count += 1
            self.seen.append(doc.pop("text"))
            self.myself.count += 1
            return f"{self.count} {random.random()}"

    task = Counting()
    apart, doc = TaskApart(task), task.dataset[0]
    before = random.getstate()
    first = apart.call("doc_to_target", doc)
    assert first.startswith("2 ")
    assert apart.call("doc_to_target", doc) == first
    assert apart.method("doc_to_choice") is None
    assert (task.count, task.seen, doc) == (0, [], {"text": "a"})
    assert apart.twin.dataset is task.dataset
    assert random.getstate() == before


@pytest.mark.parametrize("log_samples", [True, False])
def test_a_task_without_a_metric_needs_its_samples(make_lm: Callable[..., Any], log_samples: bool) -> None:
    task = generation_task("bypassed", _QUESTIONS, metric_list=[{"metric": "bypass"}])
    if log_samples:
        assert len(explain(make_lm(), [task], CHEAP)[1].records) == 3
        return
    for run in (evaluate, lambda *given, **more: explain(*given, CHEAP, **more)):
        with pytest.raises(ValueError, match="log_samples must be True"):
            run(make_lm(), [task], log_samples=False)


def test_cached_prompts_are_built_again_by_a_copy_and_leave_no_trace(
    make_lm: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of prompts in lm-eval's cache of requests, a plain run builds none."""
    built: list[tuple[Any, bool]] = []
    build = ConfigurableTask.build_all_requests

    def watched(task: Any, **arguments: Any) -> Any:
        built.append((task, arguments["cache_requests"]))
        return build(task, **arguments)

    def text(doc: Any) -> str:
        return f"{doc['text']} {random.random() + np.random.rand() + float(torch.rand(1))}"  # noqa: NPY002 - as above

    monkeypatch.setattr(ConfigurableTask, "build_all_requests", watched)
    task = generation_task("answers", _QUESTIONS, doc_to_text=text)
    found = []
    for name, run in (
        ("plain", evaluate),
        ("explained", lambda *given, **more: explain(*given, CHEAP, **more)),
    ):
        monkeypatch.setattr(lm_eval.caching.cache, "PATH", str(tmp_path / name))
        run(make_lm(), [task], cache_requests=True)
        built.clear()
        run(make_lm(), [task], cache_requests=True)
        found.append((random.random(), np.random.rand(), float(torch.rand(1))))  # noqa: NPY002 - as above
    assert found[0] == found[1]
    (own, cached), (copy, again) = built
    assert (cached, again) == (True, False)
    assert copy is not own


def test_a_model_is_held_no_longer_than_it_is_needed(
    make_lm: Callable[..., Any], build_model: Callable[..., Any], tmp_path: Path
) -> None:
    """An attachment may live as long as the process, and evaluate one model after the other."""
    with attach(CHEAP) as attachment:
        for number in range(2):
            model = build_model()
            gone = weakref.ref(model)
            save(*tracked(make_lm(model), tmp_path / str(number)))
            del model
            gc.collect()
            assert gone() is None
        model = build_model()
        gone = weakref.ref(model)
        model.forward = lambda **_: 1 / 0
        with pytest.raises(ZeroDivisionError):
            evaluate(make_lm(model), [ANSWERS])
        del model
        gc.collect()
        assert gone() is None
    assert [len(run.records) for run in attachment.runs] == [4, 4, 0]
