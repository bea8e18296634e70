"""lm-eval's own filters over answers whose scored part a person has marked.

What is marked ``«so»`` is what the filter should be found to have taken; the marks are taken off before the
answer is filtered.
"""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from lm_eval.api.filter import Filter
from lm_eval.api.registry import get_filter
from lm_eval.filters import build_filter_ensemble

from gilot_plugin.attribution.prompt.tokens import locate_tokens
from gilot_plugin.attribution.prompt.windows import span_window, text_of
from gilot_plugin.harness.asking.filters import AnswerFilter, ensembles_of

STRICT = [["regex", {"regex_pattern": r"#### (\-?[0-9\.\,]+)"}], ["take_first", None]]
LAST = [["regex", {"regex_pattern": r"(-?[0-9][0-9,.]*)", "group_select": -1}], ["take_first", None]]
FLEXIBLE = [
    ["regex", {"regex_pattern": r"(-?[$0-9.,]{2,})|(-?[0-9]+)", "group_select": -1}],
    ["take_first", None],
]
LETTER = [["regex", {"regex_pattern": r"answer is \(?([A-J])\)?"}], ["take_first", None]]
TRIMMED = [["remove_whitespace", None], ["take_first", None]]
LOWER = [["lowercase", None], ["take_first", None]]
LOWER_THEN = [["lowercase", None], ["regex", {"regex_pattern": r"so (\w+)\."}], ["take_first", None]]
CHOICE = [
    [
        "multi_choice_regex",
        {"regex_pattern": r"(\([A-Z]\))", "ignore_case": True, "ignore_punctuation": True},
    ],
    ["take_first", None],
]
DOC = {"choices": ["a red fox", "two big dogs", "no animal"]}


def filter_of(steps, name="taken"):
    return AnswerFilter(name, build_filter_ensemble(name, steps).filters)


MARKED = [
    # The strict match of grade-school maths.
    (STRICT, "They have 4 + 5 = 9 apples.\n#### «9»"),
    (STRICT, "#### «1,234.50»"),
    (STRICT, "#### «-7» degrees"),
    (STRICT, "9 and 9 and 9: #### «9»"),
    (STRICT, "#### «12»\n#### 13"),
    (STRICT, "#### 4 is wrong.".replace("4", "«4»")),
    (STRICT, "#### «42.» That is all."),
    (STRICT, "价格是 42 元。\n#### «42»"),
    (STRICT, "👨‍👩‍👧 🎉 #### «3» 🎉"),
    (STRICT, "#### «0»"),
    # The last number.
    (LAST, "7 apples and then «7»"),
    (LAST, "7 apples, 8 pears, «7» plums."),
    (LAST, "It costs $«1,200.00» today"),
    (LAST, "temperature: «-3» °C"),
    (LAST, "«5»"),
    (LAST, "a5b«6»c"),
    (LAST, "11 1 «1»"),
    (LAST, "1. one\n2. two\n«3.» three"),
    (LAST, "é1è«2»ü"),
    (LAST, "1234567890 and «0»"),
    (FLEXIBLE, "She pays «$1,500»"),
    (FLEXIBLE, "so «18» apples"),
    (FLEXIBLE, "first 12, then «9» left"),
    # Letters.
    (LETTER, "Let us see. The answer is («B»)."),
    (LETTER, "A B C. answer is «C» because A is wrong"),
    (LETTER, "answer is («D»), and the answer is (E)"),
    (LETTER, "The answer is «J»"),
    # Texts that are changed, or kept as they are.
    (TRIMMED, "  «Paris»\n"),
    (TRIMMED, "\n\n«a b  c»\t"),
    (TRIMMED, "«Zürich»"),
    (TRIMMED, "«7» "),
    (LOWER, "«The Eiffel TOWER»"),
    (LOWER, "«ÀÉÎ»"),
    (LOWER_THEN, "SO what? So «Paris». And Paris again."),
    (LOWER_THEN, "Paris, PARIS, so «PaRiS»."),
    (LOWER_THEN, "So «Ärger»."),
    # Choices by their letter, by their text, and by a letter without brackets.
    (CHOICE, "I think «(B)» it is"),
    (CHOICE, "«(A)»"),
    (CHOICE, "It must be «two big dogs», I think"),
    (CHOICE, "«A Red Fox»!"),
    (CHOICE, "Answer: «C»"),
    (CHOICE, "there was no dog but «no animal»"),
]

NOTHING = [
    (STRICT, ""),
    (STRICT, " \n "),
    (STRICT, "I do not know"),
    (STRICT, "####"),
    (STRICT, "#### nine"),
    (LAST, ""),
    (LAST, "no number at all"),
    (LAST, "½ ⅓ ²"),
    (FLEXIBLE, "none"),
    (LETTER, "answer is K"),
    (LETTER, "the answer is (a)"),
    (TRIMMED, ""),
    (TRIMMED, "\n\t "),
    (LOWER, ""),
    (LOWER_THEN, "so so so"),
    (CHOICE, "a cat"),
    (CHOICE, ""),
]


def found_in(steps, marked):
    text = marked.replace("«", "").replace("»", "")
    expected = marked.index("«"), marked.index("»") - 1
    return filter_of(steps).extracted(text, DOC), text, expected


@pytest.mark.parametrize(("steps", "marked"), MARKED)
def test_what_was_taken_out_is_where_it_stands(steps, marked):
    found, text, (start, stop) = found_in(steps, marked)
    assert found.reason is None
    assert found.span is not None
    assert text[slice(*found.span)] == text[start:stop], found
    assert found.span == (start, stop)


@pytest.mark.parametrize(("steps", "text"), NOTHING)
def test_what_is_not_there_is_not_found_and_says_why(steps, text):
    found = filter_of(steps).extracted(text, DOC)
    assert found.span is None
    assert "the filter 'taken' found nothing" in found.reason


def test_a_hundred_drawn_answers():
    """Numbers between words in several scripts; the last one, and the one after the mark, are known."""
    draw = random.Random(0)
    words = ["So", "has", "Äpfel", "リンゴ", "🍎", "apples", "+", "=", "(", ")", "\n", "each.", "the", "x1y"]

    def number():
        shown = str(draw.randrange(10 ** draw.randrange(1, 6)))
        return draw.choice((shown, f"-{shown}", f"{shown}.5", f"1,{shown.zfill(3)[-3:]}"))

    for _ in range(100):
        parts = [draw.choice((draw.choice(words), number())) for _ in range(draw.randrange(1, 40))]
        answer, tail = number(), " ".join(draw.choices([word for word in words if word != "x1y"], k=3))
        start = len(" ".join(parts)) + 1 + 5
        text = f"{' '.join(parts)} #### {answer} {tail}"
        for steps in (STRICT, LAST):
            found = filter_of(steps).extracted(text, DOC)
            assert (found.text, found.span) == (answer, (start, start + len(answer))), text


class Spelled(Filter):
    """Turns a number word into digits, and takes the last one: as custom filters do."""

    def apply(self, resps, docs):
        numbers = {"one": "1", "two": "2", "three": "3"}

        def last(text):
            found = [numbers[word] for word in text.lower().split() if word in numbers]
            return found[-1] if found else "[invalid]"

        return [[last(text) for text in one] for one in resps]


class LastNumber(Filter):
    """The last number without its commas, in code."""

    def apply(self, resps, docs):
        import re

        def last(text):
            found = re.findall(r"\d[\d,]*", text)
            return found[-1].replace(",", "") if found else "[invalid]"

        return [[last(text) for text in one] for one in resps]


class Failing(Filter):
    """Fails on anything short, as code that nobody tested does."""

    def apply(self, resps, docs):
        return [[text.split("=")[1].strip() for text in one] for one in resps]


def custom(kind):
    return AnswerFilter("custom", [kind, get_filter("take_first")])


@pytest.mark.parametrize(
    ("kind", "marked", "text"),
    [
        (Spelled, "One or two, no: «three» it is", "3"),
        (Spelled, "«two»", "2"),
        (Spelled, "two and two make «two»", "2"),
        (LastNumber, "It costs 1,300 and then «1,200» euros", "1200"),
        (LastNumber, "1,200 or «1,200»", "1200"),
        (LastNumber, "7 7 7 «7»", "7"),
        (Failing, "x = «12»", "12"),
    ],
)
def test_custom_filters(kind, marked, text):
    found = custom(kind).extracted(marked.replace("«", "").replace("»", ""), DOC)
    expected = (marked.index("«"), marked.index("»") - 1)
    assert (found.text, found.span) == (text, expected)


def test_a_filter_that_fails_or_gives_several_values_says_so():
    assert "failed on the answer" in custom(Failing).extracted("nothing", DOC).reason
    several = AnswerFilter("tags", build_filter_ensemble("tags", [["regex_pos", {}]]).filters)
    assert "several values" in several.extracted("[('a', 'NOUN'), ('b', 'VERB')]", DOC).reason


def test_documents_are_not_changed():
    class Greedy(Filter):
        def apply(self, resps, docs):
            docs[0].clear()
            return resps

    doc = {"choices": ["a"]}
    custom(Greedy).extracted("text", doc)
    assert doc == {"choices": ["a"]}


@pytest.mark.parametrize(
    ("steps", "takes_out"),
    [(STRICT, True), (CHOICE, True), (LOWER_THEN, True), (TRIMMED, False), (LOWER, False)],
)
def test_which_filters_take_a_part_out(steps, takes_out):
    assert filter_of(steps).takes_out == takes_out


STEPS_OF_A_LOG = [{"function": "regex", "regex_pattern": "a(b)"}, {"function": "take_first"}]


def test_filters_of_a_log_are_made_again_but_for_those_that_were_code():
    logged = [
        {
            "name": "strict",
            "filter": [{"function": "regex", "regex_pattern": "a(b)"}, {"function": "take_first"}],
        },
        {"name": "code", "filter": [{"function": "no such filter"}]},
    ]
    task = SimpleNamespace(config=SimpleNamespace(filter_list=logged))
    (only,) = ensembles_of(task)
    assert AnswerFilter(only.name, only.filters).extracted("xab", {}).span == (2, 3)


def tasks_that_generate():
    """Filters of the example suite's generating tasks, and those of grade-school maths."""
    for path in sorted((Path(__file__).parents[3] / "examples" / "suite").glob("*.yaml")):
        config = yaml.load(path.read_text(), Loader=yaml.BaseLoader)
        if config.get("output_type") == "generate_until":
            yield config["task"], config["filter_list"]
    last = [
        {"function": "regex", "regex_pattern": "(-?[0-9][0-9,.]*)", "group_select": -1},
        {"function": "take_first"},
    ]
    yield "gsm8k_local", [{"name": "last-number", "filter": last}]


@pytest.mark.parametrize(("task", "filter_list"), list(tasks_that_generate()))
def test_windows_hold_what_the_filters_took_out(task, filter_list, tiny_tokenizer):
    """Of answers with reasoning, numbers in words and digits, and several scripts."""
    (ensemble,) = ensembles_of(SimpleNamespace(config=SimpleNamespace(filter_list=filter_list)))
    taking = AnswerFilter(ensemble.name, ensemble.filters)
    draw, found = random.Random(1), []
    openings = ["The answer is", "First 3 + 4 = 7, so", "café 🍎:", "", "Because Äpfel cost 1,200.50, it is"]
    for _ in range(200):
        said = f"{draw.choice(openings)} {draw.choice(['Paris', str(draw.randrange(10**5)), 'x 7 y'])}"
        said += draw.choice(["", ".", " 🎉", "\n", " apples."])
        one = taking.extracted(said, {})
        if one.text is None:
            continue
        ids = tiny_tokenizer(said, add_special_tokens=False)["input_ids"]
        text, tokens = locate_tokens(tiny_tokenizer, ids)
        assert text == said
        assert one.span is not None, one.reason
        window = span_window(tokens, one.span, "scored", one.text)
        held = text_of(tokens[window.start : window.stop]).strip()
        # A token may hold more than the text, as a mark after a number.
        found.append(held == one.text or (one.text in held and len(held) <= len(one.text) + 2))
    assert len(found) > 100
    assert sum(found) >= 0.95 * len(found)
