"""What attaching changes while it lasts, what it leaves behind, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
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
from gilot_plugin.errors import ArtifactError, ConfigError, GilotError
from gilot_plugin.harness.entry.attach import attach
from gilot_plugin.settings.config import GilotConfig
from tests.harness.evaluations import (
    ANSWERS,
    CHEAP,
    ENDINGS,
    essence,
    evaluate,
    explain,
    loadable,
    manifest_in,
    suite_manager,
)

pytestmark = pytest.mark.lm_eval

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


# Ways to call


def test_simple_evaluate_with_settings(make_lm: Callable[..., Any], tmp_path: Path) -> None:
    arguments = {"tasks": loadable([ANSWERS]), "task_manager": suite_manager(), "bootstrap_iters": 0}
    config = GilotConfig(**CHEAP, output_path=tmp_path)
    results = gilot_plugin.simple_evaluate(model=make_lm(), gilot=config, **arguments)
    assert essence(results) == essence(evaluate(make_lm(), [ANSWERS]))
    rows = results["samples"]["answers"]
    assert [row["gilot"] for row in rows] == list(read_run(tmp_path).records)
    assert {row["gilot"]["config_hash"] for row in rows} == set(manifest_in(tmp_path)["configs"])


@pytest.mark.lm_eval(since="0.4.12")
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
    assert run.files.folder is None
    assert all(row["gilot"]["status"] == "ok" for row in results["samples"]["answers"])
    assert list(tmp_path.iterdir()) == []


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
