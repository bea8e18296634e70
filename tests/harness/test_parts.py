"""Which part of the prompt each token is from: what the harness put together, to the character."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import lm_eval.caching.cache
import pytest
from lm_eval.api.task import ConfigurableTask
from lm_eval.api.utils import Message

from tests.harness.evaluations import (
    choices_task,
    essence,
    evaluate,
    explain,
    generation_task,
    inline_task,
    records_of,
)

EXAMPLES = [
    {"text": "Can a bird fly?", "target": "It can", "options": ["It can", "No"], "begin": "Say:"},
    {"text": "Can a dog fly?", "target": "It cannot", "options": ["It cannot", "No"], "begin": "Say:"},
    {"text": "Can a fox fly?", "target": "No fox", "options": ["No fox", "All"], "begin": "Say:"},
]
SHOTS = {"fewshot_config": {"sampler": "first_n", "samples": EXAMPLES}}
ASKED = {"doc_to_text": "Question: {{text}}\nAnswer:"}
DOCUMENT = "Is the movie good?"
ENDINGS = [" It is", " No"]

CHAT = {"apply_chat_template": True, "system_instruction": "Be brief."}

Parts = list[tuple[str, str]]


def parts_of(record: Mapping[str, Any]) -> Parts:
    """Names and texts of the prompt's parts, from units that are segments of the whole prompt."""
    assert record["status"] == "ok", record["reason"]
    units = record["units"]
    assert [unit["start_token"] for unit in units] == [0, *(unit["end_token"] for unit in units)][:-1]
    texts = [
        "".join(token["text"] for token in record["prompt_tokens"][unit["start_token"] : unit["end_token"]])
        for unit in units
    ]
    return [(unit["segment"], text) for unit, text in zip(units, texts, strict=True)]


def whole(parts: Parts) -> dict[str, str]:
    """The text of each segment, wherever in the prompt."""
    return {name: "".join(text for other, text in parts if other == name) for name in dict(parts)}


def parts(lm: Any, tasks: Sequence[Any], **arguments: Any) -> list[Parts]:
    """Parts of each explained prompt of an evaluation that is the same as without the plugin."""
    plain = evaluate(lm, tasks, **arguments)
    state = random.getstate()
    settings = {"units": "segment", "scope": "all", "methods": ["l2"]}
    explained, run = explain(lm, tasks, settings, **arguments)
    assert essence(explained) == essence(plain)
    assert random.getstate() == state
    return [parts_of(record) for record in run.records]


def asked(kind: str, **config: Any) -> dict[str, Any]:
    """One question of either kind that is explained."""
    if kind == "choices":
        defaults = {"fewshot_config": {**SHOTS["fewshot_config"], "doc_to_target": "{{target}}"}}
        return choices_task("endings", [(DOCUMENT, ENDINGS)], **{**defaults, **config})
    return generation_task("answers", [DOCUMENT], **{**SHOTS, **config})


KINDS = ("generation", "choices")


# Without a chat template


@pytest.mark.parametrize("kind", KINDS)
def test_question_and_lead_in(make_lm: Callable[..., Any], kind: str) -> None:
    (found,) = parts(make_lm(add_bos_token=False), [asked(kind, **ASKED)])
    assert found == [("question", f"Question: {DOCUMENT}"), ("lead_in", "\nAnswer:")]


def test_question_that_stands_in_a_special_token_too(make_lm: Callable[..., Any]) -> None:
    (found,) = parts(make_lm(add_bos_token=True), [generation_task("answers", ["s"])])
    assert found == [("special", "<s>"), ("question", "s")]


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_examples_and_description(make_lm: Callable[..., Any], kind: str, bos: bool) -> None:
    task = asked(kind, num_fewshot=3, description="Short answers.\n\n", **ASKED)
    arguments = {"system_instruction": "Be brief."}
    (found,) = parts(make_lm(add_bos_token=bos), [task], **arguments)
    assert found == [
        *([("special", "<s>")] if bos else []),
        ("system", "Be brief.\n\n"),
        ("description", "Short answers.\n\n"),
        ("shot_1", "Question: Can a bird fly?\nAnswer: It can\n\n"),
        ("shot_2", "Question: Can a dog fly?\nAnswer: It cannot\n\n"),
        ("shot_3", "Question: Can a fox fly?\nAnswer: No fox\n\n"),
        ("question", f"Question: {DOCUMENT}"),
        ("lead_in", "\nAnswer:"),
    ]


def test_examples_drawn_at_random(make_lm: Callable[..., Any]) -> None:
    """Drawing again would give others, and would change those of the next document."""
    texts = [f"Is {number} a word?" for number in "1234567"]
    task = generation_task("answers", texts, num_fewshot=2, fewshot_split="test", **ASKED)
    found = parts(make_lm(add_bos_token=False), [task])
    for text, prompt in zip(texts, found, strict=True):
        assert [name for name, _ in prompt] == ["shot_1", "shot_2", "question", "lead_in"]
        assert prompt[2][1] == f"Question: {text}"
        assert all(shot.endswith("word?\nAnswer: x\n\n") for _, shot in prompt[:2])


@pytest.mark.parametrize("description", ["Short answers. ", "{{text}}: short. "])
def test_description_without_instruction(make_lm: Callable[..., Any], description: str) -> None:
    (found,) = parts(make_lm(add_bos_token=False), [asked("generation", description=description)])
    assert found == [("description", description.replace("{{text}}", DOCUMENT)), ("question", DOCUMENT)]


def test_delimiters_that_can_be_seen(make_lm: Callable[..., Any]) -> None:
    task = asked(
        "generation", num_fewshot=1, description="Short.", fewshot_delimiter=" [.] ", target_delimiter=" [,] "
    )
    (found,) = parts(make_lm(add_bos_token=False), [task], system_instruction="Be brief.")
    assert whole(found) == {
        "system": "Be brief. [.] ",
        "description": "Short.",
        "shot_1": "Can a bird fly? [,] It can [.] ",
        "question": DOCUMENT,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_answer_that_is_begun(make_lm: Callable[..., Any], kind: str) -> None:
    task = asked(kind, num_fewshot=1, gen_prefix="Say:", **ASKED)
    (found,) = parts(make_lm(add_bos_token=False), [task])
    assert found[-2:] == [("question", f"Question: {DOCUMENT}"), ("lead_in", "\nAnswer: Say:")]
    assert found[0][1].startswith("Question: Can a bird fly?\nAnswer:")
    (found,) = parts(make_lm(add_bos_token=False), [asked(kind, gen_prefix="Say:")])
    assert found == [("question", f"{DOCUMENT} "), ("lead_in", "Say:")]


@pytest.mark.parametrize("kept", [30, 60, 100])
@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_truncation(make_lm: Callable[..., Any], kind: str, bos: bool, kept: int) -> None:
    task = asked(kind, num_fewshot=3, **ASKED)
    (full,) = parts(make_lm(add_bos_token=False), [task])
    (cut,) = parts(make_lm(add_bos_token=bos, max_length=kept), [task])
    assert cut[-1] == ("lead_in", "\nAnswer:")
    first, *others = [part for part in cut if part[0] != "special"]
    assert others == full[len(full) - len(others) :]
    name, text = full[len(full) - len(others) - 1]
    assert first[0] == name
    assert text.endswith(first[1])
    assert len(others) < len(full)


@pytest.mark.parametrize(
    ("template", "question", "lead_in"),
    [
        ("{{text}}", DOCUMENT, ""),
        ("text", DOCUMENT, ""),
        ("Say it", "Say it", ""),
        ("{{text}}\n\n", f"{DOCUMENT}\n\n", ""),
        ("Is it '{{text}}'?", f"Is it '{DOCUMENT}'?", ""),
        ("({{text}})\nIt is", f"({DOCUMENT})", "\nIt is"),
        ("{{text}} ->", DOCUMENT, " ->"),
        ("{% if target == 'x' %}{{text}}{% endif %}{# so #}\nAnswer:", DOCUMENT, "\nAnswer:"),
        ("Say: {% if target %}{{text}}\nAnswer:{% endif %}", f"Say: {DOCUMENT}\nAnswer:", ""),
        ("{{ text }}\n  {#- so -#}  Answer:", DOCUMENT, "Answer:"),
        (lambda doc: f"{doc['text']}\nAnswer:", f"{DOCUMENT}\nAnswer:", ""),
    ],
)
def test_lead_in_of_a_template(
    make_lm: Callable[..., Any], template: Any, question: str, lead_in: str
) -> None:
    (found,) = parts(make_lm(add_bos_token=False), [asked("generation", doc_to_text=template)])
    texts = whole(found)
    assert (texts["question"], texts.get("lead_in", "")) == (question, lead_in)
    assert set(texts) <= {"question", "lead_in"}


def test_tasks_with_the_same_text(make_lm: Callable[..., Any]) -> None:
    """What is a question in one of them ends with a lead-in in the other."""
    tasks = [
        generation_task("short", [DOCUMENT], doc_to_text="{{text}}\nAnswer:"),
        generation_task("whole", [f"{DOCUMENT}\nAnswer:"]),
    ]
    found = parts(make_lm(add_bos_token=False), tasks)
    assert found == [
        [("question", DOCUMENT), ("lead_in", "\nAnswer:")],
        [("question", f"{DOCUMENT}\nAnswer:")],
    ]


def test_tasks_of_a_group(make_lm: Callable[..., Any]) -> None:
    found = parts(make_lm(add_bos_token=False), ["gilot_examples"], limit=1)
    assert [[name for name, _ in prompt] for prompt in found] == [
        ["description", "question", "lead_in"],
        ["shot_1", "shot_2", "question", "lead_in"],
        ["question"],
    ]


def test_scopes(make_lm: Callable[..., Any]) -> None:
    task, lm = asked("choices", num_fewshot=3, **ASKED), make_lm()

    def texts(scope: str) -> list[str]:
        settings = {"units": "segment", "scope": scope, "methods": ["l2"]}
        (record,) = records_of(lm, [task], settings=settings)
        return [unit["text"] for unit in record["units"]] if record["status"] == "ok" else [record["reason"]]

    assert texts("question") == [f"Question: {DOCUMENT}"]
    assert texts("shot_2") == ["Question: Can a dog fly?\nAnswer: It cannot\n\n"]
    assert [text.split()[3] for text in texts("shots")] == ["bird", "dog", "fox"]
    assert "scope='system'" in texts("system")[0]
    assert "segments: lead_in, question, shot_1, shot_2, shot_3, special" in texts("system")[0]


# With a chat template


@pytest.mark.parametrize("described", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_conversation_of_turns(make_lm: Callable[..., Any], kind: str, described: bool) -> None:
    description = {"description": "Short answers."} if described else {}
    task = asked(kind, num_fewshot=2, gen_prefix="Say:", **description, **ASKED)
    (found,) = parts(make_lm(), [task], fewshot_as_multiturn=True, **CHAT)
    texts = [(name, text.strip()) for name, text in found if name not in ("template", "special")]
    assert texts == [
        ("system", "Be brief."),
        *([("description", "Short answers.")] if described else []),
        ("shot_1", "Question: Can a bird fly?\nAnswer:"),
        ("shot_1", "Say: It can"),
        ("shot_2", "Question: Can a dog fly?\nAnswer:"),
        ("shot_2", "Say: It cannot"),
        ("question", f"Question: {DOCUMENT}"),
        ("lead_in", "Answer:"),
        ("lead_in", "Say:"),
    ]
    template = [text for name, text in found if name == "template"]
    assert "".join("".join(template).split()) == "[system][user][assistant]" + "[user][assistant]" * 2
    assert found[-1][1].endswith("Say:")


@pytest.mark.parametrize("gen_prefix", [None, "Say:"])
@pytest.mark.parametrize("kind", KINDS)
def test_conversation_of_one_turn(make_lm: Callable[..., Any], kind: str, gen_prefix: str | None) -> None:
    begun = " Say:" if gen_prefix else ""
    task = asked(kind, num_fewshot=2, description="Short answers.\n\n", gen_prefix=gen_prefix, **ASKED)
    (found,) = parts(make_lm(), [task], fewshot_as_multiturn=False, **CHAT)
    merged = [
        (name, "".join(text for _, text in run))
        for name, run in groupby(found, key=lambda part: part[0])
        if name not in ("template", "special")
    ]
    assert [(name, text.strip(" ")) for name, text in merged] == [
        ("system", "Be brief.\n\n"),
        ("description", "Short answers."),
        ("shot_1", f"Question: Can a bird fly?\nAnswer:{begun} It can\n\n"),
        ("shot_2", f"Question: Can a dog fly?\nAnswer:{begun} It cannot\n\n"),
        ("question", f"Question: {DOCUMENT}"),
        ("lead_in", "\nAnswer:"),
        *([("lead_in", "Say:")] if gen_prefix else []),
    ]


def test_description_without_instruction_in_a_conversation(make_lm: Callable[..., Any]) -> None:
    task = asked("generation", description="Short answers.")
    (found,) = parts(make_lm(), [task], apply_chat_template=True)
    assert whole(found)["description"].strip() == "Short answers."
    assert "system" not in whole(found)


def test_template_without_a_system_role(make_lm: Callable[..., Any]) -> None:
    """The harness then leaves the system's message out."""
    lm = make_lm()
    lm.tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}"
        "<{{ m['role'] }}>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    )
    (found,) = parts(lm, [asked("generation", num_fewshot=1, **ASKED)], fewshot_as_multiturn=True, **CHAT)
    assert whole(found) == {
        "template": "<user><assistant><user>",
        "shot_1": "Question: Can a bird fly?\nAnswer:It can",
        "special": "<s>" + "</s>" * 3,
        "question": f"Question: {DOCUMENT}",
        "lead_in": "\nAnswer:",
    }


# What is not known


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
def test_tasks_of_their_own_kind(make_lm: Callable[..., Any], made_by: Any, expected: Parts) -> None:
    config = asked("generation", **ASKED)
    lm = make_lm(add_bos_token=False)
    assert parts(lm, [made_by(config={**config, "task": "own"})]) == [expected]


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
