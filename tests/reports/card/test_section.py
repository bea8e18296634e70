from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from gilot_plugin.artifacts.loading import LoadedRun, load_run
from gilot_plugin.errors import ArtifactError
from gilot_plugin.reports.card.section import card_section
from gilot_plugin.settings.config import GilotConfig
from tests.artifacts import factories

HOSTILE = "Is <!-- gilot:end --> | [a](b) *good*?\nAnswer:"


def in_two_parts(record: dict[str, Any]) -> None:
    for unit in record["units"][:3]:
        unit["segment"] = "question"


def wrong(record: dict[str, Any]) -> None:
    record["metrics"] = {"exact_match,none": 0.0}


def film(doc: int, *, right: bool = True, **changes: Any) -> dict[str, Any]:
    record = factories.edited(factories.make_record(doc_id=doc, **changes), in_two_parts)
    return record if right else factories.edited(record, wrong)


def run_of(folder: Path, records: list[dict[str, Any]]) -> LoadedRun:
    factories.write_run(folder, records)
    (folder / f"results_{factories.DATE}.json").write_text(json.dumps(factories.RESULTS))
    return load_run(folder)


@pytest.fixture
def run(tmp_path: Path) -> LoadedRun:
    """Eight films, whose question gets nearly all of the scores, and one that was skipped."""
    scores = {"ot": [0.5, 0.4, 0.3, 0.01, 0.0, 0.02]}
    records = [film(doc, right=doc != 2, scores=scores) for doc in range(8)]
    return run_of(tmp_path, [*records, factories.make_skipped(doc_id=8)])


def tables(text: str) -> list[list[list[str]]]:
    """Cells of each table, as a reader sees them."""
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    return [
        [
            [re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)]
            for row in re.findall(r"<tr>(.*?)</tr>", table, flags=re.DOTALL)
        ]
        for table in re.findall(r"<table>(.*?)</table>", rendered, flags=re.DOTALL)
    ]


def test_what_was_run_and_its_scores(run: LoadedRun) -> None:
    what, scores, _ = tables(card_section(run).text)
    assert what[1] == ["films", "2.0", "3", "10", "8, first: 9 of 10 samples", "1", "0", "10 s"]
    assert scores[1:] == [
        ["films", "exact_match", "0.5 ± 0.1", "higher is better"],
        ["films", "exact_match,strict", "0.25", "higher is better"],
    ]
    assert "num_beams=4" in card_section(run).text.replace("\\", "")


def test_parts_come_with_intervals_and_their_length(run: LoadedRun) -> None:
    section = card_section(run)
    *_, parts = tables(section.text)
    # 1.2 of 1.23; " Is", " the" and " film" are 12 of the 22 characters.
    assert parts[1][:6] == ["films", "question", "8", "98%", "98% to 98%", "55%"]
    assert parts[1][6] == "more"
    assert parts[2][6] == "less"
    assert "- films: question has 98% of the scores of ot, more than the 55% of its length" in section.text


def test_a_part_that_its_length_explains_is_no_finding(tmp_path: Path) -> None:
    # Shares that scatter around those by length.
    by_length = [[3, 4, 5, 4, 5, 1], [6, 8, 10, 4, 5, 1], [1, 2, 2, 4, 5, 1]]
    records = [film(doc, scores={"ot": by_length[doc % 3]}) for doc in range(9)]
    section = card_section(run_of(tmp_path, records))
    assert {row[6] for row in tables(section.text)[-1][1:]} == {"not told apart"}
    told = "No part is shown to have more or less than its length would give it"
    assert f"{told} (2 of 2 have samples enough to be tested)." in section.text


def test_few_samples_show_nothing(tmp_path: Path) -> None:
    section = card_section(run_of(tmp_path, [film(0)]))
    assert {row[6] for row in tables(section.text)[-1][1:]} == {"too few samples"}
    told = "with so few samples, none of 2 can be told from chance. It takes 7 samples of each."
    assert f"Nothing is claimed of any part: {told}" in section.text


def test_examples_are_one_right_and_one_wrong(run: LoadedRun) -> None:
    section = card_section(run)
    assert [picture.file for picture in section.pictures] == ["gilot/heat_1.png", "gilot/heat_2.png"]
    assert [picture.description.partition(".")[0] for picture in section.pictures] == [
        "Heat map of the prompt of films, document 0, answered right",
        "Heat map of the prompt of films, document 2, answered wrong",
    ]
    for picture in section.pictures:
        assert re.search(rf"!\[[^\]]+\]\({picture.file}\)", section.text)


def test_without_faithfulness_nothing_is_claimed(run: LoadedRun) -> None:
    text = card_section(run).text
    assert "Not measured for this run: nothing here shows that the scores rank the words rightly." in text
    assert "- Whether the ranking is faithful to the model was not measured." in text


def test_a_method_that_does_not_beat_its_control_makes_no_claim(run: LoadedRun) -> None:
    (run.folder / f"faithfulness_{run.date}.json").write_text(factories.FAITHFULNESS.model_dump_json())
    section = card_section(run)
    *_, rows = tables(section.text)
    assert [(row[0], row[1], row[8]) for row in rows[1:]] == [
        ("similarity, delete", "ot", "beaten"),
        ("similarity, delete", "kl", "not beaten"),
    ]
    assert "- similarity, delete: ot ranks words better than every control." in section.text
    assert "- similarity, delete: kl: no claim, because it does not beat random." in section.text
    assert "kl ranks words better" not in section.text
    assert section.pictures[-1].file == "gilot/faithfulness.png"


def test_a_broken_faithfulness_file_is_refused(run: LoadedRun) -> None:
    (run.folder / f"faithfulness_{run.date}.json").write_text('{"samples": 3}')
    with pytest.raises(ArtifactError, match="schema_version"):
        card_section(run)


def test_texts_of_prompts_are_no_markdown(tmp_path: Path) -> None:
    section = card_section(run_of(tmp_path, [film(0, text=HOSTILE)]))
    assert "<!--" not in section.text
    rendered = MarkdownIt("commonmark").enable("table").render(section.text)
    assert set(re.findall(r"<([a-z0-9]+)", rendered)) == {
        *("h2", "h3", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "img"),
    }


def test_the_same_run_gives_the_same_section(run: LoadedRun) -> None:
    assert card_section(run).text == card_section(load_run(run.folder)).text


def test_a_run_without_a_manifest_or_results_can_be_told_of(run: LoadedRun) -> None:
    (run.folder / f"results_{run.date}.json").unlink()
    (run.folder / f"attributions_manifest_{run.date}.json").unlink()
    text = card_section(load_run(run.folder)).text
    assert "lm-evaluation-harness wrote no results file" in text
    assert "- The run did not finish" in text


def test_runs_that_cannot_be_told_of_are_refused(tmp_path: Path, run: LoadedRun) -> None:
    with pytest.raises(ArtifactError, match="no scores by method 'l2'"):
        card_section(run, "l2")
    factories.write_run(tmp_path / "empty", [], manifest=factories.make_manifest([]))
    with pytest.raises(ArtifactError, match="no records to tell of"):
        card_section(load_run(tmp_path / "empty"))


def test_samples_that_all_failed_can_be_told_of(tmp_path: Path) -> None:
    section = card_section(run_of(tmp_path, [factories.make_skipped()]))
    assert "No sample was explained." in section.text
    assert section.pictures == ()


def horizons(folder: Path, records: list[dict[str, Any]], configs: dict[str, dict[str, Any]]) -> list[str]:
    factories.write_run(folder, records, manifest=factories.make_manifest(records, configs=configs))
    lines = card_section(load_run(folder)).text.splitlines()
    return [line for line in lines if "was measured; the rest" in line or "approximated by" in line]


def config(**settings: Any) -> dict[str, Any]:
    return GilotConfig(**settings).model_dump(mode="json")


def test_the_horizon_is_that_of_the_samples_that_have_one(tmp_path: Path) -> None:
    """A task of choices has none, whatever its settings say."""
    other = "e" * 64
    free, chosen = film(0), factories.make_record(doc_id=1, choices=factories.CHOICES)
    chosen = factories.edited(chosen, lambda record: record.update(config_hash=other))
    paper = config(preset="paper", num_beams=3, max_new_tokens=7)
    answer, beams = (
        "- What decided the first 5 tokens of the model's answer was measured; the rest of the answer is not "
        "explained.",
        "- Everything the model might say is approximated by 3 continuations of up to 7 tokens.",
    )
    both = [free, chosen]
    assert horizons(tmp_path / "a", both, {factories.CONFIG_HASH: config(), other: paper}) == [answer]
    assert horizons(tmp_path / "b", both, {factories.CONFIG_HASH: paper, other: config()}) == [beams]
    assert horizons(tmp_path / "c", [chosen], {factories.CONFIG_HASH: paper, other: paper}) == []
    assert horizons(tmp_path / "d", [free], {factories.CONFIG_HASH: {"hypotheses": "response"}}) == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({}, "the part of the model's answer that the metric saw was measured; the rest"),
        (
            {"reason": "the filter finds nothing"},
            "the first 5 tokens of the model's answer was measured; the rest",
        ),
        ({"explain": "end"}, "the last 5 tokens of the model's answer was measured; the rest"),
        ({"explain": "all"}, "the model's whole answer was measured."),
        ({"explain": "regex"}, "the part of the model's answer that a pattern finds was measured; the rest"),
    ],
)
def test_the_part_of_the_answer_that_was_explained_is_told(
    tmp_path: Path, answer: dict[str, Any], expected: str
) -> None:
    record = factories.edited(factories.make_estimated(), lambda one: one["answer"].update(answer))
    factories.write_run(
        tmp_path,
        [record],
        manifest=factories.make_manifest([record], configs={factories.CONFIG_HASH: config()}),
    )
    (line,) = (one for one in card_section(load_run(tmp_path)).text.splitlines() if "What decided" in one)
    assert line.startswith(f"- What decided {expected}")


def test_sets_of_absent_words_are_not_said_to_be_one_at_a_time(tmp_path: Path) -> None:
    for record, expected in ((factories.make_estimated(), False), (film(0), True)):
        folder = tmp_path / str(expected)
        factories.write_run(folder, [record])
        assert ("one at a time" in card_section(load_run(folder)).text) is expected
