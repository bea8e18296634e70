"""``--model vllm`` and ``--model hf`` on the same checkpoint, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from tests.harness.evaluations import ROLLING, essence, evaluate, explain, fed_ids, inline_task

pytestmark = pytest.mark.vllm

CONTINUATION = inline_task(
    "continuations", "loglikelihood", [{"text": "The capital of France is", "target": " Paris"}]
)
TASKS = ["gilot_short_answers", "gilot_two_shot_choices", CONTINUATION, ROLLING]

SETTINGS = {"num_threads": 1, "max_new_tokens": 3, "methods": ["ot", "kl", "l2", "logprob"]}


def by_document(run: Any) -> dict[tuple[str, int], Any]:
    return {(record["task"], record["doc_id"]): record for record in run.records}


def test_scores_are_untouched_and_records_those_of_hf(engine_lm: Any, smollm2_folder: Path) -> None:
    plain = evaluate(engine_lm, TASKS, limit=2)
    explained, run = explain(engine_lm, TASKS, SETTINGS, limit=2)
    assert essence(explained) == essence(plain)
    arguments = {"pretrained": str(smollm2_folder), "dtype": "float32"}
    _, beside = explain("hf", TASKS, SETTINGS, model_args=arguments, device="cpu", batch_size=1, limit=2)
    found, expected = by_document(run), by_document(beside)
    assert found.keys() == expected.keys()
    furthest, ranks = 0.0, []
    for document, record in found.items():
        other = expected[document]
        assert record["status"] == other["status"] == "ok", record["reason"]
        assert fed_ids(record) == fed_ids(other)
        assert record["units"] == other["units"]
        assert record.get("answer") == other.get("answer")
        ours, theirs = (np.array(one["scores"]["ot"]) for one in (record, other))
        # What is not told of without a word has no mass there: little, but of large scores that is more.
        assert ours == pytest.approx(theirs, abs=1e-3, rel=5e-3), document
        bounds = np.array(record["diagnostics"]["transport_bounds"])
        assert (bounds[:, 0] - 1e-5 <= theirs).all()
        assert (theirs <= bounds[:, 1] + 1e-5).all()
        furthest = max(furthest, float(np.abs(ours - theirs).max()))
        ranks.append(float(spearmanr(ours, theirs).statistic))
        if record["target"]["kind"] == "choices":
            assert record["scores"]["kl"] == pytest.approx(other["scores"]["kl"], abs=1e-3)
            assert record["diagnostics"].get("told_tokens") is None
        else:
            assert record["diagnostics"]["told_tokens"] == 2000
    print(
        f"\n{len(found)} records, ot {furthest:.1e} from hf at most, rank correlations from {min(ranks):.4f}"
    )
    assert min(ranks) > 0.98


@pytest.mark.parametrize("hypotheses", ["shared", "regenerate"])
def test_searched_hypotheses(engine_lm: Any, smollm2_folder: Path, hypotheses: str) -> None:
    settings = {**SETTINGS, "hypotheses": hypotheses, "num_beams": 2, "units": "segment"}
    _, run = explain(engine_lm, TASKS[:1], settings, limit=1)
    arguments = {"pretrained": str(smollm2_folder), "dtype": "float32"}
    _, beside = explain("hf", TASKS[:1], settings, model_args=arguments, device="cpu", batch_size=1, limit=1)
    for ours, theirs in zip(run.records, beside.records, strict=True):
        texts = [[one["text"] for one in record["target"]["hypotheses"]] for record in (ours, theirs)]
        assert texts[0] == texts[1]
        assert ours["scores"]["ot"] == pytest.approx(theirs["scores"]["ot"], abs=1e-3)
