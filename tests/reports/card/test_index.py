from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import EvalResult, ModelCard

from gilot_plugin.artifacts.loading import LoadedRun, load_run
from gilot_plugin.errors import ArtifactError
from gilot_plugin.reports.card.index import eval_results, with_eval_results
from tests.artifacts import factories

CARD = b"""---
license:   apache-2.0   # chosen in May
model-index:
- name: mine
  results:
  - task:
      type: text-generation
    dataset:
      type: cais/mmlu
      name: MMLU
    metrics:
    - type: acc
      value: 0.25
tags: [ "a" ,b]
---
# My model
"""

RESULTS: dict[str, Any] = {
    "results": {
        "arc": {"alias": "arc", "acc,none": 0.5, "acc_stderr,none": 0.1, "acc_norm,none": 0.75},
        "own": {"exact_match,first": 0.125, "bleu,none": float("nan")},
    },
    "configs": {
        "arc": {"dataset_path": "allenai/ai2_arc", "dataset_name": "ARC-Easy", "test_split": "test"},
        "own": {"dataset_path": "json", "validation_split": "train"},
    },
    "n-shot": {"arc": 2, "own": 0},
}


@pytest.fixture
def run(tmp_path: Path) -> LoadedRun:
    folder = tmp_path / "run"
    factories.write_run(folder, [factories.make_record()])
    (manifest,) = folder.glob("attributions_manifest_*.json")
    date = json.loads(manifest.read_text())["date"]
    (folder / f"results_{date}.json").write_text(json.dumps(RESULTS))
    return load_run(folder)


def read(card: bytes) -> list[EvalResult]:
    return ModelCard(card.decode("utf-8-sig"), ignore_metadata_errors=False).data.eval_results or []


def values(results: list[EvalResult]) -> set[tuple[str, str, str | None, float]]:
    return {(one.dataset_type, one.metric_type, one.dataset_config, one.metric_value) for one in results}


OURS = {
    ("allenai/ai2_arc", "acc", "ARC-Easy", 0.5),
    ("allenai/ai2_arc", "acc_norm", "ARC-Easy", 0.75),
    ("own", "exact_match", None, 0.125),  # "json" is no data set of the hub
}


@pytest.mark.parametrize(
    "card", [CARD, CARD.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + CARD, b"# No header\n", b""]
)
def test_the_hub_reads_the_scores_and_nothing_else_changes(card: bytes, run: LoadedRun) -> None:
    written = with_eval_results(card, run)
    kept = {("cais/mmlu", "acc", None, 0.25)} if b"MMLU" in card else set()
    assert values(read(written)) == OURS | kept
    own = written.replace(b"\r\n", b"\n")
    for line in (
        line for line in card.replace(b"\r\n", b"\n").split(b"\n") if b"chosen" in line or b"tags" in line
    ):
        assert line in own
    assert (b"\r\n" in written) == (b"\r\n" in card)
    assert written.endswith(
        card.rpartition(b"---")[2] if b"---" in card else card.removeprefix(b"\xef\xbb\xbf")
    )
    assert with_eval_results(written, run) == written


def test_a_new_score_takes_the_place_of_the_old_one(run: LoadedRun) -> None:
    written = with_eval_results(CARD, run)
    older = written.replace(b"value: 0.125", b"value: 0.0625")
    assert older != written
    assert values(read(with_eval_results(older, run))) == OURS | {("cais/mmlu", "acc", None, 0.25)}
    assert read(written)[0].metric_args is None
    assert {one.metric_args["num_fewshot"] for one in eval_results(run)} == {0, 2}


@pytest.mark.parametrize("key", [b"model-index", b'"model-index"'])
def test_results_on_one_line_are_renewed_too(key: bytes, run: LoadedRun) -> None:
    result = b"{task: {type: a}, dataset: {type: b, name: c}, metrics: [{type: acc, value: 1}]}"
    card = b"---\n" + key + b": [{name: mine, results: [" + result + b"]}]\n---\n"
    assert values(read(with_eval_results(card, run))) == OURS | {("b", "acc", None, 1)}


def test_a_header_that_holds_no_more_lines_is_refused(run: LoadedRun) -> None:
    with pytest.raises(ArtifactError, match="write it with one key a line"):
        with_eval_results(b"---\n{license: mit}\n---\n", run)


def test_runs_without_scores_are_refused(tmp_path: Path) -> None:
    factories.write_run(tmp_path, [factories.make_record()])
    with pytest.raises(ArtifactError, match="lm-eval wrote no scores"):
        with_eval_results(CARD, load_run(tmp_path))
