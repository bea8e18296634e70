"""A run in the formats of other tools, read back with these tools."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import datasets
import inseq
import pandas
import pytest
from huggingface_hub import DatasetCard

from gilot_plugin.artifacts.loading import LoadedRun
from gilot_plugin.artifacts.typed import Record
from gilot_plugin.errors import ArtifactError, ConfigError
from gilot_plugin.exports.captum import to_captum
from gilot_plugin.exports.inseq import to_inseq
from gilot_plugin.exports.writing import export_run
from tests.artifacts import factories
from tests.reports.html.pages import HOSTILE, SCORES, loaded


def hostile() -> dict[str, Any]:
    record = factories.make_record("pairs", 3, text=f"<s>User: {HOSTILE}, \ud83d\nAnswer:")

    def change(found: dict[str, Any]) -> None:
        # Of one metric, numbers in some samples and other values in others.
        found["metrics"] = {"exact_match,none": [1, 2], "acc,none": True}

    return factories.edited(record, change)


@pytest.fixture
def run(tmp_path: Path) -> LoadedRun:
    return loaded(
        tmp_path / "run",
        factories.make_record(scores=SCORES),
        factories.make_record("pairs", 0, choices=factories.CHOICES),
        factories.make_skipped("pairs", 1, "no choices"),
        hostile(),
    )


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_the_hub_s_reader_finds_each_table_by_the_card(
    run: LoadedRun, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "out"
    written = export_run(run, form, folder)
    assert [path.name for path in written] == [*(f"{name}.{form}" for name in TABLES), "README.md"]
    assert datasets.get_dataset_config_names(str(folder)) == list(TABLES)
    units = datasets.load_dataset(str(folder), "units", split="train")
    assert list(units["text"])[:6] == [" Is", " the", " film", " not", " good", "?"]
    assert list(units["ot"])[:6] == SCORES["ot"]
    samples = datasets.load_dataset(str(folder), split="train")
    assert list(samples["status"]) == ["ok", "ok", "skipped", "ok"]
    assert samples["prompt"][0] == factories.TEXT
    assert samples["explained"][:3] == [" no", " no", None]
    flows = datasets.load_dataset(str(folder), "flows", split="train")
    assert flows[0] == {
        **{"task": "films", "doc_id": 0, "doc_hash": "d0", "unit": 0},
        **{"from": " no", "to": " yes", "mass": 0.31, "cost": 0.6},
    }


TABLES = ("samples", "units", "flows")


def test_the_card_is_one_of_the_hub(run: LoadedRun, tmp_path: Path) -> None:
    export_run(run, "parquet", tmp_path / "out")
    card = DatasetCard.load(tmp_path / "out" / "README.md")
    assert [config["data_files"] for config in card.data.configs] == [f"{name}.parquet" for name in TABLES]
    assert [config.get("default") for config in card.data.configs] == [True, None, None]
    assert "3 of 4 chosen samples" in card.text


def test_columns_are_of_one_kind(run: LoadedRun, tmp_path: Path) -> None:
    export_run(run, "parquet", tmp_path / "out")
    samples = pandas.read_parquet(tmp_path / "out" / "samples.parquet")
    assert list(samples["metric:exact_match,none"]) == ["1.0", "1.0", "1.0", "[1, 2]"]
    assert samples["metric:acc,none"].dtype == "boolean"
    assert samples["margin"].isna().all()
    assert "\\ud83d" in samples["prompt"][3]


def test_data_sets_on_disk(run: LoadedRun, tmp_path: Path) -> None:
    export_run(run, "hf", tmp_path / "out")
    units = datasets.load_from_disk(tmp_path / "out" / "units")
    assert list(units["kl"])[:6] == SCORES["kl"]
    assert len(datasets.load_from_disk(tmp_path / "out" / "samples")) == 4


def test_inseq_reads_and_shows_the_scores(run: LoadedRun, tmp_path: Path) -> None:
    written = export_run(run, "inseq", tmp_path / "out")
    assert [path.name for path in written] == ["ot.json", "kl.json"]
    found = inseq.FeatureAttributionOutput.load(written[0])
    assert found.info["attribution_method"] == "ot"
    first = found.sequence_attributions[0]
    pieces = [token.token for token in first.target]
    assert "".join(pieces) == factories.TEXT + " no"
    scores = dict(zip(pieces, first.target_attributions[:, 0].tolist(), strict=True))
    assert scores[" not"] == 0.5
    assert scores[" film"] == pytest.approx(0.05)
    assert math.isnan(scores["<s>User:"])
    html = found.show(display=False, return_html=True, do_aggregation=False)
    assert "film" in str(html)


def test_inseq_adds_units_up_as_it_does_tokens(run: LoadedRun) -> None:
    output = to_inseq(run.records, "ot")
    first = output.sequence_attributions[0]
    joined = first.aggregate("spans", target_spans=[(2, 5)])
    assert joined.target_attributions.shape[0] == first.target_attributions.shape[0] - 2


def test_captum_plots_the_scores(run: LoadedRun) -> None:
    result = to_captum(run.records[0])
    assert result.input_tokens == [" Is", " the", " film", " not", " good", "?"]
    assert result.seq_attr.tolist() == pytest.approx(SCORES["ot"])
    assert result.output_tokens == [" no"]
    assert result.plot_seq_attr(show=False) is not None


def test_other_methods_and_samples_are_refused(run: LoadedRun) -> None:
    skipped = next(record for record in run.records if record.status == "skipped")
    with pytest.raises(ValueError, match="no scores by method None"):
        to_captum(skipped)
    with pytest.raises(ValueError, match="no scores by method 'lime'"):
        to_captum(run.records[0], "lime")
    with pytest.raises(ValueError, match="no sample has scores by method 'lime'"):
        to_inseq(run.records, "lime")
    with pytest.raises(ValueError, match="no sample has scores by method None"):
        to_inseq([skipped])


def test_a_format_whose_package_is_missing_says_what_to_install(
    run: LoadedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "inseq", None)
    with pytest.raises(ConfigError, match=r"pip install 'gilot-plugin\[export\]'"):
        export_run(run, "inseq", tmp_path / "out")


def test_a_run_without_explained_samples_is_refused(tmp_path: Path) -> None:
    run = loaded(tmp_path, factories.make_skipped())
    with pytest.raises(ArtifactError, match="no sample of the run was explained"):
        export_run(run, "parquet", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_named(run: LoadedRun, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"file/out: cannot be written"):
        export_run(run, "csv", tmp_path / "file" / "out")


def test_units_without_a_character_of_their_own_count_in_their_piece(run: LoadedRun) -> None:
    record = run.records[0]
    assert isinstance(record, Record)
    lengths = [len(found.target) for found in to_inseq([record]).sequence_attributions]
    assert lengths == [9]
