"""Prompts of which not all parts are known: cached, built in another way, several for a document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lm_eval.caching.cache
import pytest
from lm_eval.api.task import ConfigurableTask
from lm_eval.api.utils import Message

from tests.harness.evaluations import (
    essence,
    evaluate,
    explain,
    generation_task,
    inline_task,
)
from tests.harness.watching.explained_parts import (
    ASKED,
    DOCUMENT,
    KINDS,
    Parts,
    asked,
    parts,
    parts_of,
    whole,
)

pytestmark = pytest.mark.lm_eval


def test_requests_from_the_cache(make_lm: Callable[..., Any], tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(lm_eval.caching.cache, "PATH", str(tmp_path))
    lm, tasks = make_lm(add_bos_token=False), [asked(kind, **ASKED) for kind in KINDS]
    settings = {"units": "segment", "methods": ["l2"]}
    built, first = explain(lm, tasks, settings, cache_requests=True)
    read, second = explain(lm, tasks, settings, cache_requests=True)
    assert essence(read) == essence(built)
    known = [("question", f"Question: {DOCUMENT}"), ("lead_in", "\nAnswer:")]
    assert [parts_of(record) for record in first.records] == [known] * 2
    assert [parts_of(record) for record in second.records] == [known] * 2


def test_examples_of_cached_requests_are_those_that_were_drawn(
    make_lm: Callable[..., Any], tmp_path: Any, monkeypatch: Any
) -> None:
    """The sampler draws for one document after the other; the cache keeps its first draw."""
    monkeypatch.setattr(lm_eval.caching.cache, "PATH", str(tmp_path))
    lm = make_lm(add_bos_token=False)
    texts = ["Can a bird fly?", "Can a dog fly?", "Can a fox fly?", DOCUMENT]
    drawn = {"num_fewshot": 2, "fewshot_config": {"sampler": "default"}}
    tasks = [generation_task("answers", texts, **ASKED, **drawn)]
    settings = {"units": "segment", "methods": ["l2"]}
    _, first = explain(lm, tasks, settings, cache_requests=True)
    _, second = explain(lm, tasks, settings, cache_requests=True)
    assert [parts_of(record) for record in second.records] == [parts_of(record) for record in first.records]
    assert {"shot_1", "shot_2"} <= set(dict(parts_of(second.records[0])))
    # Of a cache that was made with another seed, nothing is known.
    _, other = explain(lm, tasks, settings, cache_requests=True, fewshot_random_seed=77)
    assert all(
        parts_of(record) in (parts_of(known), [("content", whole_text(known))])
        for record, known in zip(other.records, first.records, strict=True)
    )


def whole_text(record: Mapping[str, Any]) -> str:
    return "".join(text for _, text in parts_of(record))


def test_context_for_each_choice(make_lm: Callable[..., Any]) -> None:
    """Then the question is a number, and the choices are whole texts."""
    task = inline_task(
        "inputs",
        "multiple_choice",
        [{"options": [f"A {animal}", "A bird"], "answer": 1, "end": "can fly"} for animal in ("dog", "fox")],
        doc_to_text="{{answer}}",
        doc_to_choice="options",
        doc_to_target="end",
        fewshot_split="test",
        num_fewshot=1,
        fewshot_config={"doc_to_choice": "options"},
    )
    lm = make_lm()
    plain = evaluate(lm, [task])
    explained, run = explain(lm, [task], {"units": "segment"})
    assert essence(explained) == essence(plain)
    # The choices, which stand where the question does, are no part of the prompt that they share.
    for record in run.records:
        assert [(unit["segment"], unit["text"]) for unit in record["units"]] == [
            ("shot_1", "A bird can fly\n\n"),
            ("question", "A"),
        ]


class Rebuilt(ConfigurableTask):
    """Changes what the harness built."""

    def fewshot_context(self, *args: Any, **kwargs: Any) -> Any:
        return super().fewshot_context(*args, **kwargs).replace("movie", "film")


class OwnTurns(ConfigurableTask):
    """Its turns are texts rather than messages, and it joins them itself."""

    def build_qa_turn(self, **kwargs: Any) -> Any:
        return [message.content for message in super().build_qa_turn(**kwargs)]

    def fewshot_context(self, doc: Any, *args: Any, **kwargs: Any) -> str:
        return "".join(self.build_qa_turn(q=self.doc_to_text(doc)))


class Prefaced(ConfigurableTask):
    """Puts a text before what the harness built."""

    def fewshot_context(self, *args: Any, **kwargs: Any) -> Any:
        return f"Well. {super().fewshot_context(*args, **kwargs)}"


class Longer(ConfigurableTask):
    """Adds a message to each turn."""

    def build_qa_turn(self, **kwargs: Any) -> list[Message]:
        return [*super().build_qa_turn(**kwargs), Message("assistant", " Hm.", " ")]


@pytest.mark.parametrize(
    ("made_by", "expected"),
    [
        (Rebuilt, [("content", "Question: Is the film good?\nAnswer:")]),
        (OwnTurns, [("content", f"Question: {DOCUMENT}\nAnswer:")]),
        (Prefaced, [("content", "Well. "), ("question", f"Question: {DOCUMENT}"), ("lead_in", "\nAnswer:")]),
        (Longer, [("content", f"Question: {DOCUMENT}\nAnswer: Hm. ")]),
    ],
)
@pytest.mark.lm_eval(since="0.4.12")
def test_tasks_of_their_own_kind(make_lm: Callable[..., Any], made_by: Any, expected: Parts) -> None:
    config = asked("generation", **ASKED)
    lm = make_lm(add_bos_token=False)
    assert parts(lm, [made_by(config={**config, "task": "own"})]) == [expected]


@pytest.mark.lm_eval(since="0.4.12")
def test_conversation_that_is_not_what_was_seen(make_lm: Callable[..., Any]) -> None:
    """Parts are named by their roles."""

    class Reworded(ConfigurableTask):
        def fewshot_context(self, doc: Any, *args: Any, **kwargs: Any) -> Any:
            render = kwargs["chat_template"]

            def reworded(messages: Any, **more: Any) -> Any:
                return render([{**messages[-1], "content": "What?"}], **more)

            return super().fewshot_context(doc, *args, **{**kwargs, "chat_template": reworded})

    task = Reworded(config={**asked("generation", **ASKED), "task": "own"})
    (found,) = parts(make_lm(), [task], apply_chat_template=True)
    assert whole(found)["user"].strip() == "What?"
    assert set(whole(found)) == {"special", "template", "user"}


def test_nothing_stays_on_the_tasks(make_lm: Callable[..., Any]) -> None:
    task = ConfigurableTask(config=asked("generation", **ASKED))
    before = dict(vars(task))
    explain(make_lm(), [task])
    assert set(vars(task)) <= {*before, "_instances"}
    assert task.fewshot_context.__func__ is ConfigurableTask.fewshot_context
