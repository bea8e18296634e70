"""Which source each setting came from, and which settings give way."""

from __future__ import annotations

import pytest

from gilot_plugin.errors import ConfigError
from gilot_plugin.settings.merging import Source, merge_sources, settle
from gilot_plugin.settings.sources import given_settings, parse_args, task_settings

FILE, FLAGS = "--gilot a.yaml", "--gilot_args"


def test_the_strongest_source_that_names_a_setting_is_told() -> None:
    merged = merge_sources([Source("weak", {"seed": 1, "top_k": 5}), Source("strong", {"seed": 2})])
    assert merged.values == {"seed": 2, "top_k": 5}
    assert merged.origins == {"seed": "strong", "top_k": "weak"}


def test_a_preset_is_told_with_the_source_that_names_it() -> None:
    merged = merge_sources([Source("weak", {"top_p": 0.5, "seed": 3}), Source("strong", {"preset": "paper"})])
    assert merged.values["top_p"] == 0.9999
    assert merged.origins["top_p"] == "preset paper, named by strong"
    assert merged.origins["preset"] == "strong"
    assert merged.origins["seed"] == "weak"


def test_a_selection_of_two_sources_names_both() -> None:
    merged = merge_sources([Source("weak", {"select": "random"}), Source("strong", {"select": {"n": 5}})])
    assert merged.values["select"] == {"strategy": "random", "n": 5}
    assert merged.origins["select"] == "weak, with options of strong"
    alone = merge_sources([Source("weak", {"select": "random"}), Source("strong", {"select": "first"})])
    assert alone.origins["select"] == "strong"


def test_a_selection_that_is_no_number_is_that_of_its_own_source() -> None:
    nan = float("nan")  # which does not equal itself
    assert merge_sources([Source("only", {"select": nan})]).origins == {"select": "only"}


def test_a_setting_without_effect_gives_way_to_a_stronger_source_and_says_why() -> None:
    settled = settle([Source(FILE, {"choice_scoring": "norm"}), Source(FLAGS, {"target": "generation"})])
    assert settled.values == {"target": "generation"}
    (one,) = settled.gave_way
    assert one[:3] == ("choice_scoring", "norm", FILE)
    assert "no effect with target='generation'" in one.reason
    assert given_settings(settled.values) == {"target": "generation"}


def test_a_setting_without_effect_beside_a_weaker_source_is_refused() -> None:
    settled = settle([Source(FILE, {"target": "generation"}), Source(FLAGS, {"choice_scoring": "norm"})])
    assert settled.gave_way == ()
    with pytest.raises(ConfigError, match="choice_scoring='norm' has no effect"):
        given_settings(settled.values)


def test_the_settings_of_a_task_name_every_source() -> None:
    given = settle([Source(FILE, {"seed": 1}), Source(FLAGS, parse_args(["target=generation"]))])
    found = task_settings("arc_easy", {"top_k": 7}, Source("given", given.values, given.origins))
    assert found.origins == {
        "units": "task_configs/arc.yaml",
        "top_k": "the task's own metadata",
        "seed": FILE,
        "target": FLAGS,
    }
    assert [(one.setting, one.origin) for one in found.gave_way] == [
        ("choice_scoring", "task_configs/arc.yaml")
    ]


def test_what_a_rolling_target_stands_for_is_told() -> None:
    given = Source("given", {"rolling_target": 3})
    found = task_settings("a", None, given, "loglikelihood_rolling")
    assert found.config.max_new_tokens == 3
    assert found.origins["max_new_tokens"] == "rolling_target=3"
    assert "max_new_tokens" not in task_settings("a", None, given, "generate_until").origins


def test_an_error_names_the_task_if_there_is_one() -> None:
    with pytest.raises(ConfigError, match=r"^task a: num_beams=0"):
        task_settings("a", {"num_beams": 0}, Source("given", {}))
    with pytest.raises(ConfigError, match=r"^absence='replace' needs"):
        task_settings("", None, Source("given", {"absence": "replace"}))
