from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gilot_plugin.artifacts.models import RecordedTarget
from gilot_plugin.artifacts.typed import Record
from gilot_plugin.errors import ConfigError, PromptError
from gilot_plugin.faithfulness.cases import TOGETHER, Case, case_of_record, in_groups, ranked_sample
from gilot_plugin.faithfulness.experiment import removing, settings_of_samples
from gilot_plugin.settings.config import GilotConfig
from tests.artifacts import factories

CONFIG = GilotConfig()


def case(**changes: Any) -> Case:
    return case_of_record(Record.from_json(factories.make_record(**changes)), CONFIG)


def test_template_is_never_removed_even_where_its_units_have_scores() -> None:
    record = factories.make_record()
    count = len(record["units"])
    record["units"][1]["segment"] = "template"
    record["scores"] = {"ot": [float(place) for place in range(count)]}
    found = case_of_record(Record.from_json(record), CONFIG)
    assert len(found.units) == count - 1
    assert found.scores["ot"] == tuple(float(place) for place in range(count) if place != 1)
    for unit in found.units:
        assert set(found.prompt.segments[unit.start_token : unit.end_token]) == {"content"}
    # What is no unit may be template, as far as a record tells.
    assert set(found.prompt.segments) == {"content", "template"}


def test_tokens_are_those_of_the_record() -> None:
    record = factories.make_record()
    found = case_of_record(Record.from_json(record), CONFIG)
    assert list(found.prompt.token_ids) == [token["id"] for token in record["prompt_tokens"]]
    assert found.key == (record["task"], record["doc_id"], record["prompt_hash"])


def test_a_single_unit_has_no_order() -> None:
    record = factories.make_record()
    for unit in record["units"][1:]:
        unit["segment"] = "special"
    with pytest.raises(PromptError, match="fewer than 2 units"):
        case_of_record(Record.from_json(record), CONFIG)


def test_a_single_choice_is_always_chosen() -> None:
    record = Record.from_json(factories.make_record())
    target = RecordedTarget("choices", choices=factories.CHOICES[:1])
    with pytest.raises(PromptError, match="a single choice"):
        case_of_record(replace(record, target=target), CONFIG)
    two = case_of_record(replace(record, target=RecordedTarget("choices", choices=factories.CHOICES)), CONFIG)
    assert two.choices == ((5,), (6,))
    assert two.lengths is None
    by_length = GilotConfig(choice_scoring="norm")
    both = case_of_record(
        replace(record, target=RecordedTarget("choices", choices=factories.CHOICES)), by_length
    )
    # What the log-likelihoods were divided by: -0.5 / -0.25 and -0.9 / -0.3.
    assert both.lengths == (2, 3)


def test_rankings_follow_the_scores_and_controls_do_not() -> None:
    found = case(scores={"ot": [0.1, 0.4, 0.2, -0.5, 0.3, 0.0]})
    sample = ranked_sample(found, ["ot", "not_there"], seed=0, random_rankings=2)
    assert sample.rankings["ot"] == (1, 4, 2, 0, 5, 3)
    assert sample.rankings["control:first_to_last"] == (0, 1, 2, 3, 4, 5)
    assert len(sample.rankings) == 4
    assert ranked_sample(found, ["ot"], 0, 2).rankings == sample.rankings


def test_scores_that_are_all_equal_are_no_random_control() -> None:
    """Ties are broken at random, and not as the control's units are ordered."""
    for doc in range(20):
        found = case(doc_id=doc, scores={"ot": [0.5] * 6})
        sample = ranked_sample(found, ["ot"], seed=0, random_rankings=1)
        if sample.rankings["ot"] != sample.rankings["control:random:1"]:
            return
    pytest.fail("the rankings of 20 samples are those of the control")


def test_groups_keep_the_order_and_never_mix_settings() -> None:
    other = GilotConfig(num_beams=2)
    configs = [CONFIG] * (TOGETHER + 1) + [other] * 2
    cases = [
        case_of_record(Record.from_json(factories.make_record(doc_id=doc)), config)
        for doc, config in enumerate(configs)
    ]
    groups = list(in_groups(cases))
    assert [len(group) for group in groups] == [TOGETHER, 1, 2]
    assert [one for group in groups for one in group] == cases
    assert list(in_groups([])) == []


def test_settings_of_a_run_that_a_preset_made_possible_are_taken() -> None:
    """The preset paper goes with choices; in the manifest its settings stand without its name."""
    config = GilotConfig(preset="paper", target="choices")
    found = settings_of_samples(config.model_dump(mode="json"))
    assert (found.target, found.hypotheses) == ("choices", "regenerate")
    assert removing(found, "mask").absence == "mask"
    with pytest.raises(ConfigError, match="--absence replace: absence='replace' needs replace_with"):
        removing(found, "replace")
