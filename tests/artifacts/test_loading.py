from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import gilot_plugin
from gilot_plugin import LoadedRun, load_run
from gilot_plugin.artifacts.names import attributions_name
from gilot_plugin.errors import ArtifactError
from tests.artifacts import factories


def sample(doc_id: int, **changes: Any) -> dict[str, Any]:
    """As lm-eval logs one."""
    return {
        "doc_id": doc_id,
        "doc": {"title": f"film {doc_id}"},
        "target": " no",
        "filter": "none",
        "doc_hash": f"d{doc_id}",
        "prompt_hash": f"p{doc_id}",
        "target_hash": f"t{doc_id}",
    } | changes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two films, one skipped, and one choice, with lm-eval's files beside them."""
    choice = factories.make_record("pairs", 0, choices=factories.CHOICES)
    records = [
        factories.make_record(),
        factories.make_skipped(doc_id=1),
        factories.edited(choice, lambda record: record["target"].update(margin=0.25, gold=[1])),
    ]
    factories.write_run(tmp_path, records)
    (tmp_path / f"results_{factories.DATE}.json").write_text(json.dumps(factories.RESULTS))
    factories.write_lines(
        tmp_path / f"samples_films_{factories.DATE}.jsonl",
        [sample(9), sample(0), sample(0, filter="strict"), sample(1, prompt_hash="other")],
    )
    return tmp_path


def test_records_have_names_and_types(folder: Path) -> None:
    run = load_run(folder)
    film, skipped, choice = run.records
    assert run.tasks == ("films", "pairs")
    assert run.explained == (film, choice)
    assert film.key == ("films", 0, "d0", "p0", "t0")
    assert film.prompt == factories.TEXT
    assert [film.prompt[start:end] for start, end in film.spans] == [unit.text for unit in film.units]
    assert film.scores["ot"] == factories.make_attribution().scores["ot"]
    assert film.flows[0] == (factories.make_attribution().flows[0][0],)
    assert film.correct is True
    assert film.target is not None
    assert film.target.hypotheses == factories.HYPOTHESES
    assert film.target.response == " no"
    assert (skipped.status, skipped.reason, skipped.target) == ("skipped", "the prompt is empty", None)
    assert choice.target is not None
    assert choice.target.choices == factories.CHOICES
    assert (choice.target.margin, choice.target.gold) == (0.25, (1,))


def test_a_run_can_be_named_by_any_of_its_files(folder: Path) -> None:
    runs = [
        load_run(place)
        for place in (str(folder), folder, folder / attributions_name("films", factories.DATE))
    ]
    assert {len(run.records) for run in runs} == {3}
    assert {run.date for run in runs} == {factories.DATE}


def test_the_newest_run_is_read_unless_another_is_asked_for(folder: Path) -> None:
    factories.write_run(folder, [factories.make_record(doc_id=5)], date=factories.LATER)
    assert [record.doc_id for record in load_run(folder).records] == [5]
    assert len(load_run(folder, date=factories.DATE).records) == 3


def test_impossible_and_old_choices_are_read() -> None:
    record = factories.make_record("pairs", choices=factories.CHOICES)

    def change(record: dict[str, Any]) -> None:
        record["target"]["choices"][0]["logprob"] = None
        for choice in record["target"]["choices"]:
            choice.pop("normalized_logprob", None)

    found = gilot_plugin.Record.from_json(factories.edited(record, change)).target
    assert found is not None
    assert found.choices[0].logprob == -math.inf
    assert math.isnan(found.choices[1].normalized_logprob)


def test_scores_come_from_lm_eval(folder: Path) -> None:
    evaluation = load_run(folder).evaluation
    assert evaluation is not None
    films = evaluation.tasks["films"]
    assert [(score.name, score.value, score.stderr, score.higher_is_better) for score in films.scores] == [
        ("exact_match", 0.5, 0.1, True),
        ("exact_match,strict", 0.25, None, True),
    ]
    assert (films.version, films.num_fewshot, films.samples) == ("2.0", 3, 10)
    assert evaluation.arguments == {"model": "hf"}


def test_samples_join_by_all_hashes(folder: Path) -> None:
    run = load_run(folder)
    assert [found["doc_id"] for found in run.samples("films")] == [9, 0, 0, 1]
    assert list(run.samples("pairs")) == []
    # Of several filters the first; and what was asked otherwise is another sample.
    assert run.sample_of == {run.records[0].key: sample(0)}


def test_without_files_of_lm_eval_there_are_records_only(tmp_path: Path) -> None:
    factories.write_run(tmp_path, [factories.make_record()])
    run = load_run(tmp_path)
    assert run.evaluation is None
    assert run.sample_of == {}


def test_a_table_has_a_row_a_unit(folder: Path) -> None:
    run = load_run(folder)
    table = run.to_pandas()
    assert len(table) == sum(len(record.units) for record in run.explained)
    first = table[(table["task"] == "films") & (table["unit"] == 3)].iloc[0]
    assert (first["text"], first["segment"], first["doc_id"], first["model"]) == (
        *(" not", "content", 0),
        factories.MODEL,
    )
    assert factories.TEXT[first["start"] : first["end"]] == " not"
    assert first["ot"] == run.records[0].scores["ot"][3]
    assert first["metric:exact_match,none"] == 1.0


def test_a_data_set_has_the_same_rows(folder: Path) -> None:
    run = load_run(folder)
    found = run.to_dataset()
    table = run.to_pandas()
    assert found.column_names == list(table.columns)
    assert found["text"][:] == table["text"].to_list()
    assert found["ot"][:] == table["ot"].to_list()


def test_the_artifacts_load_as_a_data_set(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    import datasets

    found = datasets.load_dataset(
        "json",
        data_files=str(folder / attributions_name("pairs", factories.DATE)),
        split="train",
        cache_dir=str(tmp_path_factory.mktemp("cache")),
    )
    assert found["doc_id"][:] == [0]
    assert found[0]["scores"]["ot"] == list(load_run(folder).records[2].scores["ot"])


def test_a_run_without_explained_samples_gives_an_empty_table(tmp_path: Path) -> None:
    factories.write_run(tmp_path, [factories.make_skipped()])
    run = load_run(tmp_path)
    assert run.to_pandas().empty
    assert len(run.to_dataset()) == 0


def broken(record: dict[str, Any]) -> None:
    record["scores"]["ot"] = record["scores"]["ot"][1:]


def test_a_broken_record_is_refused(tmp_path: Path) -> None:
    factories.write_run(tmp_path, [factories.make_record()])
    factories.write_lines(
        tmp_path / attributions_name("films", factories.DATE),
        [factories.edited(factories.make_record(), broken)],
    )
    with pytest.raises(ArtifactError, match=r"'films', document 0, is broken.*gilot validate"):
        load_run(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"results": 3}', '{"results": {"films": 3}}'])
def test_results_that_are_not_lm_eval_s_are_refused(folder: Path, content: str) -> None:
    (folder / f"results_{factories.DATE}.json").write_text(content)
    with pytest.raises(ArtifactError, match="not a results file of lm-eval"):
        _ = load_run(folder).evaluation


@pytest.mark.parametrize("content", ["{", "[]", "{}", "3"])
def test_samples_that_are_not_lm_eval_s_are_refused(folder: Path, content: str) -> None:
    (folder / f"samples_films_{factories.DATE}.jsonl").write_text(content + "\n")
    with pytest.raises(ArtifactError, match=r"jsonl:1 is not a sample of lm-eval"):
        list(load_run(folder).samples("films"))


def test_a_folder_without_a_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="there is no such folder"):
        load_run(tmp_path / "nowhere")


def test_what_users_need_is_at_the_top() -> None:
    assert {"load_run", "LoadedRun", "Record"} <= set(gilot_plugin.__all__)
    assert LoadedRun.__doc__
