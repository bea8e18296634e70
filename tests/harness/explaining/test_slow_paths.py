"""A run whose model is read more slowly than it could be says so: screen, manifest and report."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gilot_plugin.artifacts.loading import load_run
from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.backends.tree import reader
from gilot_plugin.harness.entry.attach import attach
from gilot_plugin.harness.entry.summary import print_summary
from gilot_plugin.reports.html.report import report_page
from tests.harness.evaluations import ANSWERS, CHEAP, evaluate, manifest_in

pytestmark = pytest.mark.lm_eval


def explained(lm: Any, folder: Path, **settings: Any) -> tuple[bool, Any, str]:
    """Whether all went well, the manifest's ``cache_use``, and the report."""
    with attach({**CHEAP, **settings}, folder) as attachment:
        evaluate(lm, [ANSWERS])
    well = print_summary(attachment)
    assert validate_path(folder).problems == ()
    return well, manifest_in(folder).get("cache_use"), report_page(load_run(folder))


def test_full_speed_is_no_news(
    make_lm: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    well, used, page = explained(make_lm(), tmp_path)
    assert well
    assert used["tokens_read"] == used["tokens_with_trees"] > 0
    assert (used["key_value_cache"], used["prefix_trees"]) == (True, True)
    assert (used["reason"], used["errors"]) == (None, [])
    for said in (capsys.readouterr().err, page):
        assert "slow:" not in said
        assert "defect" not in said


def test_an_error_of_the_probe_and_its_cost_are_shown(
    make_lm: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    make_tiny_model: Callable[..., Any],
) -> None:
    def broken(*_: Any) -> None:
        raise AttributeError("<b>renamed</b> by the next release")

    monkeypatch.setattr(reader, "Halves", broken)
    # A model of its own: what was found out about the shared one is remembered.
    lm = make_lm(make_tiny_model("llama", max_position_embeddings=512))
    well, used, page = explained(lm, tmp_path, units="token")
    assert well  # the scores are right, only slow
    error = "AttributeError: <b>renamed</b> by the next release"
    assert (used["key_value_cache"], used["prefix_trees"]) == (True, False)
    assert (used["reason"], used["errors"]) == (f"trees cannot be read ({error})", [error])
    assert used["tokens_read"] > 1.3 * used["tokens_with_trees"]
    told = re.sub(r"\s+", " ", capsys.readouterr().err)
    times = f"{used['tokens_read'] / used['tokens_with_trees']:.1f} times"
    for words in (f"slow: every prompt was read by itself, not as prefix trees: {used['reason']}.", times):
        assert words in told
    assert f"defect, of the model or of this package: an error while it was tried out: {error}" in told
    assert "slow: every prompt was read by itself" in page
    assert "&lt;b&gt;renamed" in page
    assert times in page


def test_a_model_without_a_cache(
    make_lm: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make_tiny_model: Callable[..., Any],
) -> None:
    _, used, page = explained(make_lm(make_tiny_model("recurrent_gemma")), tmp_path)
    assert (used["key_value_cache"], used["prefix_trees"], used["errors"]) == (False, False, [])
    for said in (re.sub(r"\s+", " ", capsys.readouterr().err), page):
        assert "slow: every sequence was read whole at every step: padding changes what it predicts." in said


def test_a_run_that_had_nothing_left_to_read_says_what_the_earlier_one_did(
    make_lm: Callable[..., Any], tmp_path: Path
) -> None:
    _, used, _ = explained(make_lm(), tmp_path)
    _, again, _ = explained(make_lm(), tmp_path, resume=tmp_path)
    assert again == used
