from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from gilot_plugin.attribution.types import TotalFlow
from gilot_plugin.comparison.audit import Audit, audit_runs
from gilot_plugin.reports.html.comparison import comparison_page
from tests.comparison.simulated import WORDS, make_record, make_run, noisy_runs, two_choices
from tests.reports.html.pages import HOSTILE, Open


def scores(**changes: float) -> list[float]:
    """One for each word, 1 where nothing else is said."""
    return [changes.get(text.strip(), 1.0) for text, _ in WORDS]


@pytest.fixture(scope="module")
def audit() -> Audit:
    """Three documents: the second went wrong and hangs on one word, the third changed a little."""
    flow = TotalFlow(" yes", " no", 0.75, 0.5, 3)
    base = make_run(make_record(scores(good=5), doc=doc) for doc in range(3))
    tuned = make_run(
        [
            make_record(scores(good=5), doc=0),
            make_record(scores(Tuesday=50), doc=1, correct=False, target=two_choices(0.2), flows=(flow,)),
            make_record(scores(good=4), doc=2),
        ]
    )
    return audit_runs(base, tuned, noise=[base])


def rows(page: Page) -> list[str]:
    return page.locator("#rows a").all_inner_texts()


def test_the_most_changed_samples_come_first(audit: Audit, open_page: Open) -> None:
    page = open_page(comparison_page(audit))
    assert rows(page) == ["document\xa01", "document\xa02", "document\xa00"]
    first = page.locator("#rows tr").first.inner_text()
    assert "right to wrong" in first
    assert "“Tuesday”" in first
    page.select_option("#flip", "right to wrong")
    expect(page.locator("#count")).to_have_text("1 of 3 samples")
    assert rows(page) == ["document\xa01"]


def test_both_heat_maps_are_side_by_side(audit: Audit, open_page: Open) -> None:
    page = open_page(comparison_page(audit), "#films/1/p1")
    base, tuned = page.locator("#sample .heat").all()
    assert base.inner_text() == tuned.inner_text() == "".join(text for text, _ in WORDS)
    assert base.locator("span.p9").inner_text() == "good"
    assert tuned.locator("span.p9").inner_text() == "Tuesday"
    left, right = base.bounding_box(), tuned.bounding_box()
    assert left is not None
    assert right is not None
    assert right["x"] > left["x"] + left["width"] - 1
    assert right["y"] == left["y"]
    said = page.inner_text("#sample")
    assert "right to wrong" in said
    assert "50.0%" in said  # of the probability moved between outcomes
    assert "“ yes”\t“ no”\t0\t0.75" in said


def test_a_unit_under_the_pointer_is_told_on_both_sides(audit: Audit, open_page: Open) -> None:
    page = open_page(comparison_page(audit), "#films/1/p1")
    page.locator("#sample .heat").first.locator("span", has_text="Tuesday").hover()
    base, tuned = page.locator("#sample .panel").all()
    expect(base).to_contain_text("“ Tuesday”")
    expect(tuned).to_contain_text("“ Tuesday”")
    assert "50" in tuned.inner_text()


def test_directions_are_told_without_colour(open_page: Open) -> None:
    named = {"ot": scores(good=5), "signed_ot": scores(good=-5)}
    audit = audit_runs(make_run([make_record(named)]), make_run([make_record(named, correct=False)]))
    page = open_page(comparison_page(audit), "#films/0/p0")
    page.select_option("#sample select", "signed_ot")
    heat = page.locator("#sample .heat").first
    lines = {
        name: heat.locator("span", has_text=name).evaluate("node => getComputedStyle(node).textDecoration")
        for name in ("good", "Tuesday")
    }
    assert "dashed" in lines["good"]
    assert "underline" in lines["Tuesday"]
    assert "dashed" not in lines["Tuesday"]
    assert "speaks against" in page.inner_text("#sample .legend >> nth=0")


def test_the_verdict_and_the_tests_are_shown(open_page: Open) -> None:
    base, tuned, repeated = noisy_runs(1, 40, 3, lifted={"Tuesday": 20.0})
    page = open_page(comparison_page(audit_runs(base, tuned, noise=[repeated])))
    assert "The word 'tuesday' weighs more: " in page.inner_text("section[aria-labelledby=verdict]")
    words = page.locator("table", has_text="tuesday").locator("tbody tr").first.inner_text()
    assert words.startswith("tuesday")
    assert words.endswith("yes")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(
    audit: Audit, open_page: Open, accessibility_problems: Callable[[Page], list[str]], scheme: Any
) -> None:
    page = open_page(comparison_page(audit), scheme=scheme)
    assert accessibility_problems(page) == []
    page.click("text=document\xa01")
    page.locator("#sample .heat").last.focus()
    assert accessibility_problems(page) == []


def test_everything_works_by_keyboard(audit: Audit, open_page: Open) -> None:
    page = open_page(comparison_page(audit), "#films/1/p1")
    page.locator("#sample .heat").last.focus()
    tuned = page.locator("#sample .panel").last
    expect(tuned).to_contain_text("“ Tuesday”")  # the strongest comes first
    page.keyboard.press("ArrowLeft")
    expect(tuned).to_contain_text("“ on”")
    page.keyboard.press("Escape")
    expect(page.locator("#list")).to_be_visible()


def test_texts_run_nothing(open_page: Open) -> None:
    words = [(HOSTILE, "question"), (" end", HOSTILE)]
    records = [
        make_record(given, words=words, task=HOSTILE, flows=(TotalFlow(HOSTILE, "\ud800", 0.5, 0.5, 1),))
        for given in ([1.0, 2.0], [2.0, 1.0])
    ]
    page = open_page(comparison_page(audit_runs(make_run(records[:1]), make_run(records[1:]))))
    page.locator("#rows a").first.click()
    expect(page.locator("#sample .heat").first).to_be_visible()
    assert "alert(2)> {{7*7}} \\x1b[31m \\u202eabc" in page.inner_text("#sample")
    assert page.locator("img").count() == 0


def test_narrow_screens_need_no_sideways_scrolling(audit: Audit, open_page: Open) -> None:
    page = open_page(comparison_page(audit), "#films/1/p1", width=360)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_same_audit_gives_the_same_page(audit: Audit) -> None:
    page = comparison_page(audit)
    assert page == comparison_page(audit)
    assert "http://" not in page
    assert "https://" not in page
