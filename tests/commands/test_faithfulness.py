"""``gilot faithfulness`` on a tiny model, from a run or a file of prompts to the files that it writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gilot_plugin import cli
from gilot_plugin.artifacts.faithfulness import Faithfulness
from gilot_plugin.artifacts.loading import load_run
from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.attribution.methods import PromptMethod
from gilot_plugin.commands import faithfulness_run
from gilot_plugin.faithfulness.store import ValueStore
from gilot_plugin.hookspecs import hookimpl
from gilot_plugin.plugins.manager import manager
from gilot_plugin.reports.card.section import card_section
from gilot_plugin.reports.figures import run_figures
from gilot_plugin.statistics.families import samples_needed
from tests.harness.evaluations import ANSWERS, CHEAP, explain

Faithful = Callable[..., Any]


def figures(folder: Path) -> Faithfulness:
    """The only figures in a folder."""
    (path,) = folder.glob("faithfulness_*.json")
    return Faithfulness.model_validate_json(path.read_bytes())


def written(folder: Path) -> dict[str, bytes]:
    """What the command wrote, by name, but for its store."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if "_work_" not in path.name}


def test_a_run_is_tested_with_its_own_scores_and_prompts(
    faithfulness: Faithful, run_dir: Path, tmp_path: Path
) -> None:
    ended = faithfulness(run_dir, "--output_path", tmp_path, "--absence", "delete,mask")
    assert ended.code == cli.DONE, ended.err
    found = figures(tmp_path)
    assert (found.samples, found.left_out) == (8, {})
    assert [measure.title for measure in found.measures] == [
        *("similarity, delete", "similarity, mask", "logprob, delete", "logprob, mask"),
        *("ot, delete", "ot, mask", "chosen, delete", "chosen, mask", "margin, delete", "margin, mask"),
    ]
    assert [measure.samples for measure in found.measures] == [4, 4, 4, 4, 8, 8, 4, 4, 4, 4]
    for measure in found.measures:
        methods = [curves.method for curves in measure.methods]
        assert methods[:2] == ["ot", "l2"]
        assert [control.control for control in measure.controls] == [
            *("random", "first_to_last", "last_to_first"),
        ]
        forward, backward = measure.controls[1:]
        assert (forward.morf, forward.lerf) == (backward.lerf, backward.morf)
    settings = found.settings
    assert settings.absence == ("delete", "mask")
    assert {config["num_beams"] for config in settings.configs.values()} == {2}
    # The model and the scores are those of the run.
    assert f"pretrained={settings.model}" == settings.model_args
    assert set(found.seconds) >= {"ot", "l2"}
    assert "similarity, delete (4 samples): cosine similarity" in ended.out
    told = f"no claim from 4 samples; with {found.comparisons} comparisons"
    assert f"similarity, delete: ot: {told}, {samples_needed(found.comparisons)} are needed." in ended.out
    assert "\x1b" not in ended.out
    assert validate_path(tmp_path).ok


def test_without_lm_evals_results_the_model_is_the_one_of_the_run(
    faithfulness: Faithful, model_dir: Path, tmp_path: Path
) -> None:
    explain(
        *("hf", [ANSWERS], {**CHEAP, "select": {"n": 1}, "units": "word"}, tmp_path),
        model_args=f"pretrained={model_dir},dtype=bfloat16,revision=main",
        device="cpu",
    )
    ended = faithfulness(tmp_path, "--quantities", "logprob")
    assert ended.code == cli.DONE, ended.err
    assert figures(tmp_path).settings.model_args == f"pretrained={model_dir},dtype=bfloat16,revision=main"
    assert validate_path(tmp_path).ok


def test_a_second_run_gives_the_same_bytes_and_goes_on_from_any_interruption(
    faithfulness: Faithful, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, killed = (tmp_path / name for name in ("first", "second", "killed"))
    for folder in (first, second):
        assert faithfulness(run_dir, "--limit", "5", "--output_path", folder).code == cli.DONE
    assert written(first) == written(second)

    add, calls = ValueStore.add, 0

    def interrupted(self: ValueStore, values: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        add(self, values)

    with monkeypatch.context() as patch:
        patch.setattr(ValueStore, "add", interrupted)
        ended = faithfulness(run_dir, "--limit", "5", "--output_path", killed)
    assert ended.code == cli.FAILED
    assert "the same command goes on from there" in ended.out
    assert written(killed) == {}
    # A process that is killed may leave half a line.
    (work,) = killed.glob("faithfulness_work_*.jsonl")
    kept = work.read_bytes()
    assert 0 < len(kept) < len(next(first.glob("faithfulness_work_*")).read_bytes())
    work.write_bytes(kept[:-20])
    assert faithfulness(run_dir, "--limit", "5", "--output_path", killed).code == cli.DONE
    assert written(killed) == written(first)


def test_other_methods_are_computed_beside_those_of_the_run(
    faithfulness: Faithful, run_dir: Path, tmp_path: Path
) -> None:
    ended = faithfulness(run_dir, "--output_path", tmp_path, "--methods", "kl,logprob", "--limit", "3")
    assert ended.code == cli.DONE, ended.err
    found = figures(tmp_path)
    assert found.samples == 3
    assert [curves.method for curves in found.measures[0].methods] == ["ot", "l2", "kl", "logprob"]
    assert set(found.seconds) == {"ot", "l2", "kl", "logprob"}
    # Computed now, kl is what the engine gives for the units of the record.
    assert len(found.measures[0].differences) == 6


def test_fewer_quantities_need_no_embedder_and_give_the_same_figures(
    faithfulness: Faithful, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, some = tmp_path / "whole", tmp_path / "some"
    assert faithfulness(run_dir, "--output_path", whole).code == cli.DONE

    def load(*_: Any, **__: Any) -> Any:
        raise AssertionError("an embedder loads")

    monkeypatch.setattr(faithfulness_run, "SentenceEmbedder", load)
    ended = faithfulness(run_dir, "--output_path", some, "--quantities", "margin,logprob")
    assert ended.code == cli.DONE, ended.err
    found = figures(some)
    assert found.settings.embedder == ""
    assert [measure.title for measure in found.measures] == ["logprob, delete", "margin, delete"]
    of_whole = {measure.title: measure for measure in figures(whole).measures}
    for measure in found.measures:
        for one, other in zip(measure.methods, of_whole[measure.title].methods, strict=True):
            assert one.morf == pytest.approx(other.morf, abs=1e-5)
            assert one.area.mean == pytest.approx(other.area.mean, abs=1e-5)
    assert validate_path(some).ok


def test_samples_that_lack_the_quantity_are_left_out(
    faithfulness: Faithful, run_dir: Path, tmp_path: Path
) -> None:
    ended = faithfulness(run_dir, "--output_path", tmp_path, "--quantities", "logprob")
    assert ended.code == cli.DONE, ended.err
    found = figures(tmp_path)
    assert found.samples == 4
    assert found.left_out == {"a sample with choices has none of the quantities that are asked for": 4}


def test_a_method_that_fails_is_named_and_takes_no_other_along(
    faithfulness: Faithful, run_dir: Path, tmp_path: Path
) -> None:
    class Plugin:
        @hookimpl
        def gilot_attribution_methods(self) -> list[PromptMethod]:
            def score(context: Any) -> list[float]:
                raise ValueError("no such luck")

            return [PromptMethod("failing", "", score)]

    plugin = Plugin()
    manager().register(plugin)
    try:
        arguments = (run_dir, "--output_path", tmp_path, "--methods", "failing,logprob", "--limit", "2")
        ended = faithfulness(*arguments, "--randomize_model")
    finally:
        manager().unregister(plugin)
    assert ended.code == cli.DONE, ended.err
    assert "not computed for 2: failing: no such luck" in ended.out
    found = figures(tmp_path)
    assert [curves.method for curves in found.measures[0].methods] == ["ot", "l2", "logprob"]


def test_random_weights_are_tried_and_leave_no_trace(
    faithfulness: Faithful, run_dir: Path, tmp_path: Path
) -> None:
    plain, tried = (
        (run_dir, "--output_path", tmp_path / "plain"),
        (run_dir, "--output_path", tmp_path / "tried"),
    )
    assert faithfulness(*plain, "--seed", "1").code == cli.DONE
    ended = faithfulness(*tried, "--seed", "1", "--randomize_model")
    assert ended.code == cli.DONE, ended.err
    found = figures(tmp_path / "tried")
    assert found.model_copy(update={"randomization": None}) == figures(tmp_path / "plain")
    test = found.randomization
    assert test is not None
    assert test.seed == 1
    correlations = {one.method: one.correlation.mean for one in test.methods}
    assert set(correlations) == {"ot", "l2", "first_to_last", "random"}
    assert correlations["first_to_last"] == pytest.approx(1)
    assert abs(correlations["ot"]) < 0.9
    assert "random weights: first_to_last (control) is not shown to depend on" in ended.out


def test_reports_of_the_run_show_what_was_found(
    faithfulness: Faithful, run_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_dir, folder)
    assert faithfulness(folder, "--random_rankings", "1").code == cli.DONE
    run = load_run(folder)
    assert validate_path(folder).ok
    assert "faithfulness" in [found.name for found in run_figures(run, limit=0)]
    text = card_section(run).text
    assert "no claim, because it does not beat" in text
    assert "ranks words better than every control" not in text


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """A conversation, a prompt, and one that has a single word."""
    path = tmp_path / "prompts.jsonl"
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Which animal can fly?"},
    ]
    lines = [{"messages": messages}, {"prompt": "The movie was not good"}, {"prompt": "Fly"}]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    return path


def test_prompts_of_a_file_are_explained_and_tested(
    faithfulness: Faithful, prompts: Path, model_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    settings = ["--gilot_args", "num_beams=2,max_new_tokens=2,num_threads=1,methods=[l2]"]
    arguments = [
        *("--prompts", prompts, "--apply_chat_template", "--output_path", out),
        *("--model_args", f"pretrained={model_dir}", *settings, "--methods", "kl"),
    ]
    ended = faithfulness(*arguments)
    assert ended.code == cli.DONE, ended.err
    found = figures(out)
    assert found.samples == 2
    assert found.left_out == {"fewer than 2 units could be removed": 1}
    assert "left out: 1, fewer than 2 units could be removed" in ended.out
    assert [curves.method for curves in found.measures[0].methods] == ["l2", "kl"]
    (samples,) = out.glob("faithfulness_samples_*.jsonl")
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    assert {(line["task"], line["doc_id"]) for line in lines} == {("prompts.jsonl", 0), ("prompts.jsonl", 1)}
    # Of the other method the scores come from the store.
    before = written(out)
    assert faithfulness(*arguments).code == cli.DONE
    assert written(out) == before


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "give either the folder of a run or --prompts FILE"),
        (["RUN", "--prompts", "FILE"], "give either the folder of a run or --prompts FILE"),
        (["RUN", "--gilot_args", "num_beams=2"], "--gilot_args goes with --prompts"),
        (["--prompts", "FILE", "--run_model", "a"], "--run_model chooses among runs"),
        (["--prompts", "FILE", "--date", "a"], "--date chooses among runs"),
        (["RUN", "--methods", "nosuch"], "--methods 'nosuch' is unknown"),
        (["RUN", "--absence", "nosuch"], "--absence nosuch: allowed are 'delete', 'mask', 'replace'"),
        (["RUN", "--absence", "replace"], "replace_with"),
        (["RUN", "--absence", "published"], "--absence published: allowed are"),
        (
            ["RUN", "--quantities", "rouge"],
            "--quantities rouge: allowed are 'similarity', 'logprob', 'ot', 'c",
        ),
        (["RUN", "--output_path", "FILE/below"], "cannot write to"),
        (["RUN", "--model", "nosuch"], "--model nosuch"),
        (["RUN", "--model_args", "pretrained"], "--model_args 'pretrained': write key=value"),
        (["RUN", "--limit", "0"], "0 is below 1"),
        (["--prompts", "FILE"], "which model to load is not known: give --model_args"),
        (["--prompts", "nowhere.txt", "--model_args", "pretrained=x"], "nowhere.txt: cannot be read"),
        (["--prompts", "EMPTY", "--model_args", "pretrained=x"], "has no prompts"),
        (["--prompts", "BROKEN", "--model_args", "pretrained=x"], "line 2: write {"),
        (
            ["--prompts", "FILE", "--model_args", "pretrained=x", "--quantities", "ot,margin"],
            "--quantities margin: allowed are 'similarity', 'logprob', 'ot'",
        ),
        (["--prompts", "FILE", "--model_args", "pretrained=x", "--gilot_args", "num_beam=2"], "num_beams"),
        (["--prompts", "FILE", "--model_args", "pretrained=x", "--gilot_args", "units=auto"], "units='auto'"),
    ],
)
def test_what_is_wrong_is_said_before_a_model_loads(
    arguments: list[str],
    reason: str,
    faithfulness: Faithful,
    run_dir: Path,
    prompts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(source: Any) -> Any:
        raise AssertionError("a model loads")

    monkeypatch.setattr(faithfulness_run, "load_model", load)
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "broken.jsonl").write_text('{"prompt": "a"}\n{"text": "b"}\n')
    places = {
        "RUN": run_dir,
        "FILE": prompts,
        "FILE/below": prompts / "below",
        "EMPTY": tmp_path / "empty.txt",
        "BROKEN": tmp_path / "broken.jsonl",
    }
    before = sorted(path for folder in (run_dir, tmp_path) for path in folder.rglob("*"))
    ended = faithfulness(*(places.get(argument, argument) for argument in arguments))
    assert ended.code == cli.WRONG
    assert reason in ended.err
    assert "Traceback" not in ended.err
    assert sorted(path for folder in (run_dir, tmp_path) for path in folder.rglob("*")) == before


@pytest.mark.parametrize("option", ["--run_model", "--date"])
def test_a_run_that_is_not_there_is_named(option: str, faithfulness: Faithful, run_dir: Path) -> None:
    ended = faithfulness(run_dir, option, "nosuch")
    assert ended.code == cli.FAILED
    assert "'nosuch'; there are " in ended.err


def test_a_model_that_cannot_be_loaded_is_named(
    faithfulness: Faithful, prompts: Path, tmp_path: Path
) -> None:
    ended = faithfulness("--prompts", prompts, "--model_args", f"pretrained={tmp_path}/nowhere")
    assert ended.code == cli.WRONG
    assert "lm-eval cannot load it" in ended.err


def asked(prompts: Path, out: Path, model: Path) -> list[Any]:
    """A quick test of a model on a file of prompts."""
    settings = "num_beams=2,max_new_tokens=2,num_threads=1,methods=[l2]"
    return [
        *("--prompts", prompts, "--output_path", out, "--model_args", f"pretrained={model}"),
        *("--apply_chat_template", "--gilot_args", settings, "--quantities", "logprob"),
    ]


@pytest.fixture
def other_model(model_dir: Path, tmp_path: Path) -> Path:
    """The same model with another last layer."""
    folder = tmp_path / "tuned"
    shutil.copytree(model_dir, folder)
    (weights,) = folder.glob("*.safetensors")
    state = load_file(weights)
    name = max(state)
    state[name] = state[name] + torch.linspace(-1, 1, state[name].numel()).reshape(state[name].shape)
    save_file(state, weights, metadata={"format": "pt"})
    return folder


def test_a_second_model_leaves_the_figures_of_the_first(
    faithfulness: Faithful, prompts: Path, model_dir: Path, other_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert faithfulness(*asked(prompts, out, model_dir)).code == cli.DONE
    before = written(out)
    assert faithfulness(*asked(prompts, out, other_model)).code == cli.DONE
    after = written(out)
    assert {name: after[name] for name in before} == before
    assert len(after) == 2 * len(before)


def test_a_model_that_was_trained_further_is_computed_anew(
    faithfulness: Faithful, prompts: Path, model_dir: Path, other_model: Path, tmp_path: Path
) -> None:
    """Its folder has the name that it had."""
    place, out, fresh = (tmp_path / name for name in ("m", "out", "fresh"))
    shutil.copytree(model_dir, place)
    assert faithfulness(*asked(prompts, out, place)).code == cli.DONE
    before = figures(out)
    shutil.rmtree(place)
    shutil.copytree(other_model, place)
    assert faithfulness(*asked(prompts, out, place)).code == cli.DONE
    assert faithfulness(*asked(prompts, fresh, place)).code == cli.DONE
    assert figures(out).measures == figures(fresh).measures != before.measures
