"""The hooks around an evaluation, as a plugin of another package sees them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.extension import unattributed_record
from gilot_plugin.hookspecs import hookimpl
from tests.harness.evaluations import (
    ANSWERS,
    CHEAP,
    choices_task,
    essence,
    evaluate,
    explain,
    generation_task,
    inline_task,
    manifest_in,
)

pytestmark = pytest.mark.lm_eval


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
    def gilot_attribute_samples(self, run: Any, samples: Any) -> Any:
        for sample in samples:
            self.seen.append(("attribute", sample.identity.task, sample.identity.doc_id))
            yield sample, None

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
        # Two samples do not fill the device and are explained together.
        *(
            event
            for task, doc_ids in (("answers", (0, 1)), ("endings", (0,)), ("texts", (0,)))
            for event in (
                *(("attribute", task, doc_id) for doc_id in doc_ids),
                *(
                    told
                    for doc_id in doc_ids
                    for told in (("write", task, doc_id), ("written", task, f"attributions_{task}"))
                ),
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
    assert events == ["select", *["attribute", "fed"] * 4, *["write", "written"] * 4, "finished"]


def test_plugin_may_explain_a_sample_itself(
    make_lm: Callable[..., Any], tmp_path: Path, plugged: Callable[[Any], Any]
) -> None:
    class Reluctant:
        @hookimpl
        def gilot_attribute_samples(self, run: Any, samples: Any) -> Any:
            for sample in samples:
                task = run.tasks[sample.identity.task]
                mine = unattributed_record(
                    sample.identity,
                    "skipped",
                    "not on Mondays",
                    config_hash=task.config_hash,
                    model=run.model_name,
                )
                yield sample, mine if sample.identity.doc_id == 1 else None

    plugged(Reluctant())
    _, run = explain(make_lm(), [ANSWERS], CHEAP, tmp_path)
    assert [record["status"] for record in run.records] == ["ok", "skipped", "ok", "ok"]
    assert run.records[1]["reason"] == "not on Mondays"
    assert validate_path(tmp_path).problems == ()


@pytest.mark.parametrize("hook", ["gilot_requests_sending", "gilot_tokens_fed", "gilot_requests_answered"])
def test_hook_with_a_bug_does_not_stop_scoring(
    make_lm: Callable[..., Any],
    plugged: Callable[[Any], Any],
    caplog: pytest.LogCaptureFixture,
    hook: str,
) -> None:
    """Hours may have gone into the answers that it was to look at."""

    def fail(self: Any) -> None:
        raise ZeroDivisionError("of the hook")

    plain = evaluate(make_lm(), [ANSWERS])
    plugged(type("Broken", (), {hook: hookimpl(fail)})())
    results, run = explain(make_lm(), [ANSWERS], CHEAP)
    assert essence(results) == essence(plain)
    assert [record["status"] for record in run.records] == ["ok"] * 4
    assert caplog.text.count(f"a plugin failed in {hook}") == 1


def test_run_is_on_the_disk_before_plugins_hear_that_it_is_finished(
    make_lm: Callable[..., Any], tmp_path: Path, plugged: Callable[[Any], Any]
) -> None:
    class Broken:
        @hookimpl
        def gilot_run_finished(self) -> None:
            assert manifest_in(tmp_path)["status"] == "complete"
            raise ZeroDivisionError

    plugged(Broken())
    explain(make_lm(), [ANSWERS], CHEAP, tmp_path)
    assert manifest_in(tmp_path)["status"] == "complete"
