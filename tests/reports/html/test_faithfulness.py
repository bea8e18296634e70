"""What the report says of a measured faithfulness."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from gilot_plugin.artifacts.faithfulness import (
    Faithfulness,
    MeanInterval,
    Randomization,
    Resemblance,
    faithfulness_path,
)
from gilot_plugin.errors import ArtifactError
from gilot_plugin.reports.html.report import report_page
from tests.artifacts import factories
from tests.reports.html.pages import HOSTILE, SCORES, Open, loaded


@pytest.fixture
def measured(tmp_path: Path) -> Callable[[Faithfulness | None], str]:
    """The page of a run with these figures beside it."""

    def make(found: Faithfulness | None) -> str:
        if found is not None:
            faithfulness_path(tmp_path, factories.DATE).write_text(found.model_dump_json())
        return report_page(loaded(tmp_path, factories.make_record(scores=SCORES)))

    return make


def section(page: Page) -> str:
    return page.inner_text("section[aria-labelledby=faithfulness]")


def test_what_was_not_measured_is_said(measured: Any, open_page: Open) -> None:
    assert "Not measured for this run" in section(open_page(measured(None)))


def test_faithfulness_shows_areas_and_what_is_beaten(measured: Any, open_page: Open) -> None:
    page = open_page(measured(factories.FAITHFULNESS))
    said = section(page)
    assert "similarity, delete" in said
    area = factories.FAITHFULNESS.measures[0].methods[0].area
    interval = f"{area.low:.3f} to {area.high:.3f}"
    rows = page.locator("section[aria-labelledby=faithfulness] tbody tr").all_inner_texts()
    assert [row.split("\t") for row in rows] == [
        ["ot", "20", f"{area.mean:.3f}", interval, "1 of 1", "ranks words better than every control"],
        ["kl", "20", f"{area.mean:.3f}", interval, "0 of 1", "none"],
        ["random control", "", f"{area.mean:.3f}", interval, "", ""],
    ]
    assert "ot beats random; is not shown to differ from kl." in said
    assert "kl is not shown to differ from random and ot." in said


def test_without_controls_there_is_no_claim(measured: Any, open_page: Open) -> None:
    content = factories.FAITHFULNESS.model_dump(mode="json")
    measure = content["measures"][0]
    measure["controls"] = []
    for method in measure["methods"]:
        method["controls"] = []
    measure["differences"][0]["better"] = "ot"
    other = {**measure, "quantity": "logprob", "summary": HOSTILE}
    content["measures"] = [measure, other]
    page = open_page(measured(Faithfulness.model_validate(content)))
    page.click("text=Other quantities")
    said = section(page)
    assert "logprob, delete" in said
    assert "alert(2)> {{7*7}} \\x1b[31m \\u202eabc" in said
    assert "better than every control" not in said
    assert said.count("none, for there is no control") == 4


def test_random_weights_are_reported(measured: Any, open_page: Open) -> None:
    correlation = MeanInterval(mean=0.1, low=0.0, high=0.2)
    one = Resemblance(method="ot", is_control=False, samples=20, correlation=correlation, passes=True)
    test = Randomization(seed=0, threshold=0.5, methods=(one,))
    found = factories.FAITHFULNESS.model_copy(update={"randomization": test})
    assert "ot depends on what the model learnt, correlation 0.10" in section(open_page(measured(found)))


@pytest.mark.parametrize(("scheme", "width"), [("light", 1300), ("dark", 360)])
def test_faithfulness_is_accessible_small_and_fits(
    measured: Any,
    open_page: Open,
    accessibility_problems: Callable[[Page], list[str]],
    scheme: Any,
    width: int,
) -> None:
    measures = [
        factories.FAITHFULNESS.measures[0].model_copy(update={"quantity": quantity, "absence": absence})
        for quantity in ("similarity", "logprob", "ot", "chosen", "margin")
        for absence in ("delete", "mask", "replace")
    ]
    html = measured(factories.FAITHFULNESS.model_copy(update={"measures": tuple(measures)}))
    page = open_page(html, scheme=scheme, width=width)
    page.click("text=Other quantities")
    assert page.locator("section[aria-labelledby=faithfulness] table").count() == len(measures)
    assert accessibility_problems(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    data = re.findall(r'<script type="text/plain"[^>]*>(.*?)</script>', html, re.DOTALL)
    assert len(html.encode()) - sum(map(len, data)) < 200_000


def test_broken_figures_of_faithfulness_are_refused(tmp_path: Path) -> None:
    faithfulness_path(tmp_path, factories.DATE).write_text("{}")
    with pytest.raises(ArtifactError, match="faithfulness_"):
        report_page(loaded(tmp_path, factories.make_record()))
