from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from gilot_plugin.artifacts.loading import LoadedRun, load_run
from gilot_plugin.attribution.types import Flow, Hypothesis
from gilot_plugin.errors import ArtifactError
from gilot_plugin.reports.html.report import report_page
from gilot_plugin.reports.palette import DARK, LIGHT, Theme
from tests.artifacts import factories
from tests.reports.html.pages import HOSTILE, SCORES, Open, loaded


def wrong(record: dict[str, Any]) -> None:
    record["metrics"] = {"exact_match,none": 0.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    """Three films, the second one wrong, and a choice that was skipped."""
    cats = factories.make_record(doc_id=1, text="<s>User: Are cats grey?\nAnswer:")
    choice = factories.make_record("pairs", 0, choices=factories.CHOICES)
    return loaded(
        tmp_path_factory.mktemp("run"),
        factories.make_record(scores=SCORES),
        factories.edited(cats, wrong),
        factories.edited(choice, lambda record: record["target"].update(margin=0.25, gold=[0])),
        factories.make_skipped("pairs", 3, "no choices"),
    )


@pytest.fixture(scope="module")
def html(run: LoadedRun) -> str:
    """The page of that run."""
    return report_page(run)


def rows(page: Page) -> list[str]:
    return page.locator("#rows a").all_inner_texts()


def heat(page: Page) -> Any:
    return page.locator("#sample .asked .heat")


def test_the_list_shows_every_sample(html: str, open_page: Open) -> None:
    page = open_page(html)
    assert rows(page) == ["films ·\xa00", "films ·\xa01", "pairs ·\xa00", "pairs ·\xa03"]
    assert "3 of 4 chosen samples were explained. 1 skipped: no choices." in page.inner_text("#run")
    first = page.locator("#rows tr").first.inner_text()
    assert "right" in first
    assert "“not”" in first


#: A field of the list, what is entered, and what is left, in order.
FILTERS = (
    ("#task", "pairs", ["pairs ·\xa00", "pairs ·\xa03"]),
    ("#verdict", "wrong", ["films ·\xa01"]),
    ("#verdict", "right", ["films ·\xa00", "pairs ·\xa00", "pairs ·\xa03"]),
    ("#verdict", "not", ["pairs ·\xa03"]),
    ("#segment", "content", ["films ·\xa00", "films ·\xa01", "pairs ·\xa00"]),
    ("#margin", "1", ["pairs ·\xa00"]),
    ("#margin", "0.1", []),
    ("#search", "CATS", ["films ·\xa01"]),
    ("#sort", "largest", ["films ·\xa00", "films ·\xa01", "pairs ·\xa00", "pairs ·\xa03"]),
    ("#sort", "margin", ["pairs ·\xa00", "films ·\xa00", "films ·\xa01", "pairs ·\xa03"]),
)


def test_filters_and_orders(html: str, open_page: Open) -> None:
    page = open_page(html)
    for field, value, left in FILTERS:
        typed = field in ("#margin", "#search")
        for entered, there in ((value, left), ("doc" if field == "#sort" else "", None)):
            if typed:
                page.fill(field, entered)
                page.locator(field).blur()
            else:
                page.select_option(field, entered)
            count = 4 if there is None else len(there)
            expect(page.locator("#count"), field).to_have_text(f"{count} of 4 samples")
            if there is not None:
                assert rows(page) == there, (field, value)


def test_filters_add_up(html: str, open_page: Open) -> None:
    page = open_page(html)
    page.select_option("#verdict", "right")
    page.select_option("#task", "films")
    expect(page.locator("#count")).to_have_text("1 of 4 samples")
    page.fill("#search", "cats")
    expect(page.locator("#count")).to_have_text("0 of 4 samples")


def test_a_sample_has_an_address_of_its_own(html: str, open_page: Open) -> None:
    page = open_page(html)
    page.click("text=films ·\xa00")
    expect(heat(page)).to_be_visible()
    assert page.url.endswith("#films/0/p0")
    page.reload()
    expect(heat(page)).to_be_visible()
    assert heat(page).inner_text() == factories.TEXT
    page.click("text=Next")
    expect(page.locator("#sample h2")).to_have_text("films · document 1")
    page.go_back()
    expect(page.locator("#sample h2")).to_have_text("films · document 0")
    page.click("text=All samples")
    expect(page.locator("#list")).to_be_visible()


def test_the_unit_under_the_pointer_tells_its_flows(html: str, open_page: Open) -> None:
    page = open_page(html, "#films/0/p0")
    heat(page).locator("span", has_text="not").hover()
    panel = page.locator("#sample .panel")
    expect(panel).to_contain_text("“not”")
    assert re.search(r"ot\s+0\.5\s+kl\s+0\s", panel.inner_text())
    assert "Without it, 31 % of the probability moves from “no” to “yes”." in panel.inner_text()


def test_everything_works_by_keyboard(html: str, open_page: Open) -> None:
    page = open_page(html)
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").startswith("films"):
            break
    page.keyboard.press("Enter")
    expect(page.locator("#sample h2")).to_be_focused()
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.role") == "listbox":
            break
    panel = page.locator("#sample .panel")
    expect(panel).to_contain_text("“not”")  # the strongest comes first
    page.keyboard.press("ArrowLeft")
    expect(panel).to_contain_text("“film”")
    page.keyboard.press("Home")
    expect(panel).to_contain_text("“Is”")
    page.keyboard.press("End")
    expect(panel).to_contain_text("“?”")
    current = page.evaluate(
        "document.getElementById(document.activeElement.ariaActiveDescendantElement.id)"
        ".getAttribute('aria-label')"
    )
    assert current == "“?” 0"
    page.keyboard.press("Escape")
    expect(panel).to_contain_text("The answer hangs most on")
    page.keyboard.press("Escape")
    expect(page.locator("#list")).to_be_visible()


def test_the_ground_tells_the_score(html: str, open_page: Open) -> None:
    page = open_page(html, "#films/0/p0")
    grounds = {
        span.inner_text().strip(): span.evaluate("node => getComputedStyle(node).backgroundColor")
        for span in heat(page).locator("span").all()
    }
    assert grounds["not"] == "rgb(102, 37, 6)"
    assert grounds["good"] == "rgb(254, 153, 41)"
    assert grounds["Is"] == "rgba(0, 0, 0, 0)"
    page.select_option("#sample select", "kl")
    assert heat(page).locator("span.p9").inner_text() == "Is"
    assert heat(page).locator("span.n5").inner_text() == "?"
    page.check("#sample input[type=checkbox]")
    assert heat(page).locator("sub").all_inner_texts() == ["0.4", "-0.2"]


def test_choices_and_continuations_are_shown(html: str, open_page: Open) -> None:
    page = open_page(html, "#pairs/0/p0")
    shown = page.inner_text("#sample")
    assert re.search(r"no\s+60 %\s+chosen\s+right\s+yes\s+40 %", shown)
    assert "The right choice leads by 0.25 nats." in shown
    page.goto(page.url.replace("#pairs/0", "#films/0"))
    expect(page.locator("#sample h2")).to_have_text("films · document 0")
    assert re.search(r"0\.75\s+“ no”\s+ends here", page.inner_text("#sample"))


def test_samples_that_were_not_explained_say_why(html: str, open_page: Open) -> None:
    page = open_page(html, "#pairs/3/p3")
    assert "skipped: no choices" in page.inner_text("#sample")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(
    html: str, open_page: Open, accessibility_problems: Callable[[Page], list[str]], scheme: str
) -> None:
    page = open_page(html, scheme=scheme)
    assert accessibility_problems(page) == []
    page.click("text=films ·\xa00")
    heat(page).focus()
    for summary in page.locator("#sample summary").all():
        summary.click()
    page.check("#sample input[type=checkbox]")
    assert accessibility_problems(page) == []


@pytest.mark.parametrize(("scheme", "theme"), [("light", LIGHT), ("dark", DARK)])
def test_a_picture_of_the_page_has_the_grounds(html: str, open_page: Open, scheme: str, theme: Theme) -> None:
    page = open_page(html, "#films/0/p0", scheme=scheme)
    pixels = np.asarray(Image.open(BytesIO(heat(page).screenshot())).convert("RGB")).reshape(-1, 3)
    found, counts = np.unique(pixels, axis=0, return_counts=True)
    there = {tuple(map(int, colour)) for colour, count in zip(found, counts, strict=True) if count > 50}
    wanted = [theme.paper, theme.ground(9), theme.ground(5), theme.ground(1)]
    assert {tuple(bytes.fromhex(colour[1:])) for colour in wanted} <= there
    assert tuple(bytes.fromhex(theme.ground(-5)[1:])) not in there


def test_the_theme_can_be_chosen(html: str, open_page: Open) -> None:
    page = open_page(html)
    ground = "() => getComputedStyle(document.documentElement).backgroundColor"
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    page.click("#theme")
    assert page.evaluate(ground) == "rgb(21, 23, 28)"
    page.click("#theme")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"


def test_narrow_screens_need_no_sideways_scrolling(html: str, open_page: Open) -> None:
    page = open_page(html, "#films/0/p0", width=360)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_texts_run_nothing_and_reorder_nothing(tmp_path: Path, open_page: Open) -> None:
    text = f"<s>User: {HOSTILE} \u05e9\u05dc\u05d5\u05dd \ufffd \ud83d\n\nAnswer:"
    flow = Flow(HOSTILE, "\ud800", 0.5, 0.1)
    hypotheses = (Hypothesis((5,), HOSTILE, -0.3, 1.0, True),)
    record = factories.make_record(f"t {HOSTILE}", text=text, flow=flow, hypotheses=hypotheses)
    record = factories.edited(record, lambda found: found["target"].update(response=HOSTILE))
    run = loaded(tmp_path, record, factories.make_skipped("skipped", reason=HOSTILE))
    page = open_page(report_page(run))
    page.locator("#rows a").last.click()
    expect(heat(page)).to_be_visible()
    shown = heat(page).inner_text()
    assert (
        "</script><script>alert(1)</script><img src=x onerror=alert(2)> {{7*7}} \\x1b[31m \\u202eabc" in shown
    )
    assert "שלום \ufffd" in shown
    assert "\x1b" not in shown
    assert page.locator("img").count() == 0
    heat(page).focus()
    page.keyboard.press("End")
    assert "\\ud800" in page.inner_text("#sample .panel")


def test_whitespace_that_counts_can_be_seen(tmp_path: Path, open_page: Open) -> None:
    record = factories.make_record(text="<s>User: film\n\n")
    page = open_page(report_page(loaded(tmp_path, record)), "#films/0/p0")
    assert heat(page).locator("span").last.inner_text() == "↵\n↵\n"


def test_long_prompts(tmp_path: Path, open_page: Open) -> None:
    text = "<s>User: first" + " incomprehensibilities" * 4_600
    record = factories.make_record(text=text)
    page = open_page(report_page(loaded(tmp_path, record)), "#films/0/p0")
    assert len(heat(page).inner_text()) > 100_000
    heat(page).focus()
    page.keyboard.press("End")
    expect(page.locator("#sample .panel")).to_contain_text("“incomprehensibilities”")


def test_two_thousand_samples_are_listed_as_one_scrolls(run: LoadedRun, open_page: Open) -> None:
    many = tuple(replace(run.records[0], doc_id=number) for number in range(2000))
    page = open_page(report_page(replace(run, records=many)), "#films/1999/p0")
    expect(page.locator("#sample h2")).to_have_text("films · document 1999")
    page.keyboard.press("Escape")
    assert page.locator("#rows tr").count() < 500
    page.wait_for_function(
        "() => { scrollTo(0, document.body.scrollHeight);"
        "return document.querySelectorAll('#rows tr').length === 2000 }"
    )
    page.select_option("#task", "films")
    expect(page.locator("#count")).to_have_text("2000 of 2000 samples")


def test_samples_that_hang_on_one_example_are_counted(run: LoadedRun) -> None:
    films = run.records[0]
    # " not" has 0.5 of 0.81 by these scores, and next to nothing where the first unit has 1.
    units = tuple(
        replace(unit, segment="shot_1" if unit.text == " not" else "question") for unit in films.units
    )
    records = (
        replace(films, units=units),
        replace(films, doc_id=1, units=units, scores={"ot": (1.0, *films.scores["ot"][1:])}),
    )
    page = report_page(replace(run, records=records))
    assert "falls on the template or on one example: shot_1 in 1 of 2 samples." in page


def test_a_page_is_small_beside_its_data(run: LoadedRun) -> None:
    page = report_page(run)
    data = re.findall(r'<script type="text/plain" id="data-[\w-]+">([^<]*)</script>', page)
    assert len(data) == 3
    assert len(page.encode()) - sum(map(len, data)) < 200_000
    assert json.loads(gzip.decompress(base64.b64decode(data[0])))[0]["link"] == "films/0/p0"
    assert "http://" not in page
    assert "https://" not in page


def test_the_same_run_gives_the_same_page(run: LoadedRun) -> None:
    assert report_page(run) == report_page(load_run(run.folder))


def test_what_lm_eval_wrote_is_shown(tmp_path: Path, open_page: Open) -> None:
    record = factories.make_record()
    results = {
        "results": {"films": {"alias": "films", "exact_match,none": 0.5, "exact_match_stderr,none": 0.125}},
        "versions": {"films": 2.0},
        "n-shot": {"films": 3},
    }
    (tmp_path / f"results_{factories.DATE}.json").write_text(json.dumps(results))
    sample = {name: record[name] for name in ("doc_id", "doc_hash", "prompt_hash", "target_hash")}
    sample |= {"doc": {"text": "Is the film not good?"}, "filtered_resps": ["no"], "target": "yes"}
    (tmp_path / f"samples_films_{factories.DATE}.jsonl").write_text(json.dumps(sample) + "\n")
    page = open_page(report_page(loaded(tmp_path, record)))
    assert "exact_match 0.5 ± 0.125" in page.inner_text("#run")
    assert "version 2.0, 3 shots" in page.inner_text("#run")
    page.click("text=document\xa00")
    page.click("text=The document")
    page.click("text=How it was computed")
    assert "probability outside the transport problem\n0.0001" in page.inner_text("#sample")
    assert '"text": "Is the film not good?"' in page.inner_text("#sample")


def test_a_run_without_records_has_no_report(tmp_path: Path) -> None:
    factories.write_run(tmp_path, [])
    with pytest.raises(ArtifactError, match="has no records to report"):
        report_page(load_run(tmp_path))


def test_methods_that_failed_are_counted(tmp_path: Path, open_page: Open) -> None:
    def fail(record: dict[str, Any]) -> None:
        record["diagnostics"]["failed_methods"] = {"gradient": "ValueError: no embeddings"}

    record = factories.edited(factories.make_record(scores=SCORES), fail)
    page = open_page(report_page(loaded(tmp_path, record)))
    assert "1 without scores by gradient: ValueError: no embeddings." in page.inner_text("#run")
    page.locator("#rows a").click()
    page.click("text=How it was computed")
    assert "no scores by gradient\nValueError: no embeddings" in page.inner_text("#sample")
