"""Settings: what is refused, how presets fill them in, and what the hash tells apart."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gilot_plugin.errors import ConfigError
from gilot_plugin.settings.config import GilotConfig, as_config, preset_settings
from gilot_plugin.settings.presets import PRESETS

NUMBERS = ("num_beams", "max_new_tokens", "top_k", "seed", "num_threads")

#: Field, wrong value, and how the message says what is allowed.
WRONG: list[tuple[str, Any, str]] = [
    *((name, True, "must be a number") for name in (*NUMBERS, "top_p")),
    *((name, -1, "greater than or equal to") for name in NUMBERS),
    *((name, 0, "greater than or equal to 1") for name in NUMBERS if name != "seed"),
    *((name, 1.5, "valid integer") for name in NUMBERS),
    *((name, math.nan, "finite number") for name in NUMBERS),
    *((name, "many", "valid integer") for name in NUMBERS),
    *((name, [4], "valid integer") for name in NUMBERS),
    *((name, None, "valid integer") for name in NUMBERS if name != "num_threads"),
    ("top_p", math.nan, "less than or equal to 1"),
    ("top_p", math.inf, "less than or equal to 1"),
    ("top_p", 1.0001, "less than or equal to 1"),
    ("top_p", 0, "greater than 0"),
    ("top_p", -0.5, "greater than 0"),
    ("top_p", "most", "valid number"),
    ("preset", "refrence", "'default', 'paper', 'reference'"),
    ("preset", None, "'default', 'paper', 'reference'"),
    ("preset", ["reference"], "'default', 'paper', 'reference'"),
    ("hypotheses", "none", "'regenerate', 'shared' or 'response'"),
    ("steps", "first", "'last' or 'mean'"),
    ("choice_scoring", "bytes", "'sum' or 'norm'"),
    ("rolling_target", 0, "greater than or equal to 1"),
    ("rolling_target", True, "must be a number"),
    ("scheme", "owen", "'leave_one_out', 'shapley', 'banzhaf', 'lime', 'auto'"),
    ("scheme", None, "'leave_one_out', 'shapley'"),
    ("coalitions", 0, "'auto' and whole numbers from 1"),
    ("coalitions", "all", "'auto' and whole numbers from 1"),
    ("coalitions", True, "'auto' and whole numbers from 1"),
    ("token_budget", 0, "greater than or equal to 1"),
    ("token_budget", True, "must be a number"),
    ("budget", {}, "{minutes: M}, {samples: N} and both"),
    ("budget", {"minutes": 0}, "greater than 0"),
    ("budget", {"hours": 1}, "allowed are 'minutes', 'samples'"),
    ("budget", 5, "{minutes: M}, {samples: N} and both"),
    ("ablate", "everything", "'shots', 'question', 'stem', 'choices'"),
    ("ablate", 3, "a list of changes"),
    ("ablate", [], "a list of changes"),
    ("ablate", ["question", "question"], "may be named once"),
    ("ablate", {"n": 0}, "greater than or equal to 1"),
    ("ablate", {"arm": ["question"]}, "did you mean 'arms'"),
    ("ablate", [{"regex": "("}], "does not compile"),
    ("ablate", [{"function": "somewhere"}], "package.module:name"),
    ("ablate", [{"regex": "a", "name": "full"}], "prompts as they are"),
    ("select", {"over": "suite"}, "'task', 'group', 'run'"),
    ("select", [], "at least 1 item"),
    ("select", ["first", "last"], "'last' is unknown"),
    ("select", [{"strategy": "first", "over": "run"}], "not for its parts"),
    ("select", {"strategy": "flips"}, "must be given"),
    ("select", {"strategy": "flips", "against": "/nowhere"}, "no such file or folder"),
    ("select", {"strategy": "function", "function": "nowhere"}, "package.module:name"),
    ("unit_budget", 0, "greater than or equal to 1"),
    ("unit_budget", True, "must be a number"),
    ("unit_budget", 2.5, "valid integer"),
    ("transport_tolerance", 0, "greater than 0"),
    ("transport_tolerance", 1.5, "less than or equal to 1"),
    ("transport_tolerance", math.nan, "less than or equal to 1"),
    ("transport_tolerance", True, "must be a number"),
    ("transport_tolerance", "small", "valid number"),
    ("noise_floor", "yes", "'auto'"),
    ("noise_floor", 1, "'auto'"),
    ("ground_cost", "euclidean", "'cosine', 'centered', 'output', 'angular' or 'truncated'"),
    ("cost_limit", 0, "greater than 0"),
    ("cost_limit", 2, "less than 2"),
    ("cost_limit", math.nan, "greater than 0"),
    ("cost_limit", True, "must be a number"),
    ("target", "choice", "'auto', 'generation' or 'choices'"),
    ("absence", "remove", "'delete', 'mask', 'replace', 'published'"),
    ("absence", None, "'delete'"),
    ("absence", ["delete"], "'delete'"),
    ("solver", "emd", "'auto', 'exact', 'sinkhorn', 'proximal', 'ipot'"),
    ("solver", {"exact": 1}, "'exact'"),
    ("units", "words", "'token', 'word', 'sentence', 'line', 'segment', 'auto' and {'regex': PATTERN}"),
    ("units", None, "'word'"),
    ("units", ["word"], "'word'"),
    ("units", {}, "{'regex': PATTERN}"),
    ("units", {"regexp": "a"}, "{'regex': PATTERN}"),
    ("units", {"regex": 5}, "{'regex': PATTERN}"),
    ("units", {"regex": ""}, "{'regex': PATTERN}"),
    ("units", {"regex": "("}, "does not compile: missing )"),
    ("scope", "", "the name of a segment"),
    ("scope", 3, "the name of a segment"),
    ("scope", [], "'content', 'all', 'reasoning', the name of a segment"),
    ("scope", ["content", 3], "lists of them"),
    ("scope", ["content", "content"], "may be named once"),
    ("explain", "middle", "'auto', 'start', 'scored', 'end', 'all' and {'regex': PATTERN}"),
    ("explain", None, "'auto'"),
    ("explain", {"regex": "("}, "does not compile"),
    ("explain", {"pattern": "a"}, "{'regex': PATTERN}"),
    ("step_scores", "yes", "valid boolean"),
    ("methods", [], "a list of at least one of 'ot', 'kl', 'l2'"),
    ("methods", 5, "a list"),
    ("methods", None, "a list"),
    ("methods", {"ot": 1}, "a list"),
    ("methods", ["ot", "magic"], "'magic' is unknown: allowed are 'ot', 'kl', 'l2'"),
    ("methods", [["ot"]], "'ot', 'kl', 'l2'"),
    ("methods", ["ot", "kl", "ot"], "once"),
    ("batch_size", 0, "'auto' and whole numbers from 1"),
    ("batch_size", True, "'auto' and whole numbers from 1"),
    ("batch_size", 2.5, "'auto' and whole numbers from 1"),
    ("batch_size", "large", "'auto' and whole numbers from 1"),
    ("batch_size", None, "'auto' and whole numbers from 1"),
    ("memory_budget", 0, "'2GiB'"),
    ("memory_budget", -5, "'2GiB'"),
    ("memory_budget", True, "'2GiB'"),
    ("memory_budget", 1.5, "'2GiB'"),
    ("memory_budget", math.nan, "'2GiB'"),
    ("memory_budget", [1], "'2GiB'"),
    ("memory_budget", "0MiB", "'2GiB'"),
    ("memory_budget", "-1GiB", "'2GiB'"),
    ("memory_budget", "2 elephants", "'2GiB'"),
    ("output_path", 5, "name of a folder"),
    ("output_path", "", "name of a folder"),
    ("resume", 5, "name of a folder"),
    ("resume", "", "name of a folder"),
    ("select", 5, "name of a strategy, a mapping"),
    ("select", None, "name of a strategy, a mapping"),
    ("select", {1: 2}, "name of a strategy, a mapping"),
    ("select", "frist", "'first', 'ids', 'random', 'incorrect'"),
    ("select", {"strategy": None}, "'first', 'ids', 'random', 'incorrect'"),
    ("select", {"strategy": ["first"]}, "'first', 'ids', 'random', 'incorrect'"),
    ("select", {"n": 0}, "n=0: Input should be greater than or equal to 1"),
    ("select", {"strategy": "random", "n": "x"}, "n='x': Input should be a valid integer"),
    ("select", {"nn": 3}, "nn=3: unknown setting, did you mean 'n'? allowed are 'n'"),
    ("select", {"strategy": "ids"}, "strategy 'ids': ids: must be given"),
    ("select", {"strategy": "ids", "ids": "x"}, "ids='x'"),
]


@pytest.mark.parametrize(("field", "value", "allowed"), WRONG)
def test_a_wrong_value_is_refused_by_field_value_and_what_is_allowed(
    field: str, value: Any, allowed: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        GilotConfig(**{field: value})
    lines = str(refusal.value).splitlines()
    assert lines[0].startswith(f"{field}={value!r}: ")
    assert allowed in str(refusal.value)


@pytest.mark.parametrize("value", [True, -1, 1.5, "", [3]])
def test_what_cannot_be_a_token_does_not_replace_one(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"replace_with=.*token ids, which start at 0, and the text"):
        GilotConfig(absence="replace", replace_with=value)


def test_every_field_is_among_the_tested_ones() -> None:
    tested = {field for field, _, _ in WRONG} | {"replace_with"}
    assert tested >= set(GilotConfig.model_fields)


def test_an_unknown_setting_comes_with_the_likely_one_and_all_others() -> None:
    with pytest.raises(
        ConfigError, match=r"^num_beam=4: unknown setting, did you mean 'num_beams'\?"
    ) as refusal:
        GilotConfig(num_beam=4)
    assert all(repr(name) in str(refusal.value) for name in GilotConfig.model_fields)


def test_an_unknown_setting_unlike_any_other_comes_without_a_guess() -> None:
    with pytest.raises(ConfigError, match=r"^frobnicate=1: unknown setting: allowed are 'preset'"):
        GilotConfig(frobnicate=1)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as refusal:
        GilotConfig(num_beams=0, top_p=2, units="words", sede=1)
    assert {line.partition("=")[0] for line in str(refusal.value).splitlines()} == {
        "num_beams",
        "top_p",
        "units",
        "sede",
    }


@pytest.mark.parametrize(
    ("given", "budget"),
    [("512MiB", 2**29), ("2GiB", 2**31), ("2GB", 2**31), ("1.5 K", 1536), ("7", 7), (7, 7), (None, None)],
)
def test_memory_may_be_given_in_units(given: Any, budget: int | None) -> None:
    assert GilotConfig(memory_budget=given).memory_budget == budget


def test_single_names_stand_for_lists_and_mappings() -> None:
    config = GilotConfig(methods="kl", select="random")
    assert config.methods == ("kl",)
    assert config.select.strategy == "random"


def test_a_selection_without_a_strategy_takes_the_first() -> None:
    assert GilotConfig(select={"n": 3}).select.model_dump() == {"strategy": "first", "over": "task", "n": 3}


def test_the_options_of_a_selection_are_complete() -> None:
    assert GilotConfig().select.model_dump() == {"strategy": "first", "over": "task", "n": 10}


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        GilotConfig().num_beams = 5  # type: ignore[misc]  # it must fail


def test_without_settings_nothing_counts_as_given() -> None:
    assert not GilotConfig().model_fields_set


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid(preset: str) -> None:
    config = GilotConfig(preset=preset)
    assert config.preset == preset
    assert {name: getattr(config, name) for name in PRESETS[preset]} == dict(PRESETS[preset])


def test_the_default_follows_the_models_own_answer_and_the_paper_its_beams() -> None:
    default, paper = GilotConfig(), GilotConfig(preset="paper")
    assert (default.hypotheses, default.steps, default.max_new_tokens) == ("response", "mean", 5)
    assert (paper.hypotheses, paper.steps, paper.num_beams, paper.max_new_tokens) == (
        "regenerate",
        "last",
        4,
        5,
    )


def test_the_reference_preset_is_the_published_code() -> None:
    config = GilotConfig(preset="reference")
    assert (config.hypotheses, config.steps, config.top_p) == ("regenerate", "last", 0.9999)
    assert (config.num_beams, config.max_new_tokens) == (20, 20)
    assert (config.absence, config.solver) == ("published", "ipot")
    assert (config.units, config.scope, config.target) == ("token", "all", "generation")


def test_an_explicit_setting_wins_over_the_preset() -> None:
    config = GilotConfig(preset="reference", num_beams=4, units="word")
    assert (config.num_beams, config.units, config.max_new_tokens) == (4, "word", 20)


def test_a_preset_decides_the_method_but_neither_the_samples_nor_the_work() -> None:
    decided = preset_settings("reference")
    assert {"num_beams", "absence", "replace_with", "top_p", "ground_cost"} <= set(decided)
    assert not {
        "preset",
        "methods",
        "select",
        "seed",
        "batch_size",
        "num_threads",
        "output_path",
        "resume",
    } & set(decided)


@pytest.mark.parametrize(
    "work",
    [
        {"batch_size": 3},
        {"memory_budget": "1GiB"},
        {"num_threads": 2},
        {"output_path": "elsewhere"},
        {"resume": "elsewhere"},
    ],
)
def test_how_the_work_is_spread_is_not_in_the_hash(work: dict[str, Any]) -> None:
    assert GilotConfig(**work).hash == GilotConfig().hash


@pytest.mark.parametrize(
    "settings",
    [
        {"num_beams": 5},
        {"max_new_tokens": 6},
        {"absence": "mask"},
        {"absence": "replace", "replace_with": 3},
        {"absence": "replace", "replace_with": "3"},
        {"units": "token"},
        {"units": {"regex": "a"}},
        {"scope": "user"},
        {"hypotheses": "shared"},
        {"steps": "last"},
        {"choice_scoring": "norm"},
        {"units": "auto"},
        {"units": "auto", "unit_budget": 7},
        {"transport_tolerance": 0.1},
        {"ground_cost": "centered"},
        {"ground_cost": "truncated"},
        {"ground_cost": "truncated", "cost_limit": 0.3},
        {"target": "choices"},
        {"top_p": 0.999},
        {"top_k": 10},
        {"solver": "exact"},
        {"methods": ["ot"]},
        {"select": {"n": 11}},
        {"seed": 1},
        {"preset": "reference"},
    ],
)
def test_every_setting_that_determines_numbers_is_in_the_hash(settings: dict[str, Any]) -> None:
    others = [GilotConfig(), GilotConfig(absence="replace", replace_with=4)]
    assert GilotConfig(**settings).hash not in {other.hash for other in others}


def test_the_hash_depends_on_settings_and_not_on_how_they_are_written() -> None:
    written = GilotConfig(
        select={"n": 10, "strategy": "first"}, methods=["ot", "kl", "l2"], num_beams="4", preset="default"
    )
    assert written.hash == GilotConfig().hash
    assert GilotConfig(**preset_settings("reference")).hash == GilotConfig(preset="reference").hash


def test_the_hash_is_the_same_in_every_process() -> None:
    settings = {"units": {"regex": "a+"}, "select": {"strategy": "ids", "ids": {"a": [1, 2], "b": [3]}}}
    code = f"from gilot_plugin import GilotConfig; print(GilotConfig(**{settings!r}).hash)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "17"},
    )
    assert done.stdout.strip() == GilotConfig(**settings).hash
    assert len(done.stdout.strip()) == 64


def test_settings_survive_json() -> None:
    config = GilotConfig(
        preset="reference", units={"regex": "a"}, output_path=Path("out"), memory_budget="1MiB"
    )
    assert GilotConfig(**config.model_dump(mode="json")) == config


@pytest.mark.parametrize("settings", [None, {}, {"num_beams": 2}, GilotConfig(num_beams=2)])
def test_the_python_interface_takes_settings_in_several_forms(settings: Any) -> None:
    assert as_config(settings).num_beams in (2, 4)
    assert as_config(as_config(settings)) is not None


@pytest.mark.parametrize("settings", ["reference", 5, ["num_beams"]])
def test_what_are_no_settings_at_all_is_refused(settings: Any) -> None:
    with pytest.raises(ConfigError, match="must be a GilotConfig or a mapping, not "):
        as_config(settings)
