"""With lm-eval's caches: what they hold, and what is explained of what comes from them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lm_eval.caching.cache
import pytest

from tests.harness.evaluations import (
    MUTUAL_INFORMATION,
    PAIRS,
    QUESTIONS,
    choices_task,
    essence,
    evaluate,
    explain,
    generation_task,
    numbers,
)

pytestmark = pytest.mark.lm_eval

#: For tests that look at other things than transport. Continuations are searched: of an answer from the cache
#: only the text is known, which may be encoded in other tokens than the model generated.
FAST = {"preset": "paper", "methods": ["kl", "l2"]}


def cached_answers(path: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"{path}_rank0.db") as database:
        return database.execute("select key, value from unnamed order by key").fetchall()


@pytest.mark.parametrize("batch_size", [1, 3, "auto"])
def test_cache_of_answers(
    make_lm: Callable[..., Any], tmp_path: Path, monkeypatch: Any, batch_size: Any
) -> None:
    tasks = [
        generation_task("answers", [*QUESTIONS, "The window is too small for so many words. " * 3]),
        choices_task("endings", [*PAIRS, ("A context with a space ", ["dog", "bird"])]),
        MUTUAL_INFORMATION,
    ]
    lm = make_lm(batch_size=batch_size, max_batch_size=8, max_length=40)
    plain = [evaluate(lm, tasks, use_cache=str(tmp_path / "plain")) for _ in range(2)]
    use_cache = str(tmp_path / "explained")
    filled, first = explain(lm, tasks, FAST, use_cache=use_cache)
    after_first = cached_answers(tmp_path / "explained")
    assert after_first == cached_answers(tmp_path / "plain")

    detected: list[int] = []
    monkeypatch.setattr(lm, "_detect_batch_size", lambda *_, **__: detected.append(1) or 1)
    read, second = explain(lm, tasks, FAST, use_cache=use_cache)
    assert not detected
    assert cached_answers(tmp_path / "explained") == after_first
    where = re.compile(f'"use_cache": "{re.escape(str(tmp_path))}/[a-z]+"')
    for explained, expected in zip((filled, read), plain, strict=True):
        assert where.sub("", "\n".join(essence(explained))) == where.sub("", "\n".join(essence(expected)))
    assert {record["status"] for record in first.records} == {"ok"}
    assert any(record["diagnostics"]["truncated_tokens"] for record in first.records)
    # A cached answer is a text, which is encoded again.
    for record in (*first.records, *second.records):
        record["target"].pop("response_ids", None)
        record["target"].pop("response_doubt", None)
        for token in (record["answer"] or {"tokens": []})["tokens"]:
            del token["id"]
    assert [numbers(record) for record in second.records] == [numbers(record) for record in first.records]


def test_cache_of_sampled_answers(make_lm: Callable[..., Any], tmp_path: Path) -> None:
    arguments = {"gen_kwargs": {"do_sample": True, "temperature": 1.0}}
    tasks, lm = [generation_task("answers", QUESTIONS, repeats=2)], make_lm()
    evaluate(lm, tasks, use_cache=str(tmp_path / "plain"), **arguments)
    explain(lm, tasks, use_cache=str(tmp_path / "explained"), **arguments)
    assert cached_answers(tmp_path / "explained") == cached_answers(tmp_path / "plain")


def test_cache_of_requests(make_lm: Callable[..., Any], tmp_path: Path, monkeypatch: Any) -> None:
    """The parts of prompts from the cache are found by building them again."""
    arguments = {"cache_requests": True, "apply_chat_template": True, "limit": 2}
    lm, tasks = make_lm(), ["gilot_short_answers", "gilot_two_shot_choices"]
    monkeypatch.setattr(lm_eval.caching.cache, "PATH", str(tmp_path / "plain"))
    plain = [evaluate(lm, tasks, **arguments) for _ in range(2)]
    monkeypatch.setattr(lm_eval.caching.cache, "PATH", str(tmp_path / "explained"))
    filled, first = explain(lm, tasks, FAST, **arguments)
    read, second = explain(lm, tasks, FAST, **arguments)
    assert [essence(filled), essence(read)] == list(map(essence, plain))
    assert {record["status"] for record in first.records} == {"ok"}
    assert [numbers(record) for record in second.records] == [numbers(record) for record in first.records]


def test_cache_of_requests_of_another_time(
    make_lm: Callable[..., Any], tmp_path: Path, monkeypatch: Any
) -> None:
    """Where the task would ask something else now, the template's part of the prompt is not guessed."""
    arguments = {"cache_requests": True, "apply_chat_template": True}
    monkeypatch.setattr(lm_eval.caching.cache, "PATH", str(tmp_path))
    lm = make_lm()
    evaluate(lm, [generation_task("answers", QUESTIONS)], **arguments)
    changed = [generation_task("answers", QUESTIONS, doc_to_text="Now: {{text}}")]
    _, run = explain(lm, changed, FAST, **arguments)
    assert {record["status"] for record in run.records} == {"skipped"}
    assert "cache of requests" in run.records[0]["reason"]
    _, everything = explain(lm, changed, {**FAST, "scope": "all"}, **arguments)
    assert {record["status"] for record in everything.records} == {"ok"}
