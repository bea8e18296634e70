"""The page of a sample: what is behind the answer's tokens, what hangs on the prompt's words."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from gilot_plugin.reports.html.packing import pack_matrix
from gilot_plugin.reports.html.report import report_page
from tests.artifacts import factories
from tests.reports import answers
from tests.reports.html.pages import HOSTILE, SCORES, Open, loaded

CAPITAL, CHOICES, PLAIN = "#geography/0/p0", "#geography/1/p1", "#films/0/p0"


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A wrong answer with a scored window, a choice, and a record that knows no single tokens."""
    folder = tmp_path_factory.mktemp("run")
    wrong = answers.capital()
    sample = {name: wrong[name] for name in ("doc_id", "doc_hash", "prompt_hash", "target_hash")}
    sample |= {"doc": {}, "filtered_resps": ["Lyon."], "target": "It is on the Rhone.\n#### Geneva"}
    (folder / f"samples_geography_{factories.DATE}.jsonl").write_text(json.dumps(sample) + "\n")
    return report_page(loaded(folder, wrong, answers.four_choices(), factories.make_record(scores=SCORES)))


def prompt(page: Page) -> Locator:
    return page.locator(".asked .heat")


def answer(page: Page) -> Locator:
    return page.locator(".answered .heat")


def word(page: Page, text: str) -> Locator:
    return prompt(page).get_by_role("option").filter(has_text=re.compile(rf"^{text}$"))


def grounds(box: Locator) -> dict[str, str]:
    """Class of the ground of each part that has one."""
    found = (
        (span.inner_text(), re.findall(r"\b[png]\d\b", span.get_attribute("class") or ""))
        for span in box.get_by_role("option").all()
    )
    return {text: classes[0] for text, classes in found if classes}


def test_the_mean_is_shown_while_nothing_is_pointed_at(html: str, open_page: Open) -> None:
    page = open_page(html, CAPITAL)
    assert grounds(prompt(page))["France"] == "p9"
    assert grounds(prompt(page))["rivers"] == "p6"
    # How far each token hangs on the prompt has no direction: grey.
    assert set(grounds(answer(page)).values()) <= {f"g{level}" for level in range(1, 10)}
    panel = page.locator("#sample .panel")
    assert re.match(r"The answer hangs most on\s+1\s+“France”\s+0.315\s+2-3\s+“rivers”", panel.inner_text())
    assert (
        "Without “France”, 31 % of the probability moves from “Lyon” to “Geneva”, 12 % to “Paris”"
        in panel.inner_text()
    )


def test_above_stands_what_the_metric_saw_and_what_was_right(html: str, open_page: Open) -> None:
    page = open_page(html, CAPITAL)
    told = page.inner_text(".judged")
    for words in (
        "wrong",
        "the metric saw “Lyon.”",
        "right would have been “It is on the Rhone. #### Geneva”",
        "exact_match,get-answer: incorrect",
    ):
        assert words in told
    assert "marked: the scored part" in page.inner_text(".answered")
    assert answer(page).get_by_role("option").all_inner_texts() == ["Lyon", "."]
    assert answer(page).inner_text() == answers.SAID


def test_a_token_of_the_answer_tells_what_is_behind_it(html: str, open_page: Open) -> None:
    page = open_page(html, CAPITAL)
    answer(page).get_by_role("option").first.hover()
    # For the first of both tokens: "hash" 0.3, "word" 0.05, "France" 0.02.
    assert grounds(prompt(page)) == {"hash": "p9", "word": "p1"}
    assert re.match(
        r"Behind “Lyon”.*1 of the 2 marked\s+1\s+“hash”\s+0\.", page.inner_text("#sample .panel"), re.DOTALL
    )
    page.mouse.move(2, 2)
    assert grounds(prompt(page))["France"] == "p9"


def test_a_word_of_the_prompt_tells_what_hangs_on_it(html: str, open_page: Open) -> None:
    page = open_page(html, CAPITAL)
    word(page, "France").hover()
    assert grounds(answer(page)) == {".": "p9"}
    assert "Most hangs on it at “.”." in page.inner_text("#sample .panel")
    word(page, "hash").hover()
    assert grounds(answer(page)) == {"Lyon": "p9"}


def test_little_is_not_magnified_without_end(html: str, open_page: Open) -> None:
    page = open_page(html, CAPITAL)
    # 0.05 and 0.03, where the largest of all is 0.61: full colour stands for a fifth of that.
    word(page, "word").hover()
    assert grounds(answer(page)) == {"Lyon": "p4", ".": "p2"}


def test_partners_are_marked(html: str, open_page: Open) -> None:
    page = open_page(html, CAPITAL)
    word(page, "rivers").hover()
    assert prompt(page).locator(".together").all_inner_texts() == ["two"]
    assert "It and “two” work only together" in page.inner_text("#sample .panel")
    word(page, "chief").hover()
    assert prompt(page).locator(".instead").all_inner_texts() == ["capital"]
    assert prompt(page).locator(".together").count() == 0
    assert "It and “capital” stand in for each other" in page.inner_text("#sample .panel")
    assert "Taking one unit away at a time would have missed" in page.inner_text("#sample")


def test_what_is_tied_and_how_well_scores_predict(html: str, open_page: Open) -> None:
    page = open_page(html, CAPITAL)
    assert "are tied: their order is not settled" in page.inner_text("#sample .panel")
    word(page, "two").hover()
    assert "Tied: places 2-3 of 40" in page.inner_text("#sample .panel")
    assert re.search(r"ot\s+0.2\s+0.18 to 0.23", page.inner_text("#sample .panel"))
    assert "16 sets of absent units that were not used" in page.inner_text(".quality")
    assert "rank correlation 0.93" in page.inner_text(".quality")
    page.select_option("#sample select", "signed_ot")
    expect(page.locator(".quality")).to_contain_text("rank correlation 0.81")


def test_the_quality_over_the_run_stands_on_the_first_page(html: str, open_page: Open) -> None:
    assert "in 1 samples: the median rank correlation is 0.93." in open_page(html).inner_text("#about")


def test_what_speaks_against_can_be_told_without_colour(html: str, open_page: Open) -> None:
    page = open_page(html, CAPITAL)
    page.select_option("#sample select", "signed_ot")
    legend = page.locator(".asked .legend")
    expect(legend).to_have_text("speaks against −0.315  +0.315 speaks for what the model said")
    lines = {
        name: word(page, name).evaluate("node => getComputedStyle(node).textDecoration")
        for name in ("river", "France")
    }
    assert "dashed" in lines["river"]
    assert "solid" in lines["France"] or lines["France"].startswith("underline")
    assert "dashed" not in lines["France"]
    # A distance without a sign is the same matrix.
    answer(page).get_by_role("option").last.hover()
    assert grounds(prompt(page))["river"] == "n4"
    page.mouse.move(2, 2)
    page.select_option("#sample select", "ot")
    answer(page).get_by_role("option").last.hover()
    assert grounds(prompt(page))["river"] == "p4"
    assert "underline" not in word(page, "France").evaluate(
        "node => getComputedStyle(node).textDecorationLine"
    )


def test_a_click_keeps_and_escape_lets_go(html: str, open_page: Open) -> None:
    page = open_page(html, CAPITAL)
    answer(page).get_by_role("option").first.click()
    page.mouse.move(2, 2)
    assert "hash" in grounds(prompt(page))
    word(page, "France").hover()  # looked at in between
    expect(page.locator("#sample .panel")).to_contain_text("Most hangs on it at")
    page.mouse.move(2, 2)
    expect(page.locator("#sample .panel")).to_contain_text("Behind “Lyon”")
    word(page, "France").click()
    assert answer(page).locator("[aria-selected=true]").count() == 0
    page.keyboard.press("Escape")
    page.mouse.move(2, 2)
    expect(page.locator("#sample .panel")).to_contain_text("The answer hangs most on")
    page.keyboard.press("Escape")
    expect(page.locator("#list")).to_be_visible()


def test_both_texts_work_by_keyboard(html: str, open_page: Open) -> None:
    page = open_page(html, CAPITAL)
    panel = page.locator("#sample .panel")
    page.locator("#sample select").focus()
    focused = []
    for _ in range(6):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.role") == "listbox":
            focused.append(page.evaluate("document.activeElement.ariaLabel"))
            if len(focused) == 1:
                expect(panel).to_contain_text("“France”")  # the strongest comes first
            else:
                break
    assert focused == ["Prompt, with the score of each unit", "Answer, token by token"]
    page.keyboard.press("Home")
    expect(panel).to_contain_text("Behind “Lyon”")
    page.keyboard.press("ArrowRight")
    expect(panel).to_contain_text("Behind “.”")
    named = page.evaluate("document.activeElement.ariaActiveDescendantElement.ariaLabel")
    assert re.match(r"“\.” \d\.\d+$", named)


def test_choices_side_by_side(html: str, open_page: Open) -> None:
    page = open_page(html, CHOICES)
    cards = page.locator(".choices li")
    assert [re.sub(r"\s+", " ", text) for text in cards.all_inner_texts()] == [
        "It gets warmer 22 %",
        "It gets colder, because the heat leaves the water 55 % chosen right",
        "Nothing 20 %",
        "It boils 3 %",
    ]
    first, second = cards.nth(0).bounding_box(), cards.nth(1).bounding_box()
    assert first is not None
    assert second is not None
    assert first["y"] == second["y"]
    panel = page.locator("#sample .panel")
    assert "Without “cold” it would choose “It gets warmer”." in panel.inner_text()
    word(page, "cold").hover()
    assert "The model would then choose “It gets warmer”." in panel.inner_text()
    word(page, "warm").hover()
    assert "would then choose" not in panel.inner_text()


@pytest.mark.parametrize("link", [CAPITAL, CHOICES, PLAIN])
def test_what_is_needed_is_on_one_screen(html: str, open_page: Open, link: str) -> None:
    page = open_page(html, link)
    page.set_viewport_size({"width": 1280, "height": 800})
    for part in (".judged", ".asked .legend", ".asked .heat", ".answered h4 >> nth=0", ".panel"):
        box = page.locator(f"#sample {part}").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 800, part
    asked, answered = page.locator(".asked").bounding_box(), page.locator(".answered").bounding_box()
    assert asked is not None
    assert answered is not None
    assert answered["x"] >= asked["x"] + asked["width"]
    assert answered["y"] == asked["y"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("link", [CAPITAL, CHOICES, PLAIN])
def test_accessible(
    html: str, open_page: Open, accessibility_problems: Callable[[Page], list[str]], link: str, scheme: str
) -> None:
    page = open_page(html, link, scheme=scheme)
    if link == CAPITAL:
        page.select_option("#sample select", "signed_ot")
        answer(page).get_by_role("option").last.click()
    prompt(page).focus()
    word(page, {CAPITAL: "chief", CHOICES: "cold", PLAIN: "not"}[link]).click()
    for summary in page.locator("#sample summary").all():
        summary.click()
    assert accessibility_problems(page) == []


def test_narrow_screens_show_prompt_answer_and_the_rest_in_this_order(html: str, open_page: Open) -> None:
    page = open_page(html, CAPITAL, width=360)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = (page.locator(f"#sample {part}").bounding_box() for part in (".asked", ".answered", ".more"))
    asked, answered, more = (box for box in found if box is not None)
    assert asked["width"] > 300
    assert answered["y"] >= asked["y"] + asked["height"]
    assert more["y"] >= answered["y"] + answered["height"]


def test_a_window_that_was_not_found_says_why(tmp_path: Path, open_page: Open) -> None:
    def lose(record: dict[str, Any]) -> None:
        record["answer"].update(reason="the filter [invalid] takes out no text of the answer", window=[0, 1])

    page = open_page(report_page(loaded(tmp_path, factories.edited(answers.capital(), lose))), CAPITAL)
    said = page.inner_text(".answered")
    assert "marked: the explained part" in said
    assert (
        "What was to be explained was not found, so the start is: the filter [invalid] takes out no text"
        in said
    )


def test_answers_run_nothing(tmp_path: Path, open_page: Open) -> None:
    attribution = factories.make_attribution()
    window = tuple(range(len(answers.tokens_of(HOSTILE))))
    steps = {"ot": [[0.1] * len(window) for _ in attribution.units]}
    record = answers.record_of(answers.answered(attribution, HOSTILE, window, steps), said=HOSTILE)
    page = open_page(report_page(loaded(tmp_path, record)), CAPITAL)
    assert "</script><script>alert(1)</script>" in answer(page).inner_text()
    assert "\x1b" not in page.inner_text("#sample")
    answer(page).get_by_role("option").last.hover()
    assert page.locator("img").count() == 0


def test_long_answers_and_prompts_neither_stutter_nor_weigh(tmp_path: Path, open_page: Open) -> None:
    html = report_page(loaded(tmp_path, answers.large()))
    assert len(html.encode()) < 450_000
    page = open_page(html, "#geography/9/p9")
    milliseconds = page.evaluate(
        """() => ['.asked', '.answered'].map((side) => {
          const spans = document.querySelectorAll(side + ' [role=option]');
          const times = Array.from({ length: 40 }, (_, at) => {
            const begin = performance.now();
            spans[(at * 37) % spans.length].dispatchEvent(new PointerEvent('pointerover', { bubbles: true }));
            return performance.now() - begin;
          });
          return times.sort((a, b) => a - b)[20];
        })"""
    )
    # About 1 ms on one core; a frame has 16.
    assert max(milliseconds) < 16


@pytest.mark.parametrize(("units", "tolerance", "least"), [(30, 2.5e-4, 1e-6), (6000, 0.03, 1e-3)])
def test_packed_scores_are_as_exact_as_they_are_many(units: int, tolerance: float, least: float) -> None:
    draws = np.random.default_rng(0)
    scores = draws.lognormal(-3, 2, (units, 7)) * draws.choice((-1, 1), (units, 7))
    scores[0, 0] = 0.0
    packed = pack_matrix(scores)
    steps, kind = packed["steps"], "<u2" if packed["steps"] > 127 else "u1"
    codes = np.frombuffer(gzip.decompress(base64.b64decode(packed["codes"])), kind).astype(int)
    codes = codes.reshape(units, 7)
    levels = np.where(codes > steps, codes - steps - 1, codes)
    sizes = packed["largest"] * packed["range"] ** ((levels - steps) / (steps - 1))
    found = np.where(levels == 0, 0.0, np.where(codes > steps, -sizes, sizes))
    largest = abs(scores).max()
    large = abs(scores) >= largest * least
    assert np.allclose(found[large], scores[large], rtol=tolerance)
    assert abs(found[~large]).max(initial=0.0) <= largest * least * 1.001


def test_scores_of_nothing_are_packed() -> None:
    assert pack_matrix(np.zeros((2, 2)))["largest"] == 0


def test_what_the_model_said_itself_is_set_apart(tmp_path: Path, open_page: Open) -> None:
    def reason(record: dict[str, Any]) -> None:
        for unit in record["units"][-3:]:
            unit["segment"] = "reasoning"

    record = factories.edited(factories.make_record(scores=SCORES), reason)
    page = open_page(report_page(loaded(tmp_path, record)), PLAIN)
    assert re.sub(r"\s+", " ", prompt(page).inner_text()) == (
        "<s>User: Is the film what the model said first: not good? Answer:"
    )
    word(page, "good").hover()
    assert "in reasoning" in page.inner_text("#sample .panel")
