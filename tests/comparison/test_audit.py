from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import scipy.stats

from gilot_plugin.artifacts.loading import LoadedRun
from gilot_plugin.comparison.audit import Audit, audit_runs
from gilot_plugin.comparison.verdict import audit_json, failures, parse_thresholds, verdict_lines
from gilot_plugin.errors import ArtifactError, ConfigError
from gilot_plugin.statistics.families import ALPHA
from tests.comparison.simulated import DATE, make_record, make_run, noisy_runs


def findings(audit: Audit) -> dict[str, list[str]]:
    """Names of what was found, by kind."""
    return {
        "segments": [f"{found.task} {found.name}" for found in audit.segments if found.is_finding],
        "words": [found.name for found in audit.words if found.is_finding],
        "changes": [found.name for found in audit.changes if found.is_finding],
        "flips": [found.task for found in audit.flips if found.is_finding],
    }


def nothing(audit: Audit) -> bool:
    return not any(findings(audit).values())


def test_the_same_run_twice_shows_nothing() -> None:
    (run,) = noisy_runs(0, 30, 1)
    audit = audit_runs(run, run, noise=[run])
    assert nothing(audit)
    assert all(shift.test.mean == 0 for shift in (*audit.words, *audit.segments))
    assert list(failures(audit, parse_thresholds(["findings,moved,word_shift,right_to_wrong"]))) == []
    told = "On the whole, the attributions are not shown to differ by more than those of repeated base runs."
    assert told in verdict_lines(audit)


@pytest.mark.parametrize("audits", [40, pytest.param(600, marks=pytest.mark.slow)])
def test_two_runs_of_one_model_rarely_show_anything(audits: int) -> None:
    alarms = 0
    for seed in range(audits):
        base, again, repeated = noisy_runs(seed, 24, 3, noise=0.5)
        alarms += not nothing(audit_runs(base, again, noise=[repeated], seed=seed))
    # All kinds of findings together are held to the promised rate.
    assert alarms <= scipy.stats.binom.ppf(0.999, audits, ALPHA)


def test_a_planted_word_is_found() -> None:
    base, tuned, repeated = noisy_runs(1, 40, 3, lifted={"Tuesday": 20.0})
    audit = audit_runs(base, tuned, noise=[repeated])
    found = audit.words[0]
    assert (found.name, found.is_finding) == ("tuesday", True)
    assert found.tuned > found.base + 0.1
    assert found.test.low is not None
    assert found.test.low > 0
    assert set(findings(audit)["segments"]) == {
        f"{task} {name}" for task in ("films", "books") for name in ("question", "description")
    }
    assert "moved" in findings(audit)["changes"]
    (told,) = (line for line in verdict_lines(audit) if "'tuesday'" in line)
    assert told.startswith(f"The word 'tuesday' weighs more: {found.base:.1%} of the attribution before, ")
    assert told.endswith(f"(mean of {found.test.pairs} samples, q < 0.001).")
    assert list(failures(audit, parse_thresholds(["word_shift=0.1", "segment_shift=0.9"]))) == [
        f"largest shift of a word: {found.test.mean:.4g}, at least 0.1 (word_shift)"
    ]


def test_a_shift_that_repeated_runs_show_too_is_no_finding() -> None:
    base, tuned, _ = noisy_runs(1, 40, 3, lifted={"Tuesday": 6.0})
    audit = audit_runs(base, tuned, noise=[tuned])
    for shift in audit.words:
        assert shift.test.floor == pytest.approx(max(abs(shift.test.mean), 1e-3))
    assert findings(audit) == {"segments": [], "words": [], "changes": [], "flips": []}


def test_shifts_and_noise_are_means_over_the_same_documents() -> None:
    base, tuned, repeated = noisy_runs(3, 24, 3)
    few = make_run(repeated.records[:10])
    audit = audit_runs(base, tuned, noise=[few])
    assert len(audit.pairs) == 10
    assert {found.reason for found in audit.unpaired} == {"not in the repeated run"}
    shorter = [make_run(run.records[:10]) for run in (base, tuned)]
    alone = audit_runs(*shorter, noise=[few])
    assert audit.words == alone.words
    assert audit.changes == alone.changes


def test_shifts_below_the_noise_do_not_make_others_findings() -> None:
    """Dropped after the adjustment, shifts below the noise had let chance through among those above it."""
    small = dict.fromkeys(("Answer", "briefly", "Was", "the"), 1.3)
    base, tuned, _ = noisy_runs(4, 40, 3, noise=0.1, lifted=small)
    _, again, _ = noisy_runs(4, 40, 3, noise=0.1, lifted=dict.fromkeys(small, 1.6))
    audit = audit_runs(base, tuned, noise=[again])
    by_name = {shift.name: shift for shift in audit.words}
    for word in small:
        shift = by_name[word.casefold()]
        assert abs(shift.test.mean) < shift.test.floor
        assert (shift.test.p_value, shift.q_value) == (1.0, 1.0)


def test_too_few_samples_say_how_many_it_would_take() -> None:
    base, tuned = noisy_runs(1, 8, 2, lifted={"Tuesday": 20.0})
    lines = verdict_lines(audit_runs(base, tuned))
    (told,) = (line for line in lines if line.startswith("No word can be told from chance"))
    # One of 8 words alone needs a p-value of 0.05 / 4 / 8; 11 signs that are all alike have 1 / 1024.
    assert told.endswith("of 8, each is in too few samples. It takes 11.")


def test_rounding_is_no_finding() -> None:
    base, tuned = noisy_runs(2, 40, 2, noise=0.0, lifted={"Tuesday": 1.0001})
    audit = audit_runs(base, tuned)
    assert all(0 < abs(shift.test.mean) < 1e-3 and shift.test.p_value == 1 for shift in audit.words)
    assert nothing(audit)


def with_answers(answers: Iterable[bool]) -> LoadedRun:
    return make_run(make_record([1.0] * 10, doc=doc, correct=right) for doc, right in enumerate(answers))


def test_answers_that_went_wrong_are_counted() -> None:
    base, tuned = with_answers([True] * 18 + [False] * 2), with_answers([False] * 12 + [True] * 8)
    (flips,) = audit_runs(base, tuned).flips
    assert (flips.judged, flips.base_right, flips.tuned_right) == (20, 18, 8)
    assert (flips.right_to_wrong, flips.wrong_to_right) == (12, 2)
    assert flips.p_value == pytest.approx(scipy.stats.binomtest(2, 14).pvalue)
    assert not flips.of_all
    audit = audit_runs(base, tuned)
    told = list(failures(audit, parse_thresholds(["right_to_wrong=0.5", "right_to_wrong=0.7"])))
    assert told == ["share of the answers that went wrong: 0.6, at least 0.5 (right_to_wrong)"]


def logged(folder: Path, answers: Iterable[bool]) -> LoadedRun:
    """The first three of the answers explained, all of them in lm-eval's file of samples."""
    answers = list(answers)
    folder.mkdir()
    lines = [
        {"doc_id": doc, "doc_hash": f"d{doc}", "filter": name, "metrics": ["acc"], "acc": float(right)}
        for name in ("strict", "flexible")
        for doc, right in enumerate(answers if name == "strict" else [True] * len(answers))
    ]
    (folder / f"samples_films_{DATE}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    records = [make_record([1.0] * 10, doc=doc, correct=right) for doc, right in enumerate(answers[:3])]
    return make_run(records, folder=folder)


def test_all_samples_that_were_logged_count(tmp_path: Path) -> None:
    base = logged(tmp_path / "base", [True] * 30)
    tuned = logged(tmp_path / "tuned", [True] * 10 + [False] * 20)
    audit = audit_runs(base, tuned)
    (flips,) = audit.flips
    assert (flips.judged, flips.right_to_wrong, flips.of_all, flips.is_finding) == (30, 20, True, True)
    assert list(failures(audit, parse_thresholds(["accuracy_drop=0.5"])))
    assert not list(failures(audit, parse_thresholds(["accuracy_drop=0.7"])))


def manifest(**settings: Any) -> Mapping[str, Any]:
    selection = {"strategy": settings.pop("strategy", "first"), "options": settings.pop("options", {})}
    return {"configs": {"a": settings}, "tasks": {"films": {"selection": selection}}}


@pytest.mark.parametrize(
    ("first", "second", "warning"),
    [
        (manifest(num_beams=4), manifest(num_beams=8), "num_beams is 4 in the base run, 8 in the other"),
        (
            manifest(),
            manifest(strategy="incorrect"),
            "samples were chosen by what a model answered (incorrect)",
        ),
        (
            manifest(),
            manifest(strategy="chain", options={"of": [{"strategy": "incorrect"}, {"strategy": "random"}]}),
            "samples were chosen by what a model answered (incorrect)",
        ),
        (
            manifest(),
            manifest(strategy="function"),
            "samples may have been chosen by what a model answered (function)",
        ),
        (manifest(seed=1, batch_size=8), manifest(seed=2, batch_size=2), None),
    ],
)
def test_what_makes_runs_incomparable_is_told(
    first: Mapping[str, Any], second: Mapping[str, Any], warning: str | None
) -> None:
    records = [make_record([1.0] * 10, doc=doc) for doc in range(30)]
    base, tuned = make_run(records, manifest=first), make_run(records, manifest=second)
    told = audit_runs(base, tuned, noise=[base]).warnings
    assert told == () if warning is None else any(warning in line for line in told)


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (("runs/base/tiny", "runs/tuned/tiny"), ("tiny (base)", "tiny (tuned)")),
        (("runs/tiny", "runs/tiny"), ("tiny", "tiny")),
    ],
)
def test_models_of_one_name_are_told_apart_by_their_folders(
    folders: tuple[str, str], names: tuple[str, str]
) -> None:
    base, tuned = (make_run([make_record([1.0] * 10)], folder=Path(folder)) for folder in folders)
    audit = audit_runs(base, tuned)
    assert (audit.base, audit.tuned) == names


def test_few_pairs_unpaired_documents_and_a_missing_noise_run_are_told() -> None:
    base = make_run(make_record([1.0] * 10, doc=doc) for doc in range(4))
    tuned = make_run(make_record([1.0] * 10, doc=doc) for doc in range(3))
    audit = audit_runs(base, tuned)
    unpaired, without_noise = audit.warnings
    assert unpaired == "1 documents could not be paired (1: not in the other run)"
    assert "--noise" in without_noise


def test_runs_without_a_common_document_are_refused() -> None:
    with pytest.raises(ArtifactError, match="no document in common: choose samples alike"):
        audit_runs(make_run([make_record([1.0] * 10)]), make_run([make_record([1.0] * 10, doc=1)]))


@pytest.mark.parametrize("planted", [{}, {"Tuesday": 6.0}])
def test_machines_get_strict_json(planted: dict[str, float]) -> None:
    base, tuned, repeated = noisy_runs(5, 24, 3, lifted=planted)
    audit = audit_runs(base, tuned, noise=[repeated])
    content = json.loads(json.dumps(audit_json(audit), allow_nan=False))
    assert content["verdict"] == verdict_lines(audit)
    assert [word["name"] for word in content["words"] if word["is_finding"]] == findings(audit)["words"]
    assert len(content["pairs"]) == 24
    assert content["pairs"][0].keys() >= {"task", "doc_id", "moved", "rank_correlation", "flows"}


def test_an_audit_is_the_same_again() -> None:
    base, tuned, repeated = noisy_runs(6, 24, 3)

    def audited() -> str:
        return json.dumps(audit_json(audit_runs(base, tuned, noise=[repeated], seed=3)))

    assert audited() == audited()


@pytest.mark.parametrize(
    ("texts", "message"),
    [(["accuracy"], "'accuracy' is unknown; there are findings"), (["moved=much"], "'much' is not a number")],
)
def test_a_wrong_threshold_is_refused(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_thresholds(texts)


def test_thresholds_are_reached_or_not() -> None:
    base, tuned = (
        make_run(make_record([1.0] * 9 + [last], doc=doc) for doc in range(8)) for last in (1.0, 11.0)
    )
    audit = audit_runs(base, tuned)
    # The last word's share goes from 1/10 to 11/20.
    assert list(failures(audit, parse_thresholds(["moved=0.45"])))
    assert not list(failures(audit, parse_thresholds(["moved=0.46"])))


@pytest.mark.parametrize("told", [(None, None), (1000, 1000), (None, 1000), (20, 1000)])
def test_quantities_of_different_runtimes_are_warned_about(told: tuple[int | None, int | None]) -> None:
    base, tuned = noisy_runs(0, 6, 2)
    for run, count in zip((base, tuned), told, strict=True):
        for record in run.records:
            record.diagnostics["told_tokens"] = count
    (found,) = [text for text in audit_runs(base, tuned).warnings if "different quantities" in text] or [""]
    assert bool(found) == (told[0] != told[1])
    if found:
        assert "the 1000 likeliest tokens" in found
        assert "kl, l2, js and tv cannot be compared" in found
