"""What notebooks show: static, small, and safe whatever the texts are."""

from __future__ import annotations

import html as entities
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from gilot_plugin.artifacts.loading import LoadedRun
from gilot_plugin.artifacts.typed import Record
from gilot_plugin.attribution.types import Flow, Hypothesis
from gilot_plugin.comparison.audit import audit_runs
from gilot_plugin.reports.html.notebook import LIMIT
from gilot_plugin.reports.palette import DARK, LIGHT, Theme
from tests.artifacts import factories
from tests.reports import answers
from tests.reports.html.pages import HOSTILE, SCORES, Open, loaded

NOTEBOOK = (
    '<!doctype html><html lang="en"{marks}><head><title>Notebook</title></head>'
    '<body><main><h1>Notebook</h1><p id="outside" class="p9">outside</p>{cells}</main>'
    '<script>document.documentElement.dataset.ready = "yes"</script></body></html>'
)


def notebook(*cells: str, marks: str = "") -> str:
    return NOTEBOOK.format(cells="".join(cells), marks=marks)


def heat_text(fragment: str) -> str:
    """The text of the first heat map."""
    (heat,) = re.findall(r'<div class="heat"[^>]*>(.*?)</div>', fragment, re.DOTALL)[:1]
    return entities.unescape(re.sub(r"<[^>]+>", "", heat))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    return loaded(
        tmp_path_factory.mktemp("run"),
        factories.make_record(scores=SCORES),
        factories.make_record("pairs", 0, choices=factories.CHOICES),
        factories.make_skipped("pairs", 3, "no choices"),
    )


def test_an_attribution_shows_the_heat_map_of_the_report(open_page: Open) -> None:
    page = open_page(notebook(factories.make_attribution(scores=SCORES)._repr_html_()))
    heat = page.locator(".heat")
    assert heat.inner_text() == factories.TEXT
    grounds = {
        span.inner_text(): (span.get_attribute("class"), span.get_attribute("title"))
        for span in heat.locator("span").all()
    }
    # 0.5 is the largest; a tenth of it, a half of it, and less than a tenth.
    assert grounds == {
        "Is": (None, "0"),
        "the": (None, "0.01"),
        "film": ("p1", "0.05"),
        "not": ("p9", "0.5"),
        "good": ("p5", "0.25"),
        "?": (None, "0"),
    }
    first = page.locator("tbody tr").first.inner_text()
    assert re.split(r"\s*\t\s*", first) == ["“ not”", "content", "0.5", "0", "“ no” → “ yes” 0.31"]
    expect(page.locator("main")).to_contain_text("What the model would say: “ no” 0.75, “ yes, it” 0.25")


def test_scores_against_the_outcome_are_drawn_with_their_sign(open_page: Open) -> None:
    scores = {"margin": [0.0, 0.0, 0.0, -0.5, 0.25, 0.0]}
    page = open_page(notebook(factories.make_attribution(scores=scores)._repr_html_()))
    assert page.locator(".heat .n9").inner_text() == "not"
    assert page.locator(".heat .p5").inner_text() == "good"
    assert page.locator(".scale i").count() == 19


@pytest.mark.parametrize(
    ("marks", "scheme", "theme"),
    [
        ("", "light", LIGHT),
        ("", "dark", DARK),
        # The notebook's own theme counts more than the system's.
        (' data-jp-theme-light="false"', "light", DARK),
        (' data-jp-theme-light="true"', "dark", LIGHT),
        (' class="vscode-dark"', "light", DARK),
        (' theme="dark"', "light", DARK),
    ],
)
def test_light_and_dark(run: LoadedRun, open_page: Open, marks: str, scheme: str, theme: Theme) -> None:
    page = open_page(notebook(run.records[0]._repr_html_(), marks=marks), scheme=scheme)
    ground = page.locator(".heat .p9").evaluate("node => getComputedStyle(node).backgroundColor")
    assert ground == f"rgb{tuple(bytes.fromhex(theme.ground(9)[1:]))}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(
    run: LoadedRun, open_page: Open, accessibility_problems: Callable[[Page], list[str]], scheme: str
) -> None:
    cells = [
        cell.replace("<details>", "<details open>")
        for value in (*run.records, run, audit_runs(run, run))
        for cell in [value._repr_html_()]
    ]
    page = open_page(notebook(*cells), scheme=scheme)
    assert accessibility_problems(page) == []


def test_nothing_outside_is_touched(run: LoadedRun, open_page: Open) -> None:
    look = "node => JSON.stringify([...Object.values(getComputedStyle(node))].map(String))"
    alone = open_page(notebook()).locator("#outside").evaluate(look)
    beside = open_page(notebook(run._repr_html_(), audit_runs(run, run)._repr_html_()))
    assert beside.locator("#outside").evaluate(look) == alone


def test_a_run_shows_its_tasks_and_samples(run: LoadedRun, open_page: Open) -> None:
    page = open_page(notebook(run._repr_html_()))
    shown = page.inner_text(".gilot")
    assert "tiny-model: 2 of 3 explained" in shown
    assert page.locator("summary").count() == 3
    page.locator("summary").first.click()
    assert page.locator(".heat").first.inner_text() == factories.TEXT
    page.locator("summary").last.click()
    assert "skipped: no choices" in page.inner_text(".gilot")


def test_a_comparison_shows_both_sides(run: LoadedRun, tmp_path: Path, open_page: Open) -> None:
    other = {"ot": [0.5, 0.0, 0.0, 0.0, 0.25, 0.0], "kl": SCORES["kl"]}
    tuned = loaded(tmp_path, factories.make_record(scores=other))
    page = open_page(notebook(audit_runs(run, tuned)._repr_html_()))
    assert page.locator(".pair .heat .p9").all_inner_texts() == ["not", "Is"]
    assert "McNemar" in page.inner_text(".gilot")


def test_texts_run_nothing(tmp_path: Path, open_page: Open) -> None:
    hypotheses = (Hypothesis((5,), HOSTILE, -0.3, 1.0, True),)
    record = factories.make_record(
        f"t {HOSTILE}",
        text=f"<s>User: {HOSTILE} </style></div> \ud83d",
        flow=Flow(HOSTILE, "\ud800", 0.5, 0.1),
        hypotheses=hypotheses,
    )
    record = factories.edited(record, lambda found: found["target"].update(response=HOSTILE))
    run = loaded(tmp_path, record, factories.make_skipped("skipped", reason=HOSTILE))
    cells = [value._repr_html_() for value in (*run.records, run, audit_runs(run, run))]
    page = open_page(notebook(*cells))
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1
    shown = page.locator(".heat").first.inner_text()
    assert "<script>alert(1)</script><img src=x onerror=alert(2)> {{7*7}} \\x1b[31m \\u202eabc" in shown
    assert "\x1b" not in "".join(cells)
    "".join(cells).encode()


LONG = "<s>User: first" + " incomprehensibilities" * 1_000


def long_record(text: str, doc_id: int = 0) -> Record:
    """Texts that take six bytes a character as HTML, and many of them."""
    long = '"' * 10_000
    record = factories.make_record(
        f"task {long[:150]}",
        doc_id,
        text=text,
        flow=Flow(long[:200], long[:200], 0.5, 0.1),
        hypotheses=tuple(Hypothesis((5,), long, -0.3, 0.1, True) for _ in range(50)),
    )
    record["target"]["response"] = long
    record["metrics"] = {f"{long}{number},none": 0.5 for number in range(10)}
    return Record.from_json(record)


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        "<s>User: " + '"' * 1_000,
        f"<s>User: {'x' * 90_000} end",
        "<s>User: " + " \U000e0001" * 1_000,
        "<s>User: " + "\n" * 70_000 + "end",
    ],
    ids=["words", "quotes", "a word", "without a shape", "lines"],
)
def test_nothing_is_larger_than_a_notebook_can_take(tmp_path: Path, text: str) -> None:
    record = long_record(text)
    run = LoadedRun(tmp_path, factories.DATE, None, (record,) * 20)
    audit = audit_runs(run, replace(run, records=(record,)))
    pairs = {"pairs": audit.pairs * 5, "measures": audit.measures * 5, "warnings": ('"' * 10_000,) * 20}
    for value in (record, run, replace(audit, **pairs)):
        assert len(value._repr_html_().encode()) <= LIMIT


def test_of_a_long_prompt_the_units_that_matter_are_shown(tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(4_000)]
    scores = [0.0] * 4_000
    scores[1_500], scores[3_900] = 0.5, 0.25
    record = factories.make_record(text="<s>User: " + " ".join(words), scores={"ot": scores})
    (loaded_record,) = loaded(tmp_path, record).records
    shown = heat_text(loaded_record._repr_html_())
    for near in ("word1495", "word1500", "word1505", "word3900"):
        assert near in shown
    assert "word2700" not in shown
    gaps = [int(found.replace(",", "")) for found in re.findall(r"\[… *([\d,]+) characters …\]", shown)]
    kept = re.sub(r" \[… *[\d,]+ characters …\] ", "", shown)
    assert sum(gaps) + len(kept) == len(loaded_record.prompt)


def test_many_tasks_and_samples_are_counted(tmp_path: Path) -> None:
    run = loaded(tmp_path, *(factories.make_record(f"task{number}", number) for number in range(40)))
    fragment = run._repr_html_()
    assert "20 more tasks are not listed." in fragment
    assert "30 more samples in <code>run.records</code>" in fragment


def test_a_run_without_records_is_shown(tmp_path: Path) -> None:
    run = LoadedRun(tmp_path, factories.DATE, None, ())
    assert "no records" in run._repr_html_()


def test_every_number_of_noise_is_told(tmp_path: Path) -> None:
    def noisy(record: dict[str, Any]) -> None:
        record["diagnostics"]["noise_floor"] = {"scores": {"ot": 0.1}, "measured": 12}

    (record,) = loaded(tmp_path, factories.edited(factories.make_record(scores=SCORES), noisy)).records
    assert isinstance(record, Record)
    assert "4 of 6 scores by ot cannot be told from 0" in record._repr_html_()


def test_the_answer_its_explained_part_ties_pairs_and_quality(open_page: Open) -> None:
    record = Record.from_json(answers.capital())
    page = open_page(notebook(record._repr_html_()))
    said = page.inner_text("main")
    assert page.locator("u").inner_text().strip() == "Lyon."
    assert "“two” and “rivers” work only together" in said
    assert "rank correlation 0.93" in said
    assert page.locator("tbody tr").nth(1).locator("td").first.inner_text() == "2-3"


def test_what_speaks_against_is_dashed(
    open_page: Open, accessibility_problems: Callable[[Page], list[str]]
) -> None:
    scores = {"signed_ot": [0.0, 0.0, -0.05, 0.41, 0.0, 0.0]}
    page = open_page(notebook(factories.make_attribution(scores=scores)._repr_html_()))
    assert "−0.41" in page.inner_text(".legend")
    assert "speaks for what the model said, by signed_ot" in page.inner_text(".legend")
    against = page.locator(".heat .n1").first
    assert "dashed" in against.evaluate("node => getComputedStyle(node).textDecoration")
    assert accessibility_problems(page) == []
