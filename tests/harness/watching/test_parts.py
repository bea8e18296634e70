"""Which part of the prompt each token is from: what the harness put together, to the character."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.harness.evaluations import (
    generation_task,
    records_of,
)
from tests.harness.watching.explained_parts import (
    ASKED,
    DOCUMENT,
    KINDS,
    asked,
    parts,
    whole,
)

pytestmark = pytest.mark.lm_eval


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
