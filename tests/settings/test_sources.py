"""Where settings come from and which source wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gilot_plugin.errors import ConfigError
from gilot_plugin.settings.config import GilotConfig, preset_settings
from gilot_plugin.settings.merging import merge
from gilot_plugin.settings.sources import (
    given_settings,
    parse_args,
    read_yaml,
    shipped_source,
    task_config,
)

#: A task whose settings ship, and one that has none.
SHIPPED, PLAIN = "gsm8k", "somebodys_task"


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        ([], {}),
        (["", ","], {}),
        (["num_beams=4"], {"num_beams": 4}),
        (["num_beams=4,top_p=0.5", "units=word"], {"num_beams": 4, "top_p": 0.5, "units": "word"}),
        ([" num_beams = 4 ,"], {"num_beams": 4}),
        (["methods=[ot,kl],seed=1"], {"methods": ["ot", "kl"], "seed": 1}),
        (
            ["select={strategy: ids, ids: [1,2]},seed=1"],
            {"select": {"strategy": "ids", "ids": [1, 2]}, "seed": 1},
        ),
        (["select.strategy=random,select.n=5"], {"select": {"strategy": "random", "n": 5}}),
        (["select.ids.a=[1],select.ids.b=[2]"], {"select": {"ids": {"a": [1], "b": [2]}}}),
        (["output_path="], {"output_path": None}),
        (["scope=a=b"], {"scope": "a=b"}),
        (["replace_with=' the'"], {"replace_with": " the"}),
        (['replace_with=","'], {"replace_with": ","}),
        (["replace_with='5'"], {"replace_with": "5"}),
        (["replace_with=5"], {"replace_with": 5}),
        (["units.regex='[0-9]{1,3}',seed=1"], {"units": {"regex": "[0-9]{1,3}"}, "seed": 1}),
        (["units.regex=(a,b),seed=1"], {"units": {"regex": "(a,b)"}, "seed": 1}),
        (["units.regex='a(,b'"], {"units": {"regex": "a(,b"}}),
        (["units.regex=don't,seed=1"], {"units": {"regex": "don't"}, "seed": 1}),
        (["units.regex=\\("], {"units": {"regex": "\\("}}),
        (["num_beams=4,num_beams=5"], {"num_beams": 5}),
        (["select=random", "select={n: 2}"], {"select": {"n": 2}}),
    ],
)
def test_arguments_are_read(arguments: list[str], settings: dict[str, Any]) -> None:
    assert parse_args(arguments) == settings


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["num_beams"], "'num_beams': write key=value, e.g. num_beams=4"),
        (["=4"], "'=4': write key=value"),
        (["num_beams=4,word"], "'word': write key=value"),
        (["methods=[ot"], "methods='\\[ot': not a YAML value"),
        (["methods=[ot,kl"], "']' is missing; put quotes around such values"),
        (["scope='a,seed=1"], '"\'" is missing'),
        (["scope=*a"], "scope='\\*a': not a YAML value"),
        (["scope=!!python/object:os.system x"], "not a YAML value"),
        (["select=random,select.n=5"], "select.n='5': 'select' has a value already"),
        (["select.n=5,select=random"], "select='random': 'select' has nested values already"),
    ],
)
def test_arguments_that_cannot_be_read_are_refused(arguments: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=f"--gilot_args .*{reason}"):
        parse_args(arguments)


def test_a_file_of_settings_is_read(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("num_beams: 2\nselect: {strategy: random}\nscope: é\n", encoding="utf-8")
    assert read_yaml(path) == {"num_beams": 2, "select": {"strategy": "random"}, "scope": "é"}


def test_an_empty_file_has_no_settings(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("# nothing yet\n")
    assert read_yaml(path) == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"num_beams: [", "not valid YAML"),
        (b"- num_beams", "must be a mapping of settings, not list"),
        (b"num_beams", "must be a mapping of settings, not str"),
        (b"1: 2", "1 is not the name of a setting"),
        (b"true: 2", "True is not the name of a setting"),
        (b"\xff\xfe\xff", "cannot be read"),
        (b"a: !!python/object:os.system x", "not valid YAML"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason) as refusal:
        read_yaml(path)
    assert str(path) in str(refusal.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.yaml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read") as refusal:
            read_yaml(path)
        assert str(path) in str(refusal.value)


def test_each_source_wins_over_the_weaker_ones() -> None:
    default = GilotConfig().max_new_tokens
    shipped = shipped_source(SHIPPED).settings["max_new_tokens"]
    assert shipped != default
    assert task_config(PLAIN, None, {}).max_new_tokens == default
    assert task_config(SHIPPED, None, {}).max_new_tokens == shipped
    assert task_config(SHIPPED, {"max_new_tokens": 7}, {}).max_new_tokens == 7
    file, arguments = {"max_new_tokens": 8}, {"max_new_tokens": 9}
    assert task_config(SHIPPED, {"max_new_tokens": 7}, merge(file, {})).max_new_tokens == 8
    assert task_config(SHIPPED, {"max_new_tokens": 7}, merge(file, arguments)).max_new_tokens == 9


def test_settings_that_a_stronger_source_leaves_out_stay() -> None:
    config = task_config(SHIPPED, {"num_beams": 7}, {"seed": 3})
    assert (config.max_new_tokens, config.num_beams, config.seed) == (10, 7, 3)


def test_a_selection_is_replaced_as_a_whole() -> None:
    config = task_config(PLAIN, {"select": {"strategy": "random", "n": 3}}, {"select": {"strategy": "first"}})
    assert config.select == GilotConfig().select


@pytest.mark.parametrize(
    ("weaker", "strategy"),
    [
        ({"strategy": "incorrect"}, "incorrect"),
        ("incorrect", "incorrect"),
        ({"strategy": "incorrect", "n": 3}, "incorrect"),
        ({"n": 3}, "first"),
    ],
)
def test_options_without_a_strategy_are_those_of_the_one_that_is_named(weaker: Any, strategy: str) -> None:
    for config in (
        GilotConfig(**merge({"select": weaker}, parse_args(["select.n=20"]))),
        task_config(PLAIN, {"select": weaker}, given_settings(parse_args(["select.n=20"]))),
    ):
        assert config.select.model_dump() | {"strategy": strategy, "n": 20} == config.select.model_dump()


def test_options_of_no_strategy_of_a_list_are_refused() -> None:
    with pytest.raises(ConfigError, match="n"):
        task_config(PLAIN, {"select": ["first", "random"]}, {"select": {"n": 20}})


#: ARC's shipped settings have choice_scoring=norm, GSM8K's have units=auto.
_GIVES_WAY: list[tuple[str, dict[str, Any] | None, str, dict[str, Any]]] = [
    ("arc_easy", None, "target=generation", {"target": "generation", "choice_scoring": "sum"}),
    ("gsm8k", None, "unit_budget=20000", {"units": "auto", "unit_budget": 20000}),
    ("gsm8k", None, "methods=[random]", {"units": "word", "methods": ("random",)}),
    ("plain", {"absence": "replace", "replace_with": 3}, "absence=mask", {"replace_with": None}),
    ("plain", {"units": "auto", "unit_budget": 9}, "units=line", {"units": "line", "unit_budget": None}),
    ("plain", {"ground_cost": "truncated", "cost_limit": 0.5}, "ground_cost=cosine", {"cost_limit": None}),
]


@pytest.mark.parametrize(("task", "metadata", "arguments", "expected"), _GIVES_WAY)
def test_what_has_no_effect_beside_a_stronger_source_gives_way(
    task: str, metadata: dict[str, Any] | None, arguments: str, expected: dict[str, Any]
) -> None:
    config = task_config(task, metadata, given_settings(parse_args([arguments])))
    assert {name: getattr(config, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("metadata", "arguments", "reason"),
    [
        ({"absence": "mask"}, "replace_with=3", "replace_with=3 has no effect with absence='mask'"),
        ({"units": "line"}, "unit_budget=9", "unit_budget=9 has no effect with units='line'"),
        (None, "unit_budget=9", "unit_budget=9 has no effect with units='word'"),
        (None, "absence=replace", "absence='replace' needs replace_with"),
    ],
)
def test_what_was_given_and_has_no_effect_in_a_task_is_refused(
    metadata: dict[str, Any] | None, arguments: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match=f"task {PLAIN}: {reason}"):
        task_config(PLAIN, metadata, given_settings(parse_args([arguments])))


def test_what_was_given_together_is_refused_before_any_task_is_known() -> None:
    with pytest.raises(ConfigError, match="unit_budget=9 has no effect with units='line'"):
        given_settings({"units": "line", "unit_budget": 9})
    with pytest.raises(ConfigError, match="hypotheses='shared' cannot be combined"):
        given_settings({"preset": "reference", "hypotheses": "shared"})


@pytest.mark.parametrize("name", ["budget", "resume", "output_path"])
def test_a_task_cannot_say_what_holds_for_a_run(name: str) -> None:
    value = {"samples": 3} if name == "budget" else "folder"
    with pytest.raises(ConfigError, match=f"^task {PLAIN}: metadata.gilot: {name} holds for a whole run"):
        task_config(PLAIN, {name: value}, {})


@pytest.mark.parametrize("word", ["no", "yes", "on", "off", "No", "OFF", "trueish", "falsely"])
def test_words_are_no_truth_values(word: str, tmp_path: Path) -> None:
    """In YAML 1.1 they would be, and an absent word would be replaced by ``false``."""
    assert parse_args([f"replace_with={word}"]) == {"replace_with": word}
    path = tmp_path / "settings.yaml"
    path.write_text(f"replace_with: {word}\n")
    assert read_yaml(path) == {"replace_with": word}
    assert parse_args(["a=true,b=False"]) == {"a": True, "b": False}


def test_a_preset_wins_over_weaker_sources_and_loses_to_stronger_ones() -> None:
    reference = GilotConfig(preset="reference")
    config = task_config(SHIPPED, {"num_beams": 7, "top_p": 0.5}, {"preset": "reference"})
    assert config == reference
    config = task_config(SHIPPED, {"preset": "reference"}, {"num_beams": 7})
    assert (config.num_beams, config.max_new_tokens) == (7, reference.max_new_tokens)


def test_an_explicit_setting_wins_over_the_preset_beside_it() -> None:
    config = task_config(PLAIN, {"num_beams": 7}, {"preset": "reference", "num_beams": 3})
    assert (config.num_beams, config.max_new_tokens) == (3, 20)


def test_the_default_preset_takes_the_settings_of_weaker_sources_back() -> None:
    assert task_config(SHIPPED, {"preset": "reference"}, {"preset": "default"}) == GilotConfig()
    replacing = {"absence": "replace", "replace_with": 3}
    assert task_config(PLAIN, replacing, {"preset": "reference"}) == GilotConfig(preset="reference")


def test_a_preset_leaves_the_selection_and_the_methods_of_weaker_sources() -> None:
    config = task_config(PLAIN, {"select": {"n": 3}, "methods": ["kl"], "seed": 5}, {"preset": "reference"})
    assert (config.select.model_dump()["n"], config.methods, config.seed) == (3, ("kl",), 5)


def test_what_was_set_in_python_counts_like_arguments() -> None:
    config = GilotConfig(preset="reference", num_beams=3)
    given = {name: getattr(config, name) for name in config.model_fields_set}
    assert task_config(SHIPPED, {"num_beams": 9, "steps": "last", "top_p": 0.5}, given) == config
    assert task_config(SHIPPED, None, {}).max_new_tokens == 10


_SOURCES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "preset": st.sampled_from(["default", "reference"]),
            "num_beams": st.integers(1, 3),
            "top_k": st.integers(1, 3),
            "units": st.sampled_from(["token", "line"]),
            "seed": st.integers(1, 3),
            "select": st.sampled_from(["first", {"strategy": "correct", "n": 2}, {"strategy": "random"}]),
        },
    ),
    max_size=4,
)


@given(_SOURCES)
def test_the_strongest_source_that_decides_a_setting_wins(sources: list[dict[str, Any]]) -> None:
    merged = GilotConfig(**merge(*sources))
    for name in ("num_beams", "top_k", "units", "seed", "select"):
        deciding: dict[str, Any] = {}
        for source in sources:
            decided = {**preset_settings(source["preset"]), **source} if "preset" in source else source
            deciding |= {name: decided[name]} if name in decided else {}
        assert getattr(merged, name) == getattr(GilotConfig(**deciding), name)


@given(_SOURCES)
def test_merging_in_steps_changes_nothing(sources: list[dict[str, Any]]) -> None:
    for cut in range(len(sources) + 1):
        assert merge(merge(*sources[:cut]), merge(*sources[cut:])) == merge(*sources)


def test_merging_does_not_touch_its_sources() -> None:
    weak, strong = {"num_beams": 2}, {"preset": "reference"}
    merge(weak, strong)
    assert (weak, strong) == ({"num_beams": 2}, {"preset": "reference"})


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"num_beams": 0}, "num_beams=0: "),
        ({"num_beam": 1}, "num_beam=1: unknown setting, did you mean 'num_beams'"),
        ({"preset": ["reference"]}, "preset=\\['reference'\\]: allowed are"),
        ([1], "metadata.gilot: must be a mapping of settings, not list"),
        ("reference", "metadata.gilot: must be a mapping of settings, not str"),
        ({1: 2}, "metadata.gilot: 1 is not the name of a setting"),
    ],
)
def test_wrong_settings_of_a_task_name_the_task(metadata: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"^task {PLAIN}: {reason}"):
        task_config(PLAIN, metadata, {})


def test_settings_ship_by_the_name_of_the_whole_task() -> None:
    assert shipped_source("gsm8k_cot").settings == shipped_source("gsm8k").settings
    assert shipped_source("mmlu_anatomy").settings
    assert shipped_source("my_gsm8k").settings == {}
    assert shipped_source("GSM8K").settings == {}
