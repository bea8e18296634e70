"""What attaching changes while it lasts, what it leaves behind, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import lm_eval
import lm_eval.evaluator
import pytest
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.huggingface import HFLM

import gilot_plugin
from gilot_plugin.artifacts.reader import read_run
from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.artifacts.writer import RecordWriter
from gilot_plugin.attribution.methods import PromptMethod
from gilot_plugin.config import GilotConfig
from gilot_plugin.errors import ArtifactError, ConfigError, GilotError
from gilot_plugin.harness.attach import attach
from gilot_plugin.hookspecs import hookimpl
from gilot_plugin.plugins import manager
from tests.harness.evaluations import (
    SETTINGS,
    choices_task,
    essence,
    evaluate,
    explain,
    generation_task,
    inline_task,
    suite_manager,
)

QUESTIONS = ["What is the capital of France?", "Which animal can fly?", "Say 3.", "One, two, three?"]
ANSWERS = generation_task("answers", QUESTIONS)
ENDINGS = choices_task("endings", [(question, [" dog", " can fly"]) for question in QUESTIONS])
CHEAP = {**SETTINGS, "units": "segment", "methods": ["l2"]}


def manifest_in(folder: Path) -> Mapping[str, Any]:
    (path,) = folder.rglob("attributions_manifest_*.json")
    return json.loads(path.read_text())


def artifacts_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("attributions_*")}


# What is restored


def attached_objects() -> tuple[Any, ...]:
    return (
        lm_eval.evaluator.simple_evaluate,
        lm_eval.simple_evaluate,
        lm_eval.evaluator.evaluate,
        EvaluationTracker.save_results_aggregated,
    )


def test_everything_is_restored(make_lm: Callable[..., Any]) -> None:
    lm, before = make_lm(), attached_objects()
    own = dict(vars(lm))
    with attach(CHEAP):
        assert all(now is not then for now, then in zip(attached_objects(), before, strict=True))
        evaluate(lm, [ANSWERS, ENDINGS])
    assert attached_objects() == before
    assert dict(vars(lm)) == own


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_everything_is_restored_after_an_error(
    make_lm: Callable[..., Any], monkeypatch: Any, tmp_path: Path, error: type[BaseException]
) -> None:
    lm, before = make_lm(), attached_objects()

    def fail(*_: Any, **__: Any) -> Any:
        raise error("in the middle of scoring")

    monkeypatch.setattr(lm, "_model_generate", fail)
    own = dict(vars(lm))
    with pytest.raises(error, match="in the middle"), attach(CHEAP, tmp_path):
        evaluate(lm, [ENDINGS, ANSWERS])
    assert attached_objects() == before
    assert dict(vars(lm)) == own
    assert list(tmp_path.iterdir()) == []


def test_method_of_the_object_itself_is_restored(make_lm: Callable[..., Any]) -> None:
    lm = make_lm()
    own = lm.generate_until = lm.generate_until
    with attach(CHEAP):
        evaluate(lm, [ANSWERS])
    assert vars(lm)["generate_until"] is own


def test_blocks_do_not_nest(make_lm: Callable[..., Any]) -> None:
    before = attached_objects()
    with attach(CHEAP) as outer:
        attached = attached_objects()
        with pytest.raises(GilotError, match="active already"), attach(CHEAP):
            pytest.fail("the inner block must not begin")
        with pytest.raises(GilotError, match="active already"):
            gilot_plugin.simple_evaluate(model=make_lm(), tasks=[ANSWERS], gilot=CHEAP)
        assert attached_objects() == attached
        evaluate(make_lm(), [ANSWERS])
    assert len(outer.runs[0].records) == 4
    assert attached_objects() == before


# Ways to call


def test_simple_evaluate_with_settings(make_lm: Callable[..., Any], tmp_path: Path) -> None:
    arguments = {"tasks": [ANSWERS], "task_manager": suite_manager(), "bootstrap_iters": 0}
    config = GilotConfig(**CHEAP, output_path=tmp_path)
    results = gilot_plugin.simple_evaluate(model=make_lm(), gilot=config, **arguments)
    assert essence(results) == essence(evaluate(make_lm(), [ANSWERS]))
    rows = results["samples"]["answers"]
    assert [row["gilot"] for row in rows] == list(read_run(tmp_path).records)
    assert {row["gilot"]["config_hash"] for row in rows} == set(manifest_in(tmp_path)["configs"])


def test_evaluate_by_itself(make_lm: Callable[..., Any], tmp_path: Path) -> None:
    """Without ``simple_evaluate`` around it, with tasks as lm-eval gave them before 0.4.12."""
    loaded = suite_manager().load([ANSWERS, ENDINGS])["tasks"]
    with attach(CHEAP, tmp_path) as attachment:
        results = lm_eval.evaluator.evaluate(
            lm=make_lm(), task_dict={"group": dict(loaded)}, bootstrap_iters=0
        )
    assert set(results["samples"]) == {"answers", "endings"}
    assert len(attachment.runs[0].records) == 8
    assert validate_path(tmp_path).problems == ()


def test_several_evaluations_in_a_block(make_lm: Callable[..., Any], tmp_path: Path) -> None:
    with attach(CHEAP, tmp_path) as attachment:
        for task in (ANSWERS, ENDINGS):
            evaluate(make_lm(), [task])
    assert [[record["task"] for record in run.records] for run in attachment.runs] == [
        ["answers"] * 4,
        ["endings"] * 4,
    ]
    assert len(list(tmp_path.glob("attributions_manifest_*.json"))) == 2
    assert validate_path(tmp_path).problems == ()


def test_nothing_is_written_unless_a_folder_is_given(
    make_lm: Callable[..., Any], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    results, run = explain(make_lm(), [ANSWERS])
    assert run.folder is None
    assert all(row["gilot"]["status"] == "ok" for row in results["samples"]["answers"])
    assert list(tmp_path.iterdir()) == []


# Beside lm-eval's own files


def tracked(
    lm: Any, folder: Path, model_args: str = "pretrained=tiny/llama"
) -> tuple[EvaluationTracker, Any]:
    """An evaluation as the command line does it, up to the results."""
    tracker = EvaluationTracker(output_path=str(folder))
    results = evaluate(lm, [ANSWERS], evaluation_tracker=tracker, model_args=model_args)
    return tracker, results


def save(tracker: EvaluationTracker, results: Any) -> str:
    """Write lm-eval's files; returns their date."""
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    tracker.save_results_samples(task_name="answers", samples=samples["answers"])
    return tracker.date_id


@pytest.mark.parametrize("name", ["results", "results/file.json"])
def test_artifacts_have_the_folder_and_date_of_the_samples(
    make_lm: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    with attach(CHEAP):
        tracker, results = tracked(make_lm(), tmp_path / name)
        date = save(tracker, results)
    folder = tmp_path / "results" if name.endswith(".json") else tmp_path / "results" / "tiny__llama"
    assert (folder / f"samples_answers_{date}.jsonl").exists()
    assert artifacts_in(tmp_path) == {
        f"attributions_answers_{date}.jsonl",
        f"attributions_manifest_{date}.json",
    }
    run = read_run(folder)
    assert len(run.records) == 4
    assert run.records[0]["model"] == "tiny/llama"
    assert manifest_in(folder)["date"] == date
    assert validate_path(tmp_path).problems == ()


def test_each_evaluation_gets_the_date_of_its_own_tracker(
    make_lm: Callable[..., Any], tmp_path: Path
) -> None:
    with attach(CHEAP):
        evaluations = [tracked(make_lm(), tmp_path / name) for name in ("first", "second")]
        dates = [save(tracker, results) for tracker, results in evaluations]
    for name, date in zip(("first", "second"), dates, strict=True):
        assert artifacts_in(tmp_path / name) == {
            f"attributions_answers_{date}.jsonl",
            f"attributions_manifest_{date}.json",
        }
    assert validate_path(tmp_path).problems == ()


def test_later_evaluation_without_a_tracker_writes_nothing(
    make_lm: Callable[..., Any], tmp_path: Path
) -> None:
    with attach(CHEAP) as attachment:
        save(*tracked(make_lm(), tmp_path))
        written = artifacts_in(tmp_path)
        loaded = suite_manager().load([ANSWERS])
        lm_eval.evaluator.evaluate(lm=make_lm(), task_dict=loaded, bootstrap_iters=0)
    assert attachment.runs[1].folder is None
    assert artifacts_in(tmp_path) == written


def test_folder_of_the_settings_wins(make_lm: Callable[..., Any], tmp_path: Path) -> None:
    with attach({**CHEAP, "output_path": tmp_path / "own"}):
        date = save(*tracked(make_lm(), tmp_path / "results"))
    assert artifacts_in(tmp_path / "results") == set()
    assert artifacts_in(tmp_path / "own") == {
        f"attributions_answers_{date}.jsonl",
        f"attributions_manifest_{date}.json",
    }


def test_artifacts_that_cannot_be_renamed_do_not_lose_the_samples(
    make_lm: Callable[..., Any], tmp_path: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> Any:
        raise OSError("the disk is gone")

    with attach(CHEAP):
        tracker, results = tracked(make_lm(), tmp_path)
        monkeypatch.setattr(Path, "rename", refuse)
        date = save(tracker, results)
    assert (tmp_path / "tiny__llama" / f"samples_answers_{date}.jsonl").exists()
    assert "the disk is gone" in caplog.text
    assert len(artifacts_in(tmp_path)) == 2


# What is refused before a model loads


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Models that were loaded by name."""
    models: list[Any] = []
    monkeypatch.setattr(HFLM, "create_from_arg_obj", lambda *arguments, **_: models.append(arguments))
    return models


def below_a_file(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file" / "results"


def test_folder_that_cannot_be_written(tmp_path: Path, loaded: list[Any]) -> None:
    path = below_a_file(tmp_path)
    named = {"model": "hf", "model_args": {"pretrained": "x"}, "tasks": [ANSWERS]}
    with pytest.raises(ArtifactError, match=str(path)), attach(CHEAP, path):
        pytest.fail("the block must not begin")
    with pytest.raises(ArtifactError, match=str(path)):
        gilot_plugin.simple_evaluate(**named, gilot={**CHEAP, "output_path": path})
    with attach(CHEAP), pytest.raises(ArtifactError, match=str(path)):
        lm_eval.simple_evaluate(**named, evaluation_tracker=EvaluationTracker(output_path=str(path)))
    assert loaded == []
    assert lm_eval.evaluator.evaluate.__module__ == "lm_eval.evaluator"


def test_folder_is_not_made_before_it_is_needed(tmp_path: Path) -> None:
    with attach(CHEAP, tmp_path / "new" / "folder"):
        assert list(tmp_path.iterdir()) == []


def test_wrong_settings(loaded: list[Any]) -> None:
    with pytest.raises(ConfigError, match="num_beams=0"), attach({"num_beams": 0}):
        pytest.fail("the block must not begin")
    with pytest.raises(ConfigError, match="num_beems"):
        gilot_plugin.simple_evaluate(model="hf", tasks=[ANSWERS], gilot={"num_beems": 3})
    assert loaded == []


def test_wrong_settings_of_a_task_stop_before_the_first_request(
    make_lm: Callable[..., Any], monkeypatch: Any
) -> None:
    lm = make_lm()
    monkeypatch.setattr(
        lm, "generate_until", lambda *_, **__: pytest.fail("nothing must be asked of the model")
    )
    task = {**ANSWERS, "metadata": {"version": 1, "gilot": {"units": "syllable"}}}
    with pytest.raises(ConfigError, match="task answers: units='syllable'"):
        explain(lm, [task])


def test_settings_that_do_not_fit_the_model_stop_before_the_first_request(
    make_lm: Callable[..., Any], monkeypatch: Any
) -> None:
    lm = make_lm()
    monkeypatch.setattr(
        lm, "generate_until", lambda *_, **__: pytest.fail("nothing must be asked of the model")
    )
    with pytest.raises(ConfigError, match="replace_with=4000: allowed are token ids from 0 to 319"):
        explain(lm, [ANSWERS], {"absence": "replace", "replace_with": 4000})


# Interruptions, and errors after the scores are known


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


@pytest.fixture
def plugged() -> Iterator[Callable[[Any], Any]]:
    """Registers plugins for the time of the test."""
    registered: list[Any] = []

    def plug(plugin: Any) -> Any:
        manager().register(plugin)
        registered.append(plugin)
        return plugin

    yield plug
    for plugin in registered:
        manager().unregister(plugin)


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
    "gilot_attribute_sample",
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
    assert (run.selections["answers"].error is None) == (hook != "gilot_select_samples")


def test_hook_with_a_bug_stops_scoring(make_lm: Callable[..., Any], plugged: Callable[[Any], Any]) -> None:
    """Before the scores are known nothing is lost, and nobody takes what comes for an attributed run."""

    class Broken:
        @hookimpl
        def gilot_tokens_fed(self) -> None:
            raise ZeroDivisionError("of the hook")

    plugged(Broken())
    before = attached_objects()
    with pytest.raises(ZeroDivisionError, match="of the hook"):
        explain(make_lm(), [ANSWERS])
    assert attached_objects() == before


# Hooks


class Witness:
    """Notes every hook as it fires."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    @hookimpl
    def gilot_requests_sending(self, run: Any, request_type: str, requests: Any) -> None:
        self.seen.append(("sending", request_type, len(requests)))

    @hookimpl
    def gilot_tokens_fed(self, run: Any, feed: Any) -> None:
        self.seen.append(("fed", feed.context, feed.continuation))

    @hookimpl
    def gilot_requests_answered(self, run: Any, request_type: str, requests: Any, responses: Any) -> None:
        assert len(requests) == len(responses)
        self.seen.append(("answered", request_type, len(responses)))

    @hookimpl
    def gilot_select_samples(self, run: Any, task: str, samples: Any) -> None:
        self.seen.append(("select", task, len(samples)))

    @hookimpl
    def gilot_attribute_sample(self, run: Any, sample: Any) -> None:
        self.seen.append(("attribute", sample.identity.task, sample.identity.doc_id))

    @hookimpl
    def gilot_write_record(self, run: Any, record: Any) -> None:
        self.seen.append(("write", record["task"], record["doc_id"]))

    @hookimpl
    def gilot_record_written(self, run: Any, record: Any, path: Any) -> None:
        self.seen.append(("written", record["task"], path and path.name.rpartition("_")[0]))

    @hookimpl
    def gilot_run_finished(self, run: Any, manifest: Any) -> None:
        self.seen.append(("finished", manifest["status"]))


def test_hooks_fire_in_order(
    make_lm: Callable[..., Any], tmp_path: Path, plugged: Callable[[Any], Any]
) -> None:
    texts = inline_task("texts", "loglikelihood_rolling", [{"text": "", "target": "One, two"}])
    # lm-eval feeds the longest first.
    questions = ["Which animal can fly, and which animal can not?", "Say 3."]
    answers = generation_task("answers", questions)
    endings = choices_task("endings", [(questions[1], ["dog", "bird"])])
    witness = plugged(Witness())
    explain(make_lm(batch_size=1), [answers, endings, texts], CHEAP, tmp_path)
    assert witness.seen == [
        ("sending", "generate_until", 2),
        ("fed", questions[0], None),
        ("fed", questions[1], None),
        ("answered", "generate_until", 2),
        ("sending", "loglikelihood", 2),
        ("fed", questions[1], " dog"),
        ("fed", questions[1], " bird"),
        ("answered", "loglikelihood", 2),
        ("sending", "loglikelihood_rolling", 1),
        ("answered", "loglikelihood_rolling", 1),
        ("select", "answers", 2),
        ("select", "endings", 1),
        ("select", "texts", 1),
        *(
            event
            for task, doc_id in (("answers", 0), ("answers", 1), ("endings", 0), ("texts", 0))
            for event in (
                ("attribute", task, doc_id),
                ("write", task, doc_id),
                ("written", task, f"attributions_{task}"),
            )
        ),
        ("finished", "complete"),
    ]


def test_cached_answers_are_not_announced_again(
    make_lm: Callable[..., Any], tmp_path: Path, plugged: Callable[[Any], Any]
) -> None:
    lm, use_cache = make_lm(), str(tmp_path / "cache")
    explain(lm, [ANSWERS], CHEAP, use_cache=use_cache)
    witness = plugged(Witness())
    _, run = explain(lm, [ANSWERS], CHEAP, use_cache=use_cache)
    assert [record["status"] for record in run.records] == ["ok"] * 4
    events = [event[0] for event in witness.seen]
    assert events == ["select", *["attribute", "fed", "write", "written"] * 4, "finished"]


def test_plugin_may_explain_a_sample_itself(
    make_lm: Callable[..., Any], tmp_path: Path, plugged: Callable[[Any], Any]
) -> None:
    from gilot_plugin.artifacts.records import unattributed_record

    class Reluctant:
        @hookimpl
        def gilot_attribute_sample(self, run: Any, sample: Any) -> Any:
            if sample.identity.doc_id != 1:
                return None
            config = run.tasks[sample.identity.task].config
            reason = "not on Mondays"
            return unattributed_record(
                sample.identity, "skipped", reason, config_hash=config.hash, model=run.model_name
            )

    plugged(Reluctant())
    _, run = explain(make_lm(), [ANSWERS], CHEAP, tmp_path)
    assert [record["status"] for record in run.records] == ["ok", "skipped", "ok", "ok"]
    assert run.records[1]["reason"] == "not on Mondays"
    assert validate_path(tmp_path).problems == ()


def test_model_is_left_as_it_was(make_lm: Callable[..., Any], build_model: Callable[..., Any]) -> None:
    model = build_model()
    model.generation_config.temperature = 0.7
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    settings = (model.config.to_dict(), model.generation_config.to_dict(), model.training)
    hooks = [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()]
    lm = make_lm(model)
    padding = lm.tokenizer.padding_side
    explain(lm, [ANSWERS, ENDINGS], CHEAP)
    assert (model.config.to_dict(), model.generation_config.to_dict(), model.training) == settings
    assert all(weights[name].equal(weight) for name, weight in model.state_dict().items())
    assert [
        (len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()
    ] == hooks
    assert lm.tokenizer.padding_side == padding
