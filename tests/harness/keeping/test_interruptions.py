"""Scores that are known are never lost, and neither is a record that was finished."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gilot_plugin.artifacts.reader import read_run
from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.artifacts.writer import RecordWriter
from gilot_plugin.attribution.methods import PromptMethod
from gilot_plugin.errors import ArtifactError
from gilot_plugin.harness.entry.attach import attach
from gilot_plugin.harness.explaining import plugin as attributor
from gilot_plugin.hookspecs import hookimpl
from tests.harness.evaluations import (
    ANSWERS,
    CHEAP,
    ENDINGS,
    artifacts_in,
    essence,
    evaluate,
    explain,
    lines_in,
    manifest_in,
    save,
    tracked,
)

pytestmark = pytest.mark.lm_eval


class Method:
    """Offers a method that raises at the third sample."""

    def __init__(self, error: type[BaseException]) -> None:
        self.samples = 0
        self._error = error

    @hookimpl
    def gilot_attribution_methods(self) -> tuple[PromptMethod, ...]:
        def score(context: Any) -> list[float]:
            self.samples += 1
            if self.samples == 3:
                raise self._error("third sample")
            return [1.0 for _ in context.units]

        return (PromptMethod("third_raises", "", score),)


def test_ctrl_c_keeps_results_and_records(
    make_lm: Callable[..., Any],
    tmp_path: Path,
    plugged: Callable[[Any], Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain = evaluate(make_lm(), [ANSWERS])
    plugged(Method(KeyboardInterrupt))
    with attach({**CHEAP, "methods": ["l2", "third_raises"]}) as attachment:
        tracker, results = tracked(make_lm(), tmp_path)
        rows = results["samples"]["answers"]
        assert ["gilot" in row for row in rows] == [True, True, False, False]
        date = save(tracker, results)
    assert attachment.interrupted
    assert len((tmp_path / "tiny__llama" / f"samples_answers_{date}.jsonl").read_text().splitlines()) == 4
    assert results["results"] == plain["results"]
    manifest = manifest_in(tmp_path)
    assert (manifest["status"], manifest["date"]) == ("interrupted", date)
    assert [choice["doc_id"] for choice in manifest["tasks"]["answers"]["selection"]["chosen"]] == [
        0,
        1,
        2,
        3,
    ]
    assert manifest["tasks"]["answers"]["records"] == {"ok": 2, "skipped": 0, "failed": 0}
    assert [record["doc_id"] for record in read_run(tmp_path).records] == [0, 1]
    assert validate_path(tmp_path).problems == ()
    assert "interrupted: 2 of 4 chosen samples are explained" in caplog.text


def test_ctrl_c_while_samples_are_chosen(
    make_lm: Callable[..., Any], tmp_path: Path, plugged: Callable[[Any], Any]
) -> None:
    class Impatient:
        @hookimpl
        def gilot_select_samples(self, task: str) -> None:
            if task == "endings":
                raise KeyboardInterrupt

    plugged(Impatient())
    results, run = explain(make_lm(), [ANSWERS, ENDINGS], CHEAP, tmp_path)
    assert essence(results) == essence(evaluate(make_lm(), [ANSWERS, ENDINGS]))
    assert (run.records, run.status) == ([], "interrupted")
    assert manifest_in(tmp_path)["status"] == "interrupted"
    assert validate_path(tmp_path).problems == ()


def test_process_that_is_killed_leaves_what_it_has(
    make_lm: Callable[..., Any], tmp_path: Path, plugged: Callable[[Any], Any]
) -> None:
    """What lies on the disk in the middle of the run is what would be left."""
    found: list[tuple[str, int]] = []

    class Observer:
        @hookimpl
        def gilot_record_written(self, path: Path) -> None:
            found.append((manifest_in(tmp_path)["status"], len(read_run(tmp_path).records)))
            assert path.name in artifacts_in(tmp_path)
            assert validate_path(tmp_path).problems == ()

    plugged(Observer())
    explain(make_lm(), [ANSWERS], CHEAP, tmp_path)
    assert found == [("interrupted", count) for count in (1, 2, 3, 4)]
    assert manifest_in(tmp_path)["status"] == "complete"


def test_full_disk_does_not_lose_the_scores(
    make_lm: Callable[..., Any], tmp_path: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    write, written = RecordWriter.write, []

    def fill(self: RecordWriter, record: Mapping[str, Any]) -> None:
        if len(written) == 2:
            raise ArtifactError("no space left on device")
        written.append(record)
        write(self, record)

    monkeypatch.setattr(RecordWriter, "write", fill)
    with attach(CHEAP, tmp_path) as attachment:
        results = evaluate(make_lm(), [ANSWERS])
    assert essence(results) == essence(evaluate(make_lm(), [ANSWERS]))
    assert attachment.interrupted
    assert "no space left on device" in caplog.text
    assert len(read_run(tmp_path).records) == 2
    assert manifest_in(tmp_path)["status"] == "interrupted"


HOOKS_AFTER_SCORING = (
    "gilot_select_samples",
    "gilot_attribute_samples",
    "gilot_write_record",
    "gilot_record_written",
    "gilot_run_finished",
)


@pytest.mark.parametrize("hook", HOOKS_AFTER_SCORING)
def test_hook_with_a_bug_does_not_lose_the_scores(
    make_lm: Callable[..., Any], tmp_path: Path, plugged: Callable[[Any], Any], hook: str
) -> None:
    def fail(self: Any) -> Any:
        raise ZeroDivisionError(hook)

    plain = evaluate(make_lm(), [ANSWERS])
    plugged(type("Broken", (), {hook: hookimpl(fail)})())
    with attach(CHEAP, tmp_path) as attachment:
        results = evaluate(make_lm(), [ANSWERS])
    assert essence(results) == essence(plain)
    (run,) = attachment.runs
    # A strategy's error is the task's; the others stop the run.
    assert attachment.interrupted == (hook != "gilot_select_samples")
    assert (run.chosen["answers"].error is None) == (hook != "gilot_select_samples")


def test_what_has_begun_is_finished_when_the_budget_is_over(
    make_lm: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The samples of a task went through the model together: their costs are spent."""

    class Clock:
        def __init__(self, budget: Any) -> None: ...

        @property
        def is_over(self) -> bool:
            return len(lines_in(tmp_path)) > 0

    monkeypatch.setattr("gilot_plugin.harness.explaining.explain.Clock", Clock)
    everything = "gilot_plugin.harness.explaining.explain.affordable"
    monkeypatch.setattr(everything, lambda samples, *_: list(samples))
    _, run = explain(make_lm(), [ANSWERS, ENDINGS], {**CHEAP, "budget": {"minutes": 60}}, tmp_path)
    assert [(record["task"], record["doc_id"]) for record in run.records] == [
        ("answers", number) for number in range(4)
    ]
    assert run.chosen["endings"].left_out == (0, 1, 2, 3)
    assert (run.status, len(lines_in(tmp_path))) == ("complete", 4)
    assert validate_path(tmp_path).problems == ()


def test_ctrl_c_keeps_records_that_came_out_of_order(
    make_lm: Callable[..., Any],
    tmp_path: Path,
    plugged: Callable[[Any], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together = attributor.Explainer._together

    class Impatient:
        """Presses Ctrl-C once."""

        pressed = False

        @hookimpl
        def gilot_record_written(self) -> None:
            if not self.pressed:
                self.pressed = True
                raise KeyboardInterrupt

    monkeypatch.setattr(attributor.Explainer, "_together", lambda *given: reversed(list(together(*given))))
    plugged(Impatient())
    _, run = explain(make_lm(), [ANSWERS], CHEAP, tmp_path)
    assert run.status == "interrupted"
    assert sorted(lines_in(tmp_path)) == [("answers", number) for number in range(4)]
