"""Planted causes are causes, the models follow them, and the transport distance finds them."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import Any

import numpy as np
import planted_recall
import pytest
import torch
from planted_models import (
    ARCHITECTURES,
    Ablated,
    Trained,
    ablated,
    accuracy,
    answer_logits,
    make_tokenizer,
    said,
    train,
)
from planted_recall import (
    PAPER,
    USUAL,
    Recall,
    Setting,
    attributions,
    every_setting,
    recall,
    scores,
    single_changes,
)
from planted_tasks import EOS, FILLER, IDS, PAD, TASKS, Prompts, Task, Tokens, is_content

from gilot_plugin.settings.config import GilotConfig

TASK = {task.name: task for task in TASKS}
DECIDED = [task for task in TASKS if not task.redundant]
#: Which rule a task follows does not change with the length of its answer.
RULES = [task for task in DECIDED if not task.ends]
ONCE = [task for task in DECIDED if task.ends]
WORDS = np.array([IDS[word] for word in ("apple", "boat", "cloud", "paper")])


def named(task: Task) -> str:
    return task.name


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def trained(name: str, architecture: str) -> Trained:
    return train(TASK[name], architecture)


def llama(task: Task) -> Any:
    return trained(task.name, "llama").model


tokenizer = cache(make_tokenizer)


def drawn(task: Task, n: int) -> Prompts:
    return task.draw(np.random.default_rng(1234), n)


def without(token_ids: Tokens, place: int, absence: str) -> Tokens:
    if absence == "replace":
        changed = token_ids.copy()
        changed[:, place] = IDS[FILLER]
        return changed
    return np.insert(np.delete(token_ids, place, axis=1), 0, IDS[PAD], axis=1)


@pytest.mark.parametrize("absence", ["delete", "replace"])
@pytest.mark.parametrize("task", RULES, ids=named)
def test_the_answer_changes_with_the_causes_and_with_nothing_else(task: Task, absence: str) -> None:
    token_ids, causes = drawn(task, 200)
    answers = task.rule(token_ids)
    changes = np.stack(
        [task.rule(without(token_ids, place, absence)) != answers for place in range(token_ids.shape[1])],
        axis=1,
    )
    content = is_content(token_ids)
    np.testing.assert_array_equal(changes[content], causes[content])
    assert not causes[~content].any()


def test_no_single_redundant_cause_changes_the_answer() -> None:
    token_ids, causes = drawn(TASK["redundant"], 200)
    rule = TASK["redundant"].rule
    answers = rule(token_ids)
    for place in range(1, token_ids.shape[1] - 1):
        np.testing.assert_array_equal(rule(without(token_ids, place, "delete")), answers)
    assert (rule(np.where(causes, IDS[FILLER], token_ids)) != answers).all()


@pytest.mark.parametrize("task", DECIDED, ids=named)
def test_models_follow_the_causes_alone(task: Task) -> None:
    """What is no cause may become any word; without a cause, the model's answer is another one."""
    model = llama(task)
    token_ids, causes = drawn(task, 200)
    generator = np.random.default_rng(0)
    other = is_content(token_ids) & ~causes
    disturbed = np.where(other, generator.choice(WORDS, token_ids.shape), token_ids)
    assert share_right(model, task, disturbed, task.rule(token_ids)) > 0.99
    for place in range(token_ids.shape[1]):
        affected = causes[:, place]
        if affected.any():
            left = without(token_ids, place, "replace")[affected]
            assert share_right(model, task, left, task.rule(token_ids)[affected]) < 0.01


@torch.no_grad()
def share_right(model: Any, task: Task, token_ids: Tokens, answers: Tokens) -> float:
    places = np.broadcast_to(np.arange(token_ids.shape[1]), token_ids.shape)
    as_fed = Ablated(token_ids, np.ones(token_ids.shape, dtype=bool), places, answers)
    logits = answer_logits(model, task, as_fed, np.random.default_rng(0))
    told = said(task, answers)
    # An end is said whatever the answer.
    return float((logits.argmax(dim=-1) == told)[told != IDS[EOS]].float().mean())


@pytest.mark.parametrize("task", TASKS, ids=named)
def test_models_answer_fresh_prompts(task: Task) -> None:
    model = llama(task)
    for rate, enough in ((0.0, 0.999), (0.3, 0.99)):
        fresh = ablated(task, np.random.default_rng(99), np.full(2000, rate))
        assert accuracy(model, task, fresh, np.random.default_rng(98)) > enough


def test_training_is_reproducible() -> None:
    again = train(TASK["shortcut"], "llama").model.state_dict()
    for name, weight in llama(TASK["shortcut"]).state_dict().items():
        torch.testing.assert_close(again[name], weight, rtol=0, atol=0)


@pytest.mark.parametrize("task", RULES, ids=named)
def test_the_default_settings_find_the_causes(task: Task) -> None:
    token_ids, causes = drawn(task, 100)
    config = GilotConfig(methods=("ot",), num_threads=1)
    found = [
        causes[row][is_content(token_ids[row])][np.argmax(values["ot"])]
        for row, values in enumerate(scores(llama(task), tokenizer(), token_ids, config))
    ]
    assert len(found) == 100
    assert np.mean(found) >= 0.99


@pytest.mark.parametrize(
    "setting",
    [
        Setting("shared", "delete", "last"),
        Setting("response", "delete", "last"),
        Setting("regenerate", "mask", "mean", 2, 2),
        Setting("regenerate", "replace", "last", 1, 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("task", RULES, ids=named)
def test_other_settings_find_all_causes(task: Task, setting: Setting) -> None:
    found = measured(task, "llama", setting, prompts=12)
    assert (found.first, found.every) == (12, 12)


@pytest.mark.parametrize("absence", ["delete", "mask", "replace"])
@pytest.mark.parametrize("hypotheses", ["response", "shared", "regenerate"])
@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        pytest.param("copy_once", "llama", id="copy_once-llama"),
        pytest.param("shortcut_once", "gpt2", id="shortcut_once-gpt2"),
    ],
)
def test_causes_of_one_token_are_found_at_the_first_position(
    name: str, architecture: str, hypotheses: str, absence: str
) -> None:
    """The answer is over after one token: what comes after it says nothing of its cause."""
    setting = Setting(hypotheses, absence)
    assert setting.steps == "mean"
    assert measured(TASK[name], architecture, setting, prompts=25).first == 25


@pytest.mark.slow
@pytest.mark.parametrize("absence", ["delete", "mask", "replace"])
@pytest.mark.parametrize("hypotheses", ["response", "shared", "regenerate"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("task", ONCE, ids=named)
def test_causes_of_one_token_are_found_in_all_settings(
    task: Task, architecture: str, hypotheses: str, absence: str
) -> None:
    assert measured(task, architecture, Setting(hypotheses, absence), prompts=100).first >= 99


def test_another_architecture_follows_and_shows_the_causes() -> None:
    assert measured(TASK["shortcut"], "gpt2", Setting(), prompts=50).first == 50


def test_single_absences_cannot_find_redundant_causes() -> None:
    """By chance, a fifth of the prompts has a cause first."""
    assert measured(TASK["redundant"], "llama", Setting(), prompts=50).rate < 0.6


def measured(task: Task, architecture: str, setting: Setting, prompts: int) -> Recall:
    model = trained(task.name, architecture).model
    (found,) = recall(task, architecture, model, tokenizer(), drawn(task, prompts), setting, ["ot"])
    return found


@pytest.mark.parametrize("value", [0.0, None], ids=["ties", "random"])
def test_scores_that_say_nothing_find_causes_as_often_as_chance(
    monkeypatch: pytest.MonkeyPatch, value: float | None
) -> None:
    generator = np.random.default_rng(7)

    def empty_scores(model: Any, tokenizer: Any, token_ids: Tokens, config: GilotConfig) -> Any:
        for row in token_ids:
            units = int(is_content(row).sum())
            yield {"ot": generator.random(units) if value is None else np.full(units, value)}

    monkeypatch.setattr(planted_recall, "scores", empty_scores)
    task = TASK["copy"]
    (found,) = recall(task, "llama", None, None, drawn(task, 2000), Setting(), ["ot"])
    low, high = found.interval()
    assert low < 1 / 8 < high
    assert found.first == found.every


def test_settings_are_all_distinct_and_start_with_the_usual_one() -> None:
    settings = every_setting()
    assert settings[0] == Setting()
    assert len(set(map(str, settings))) == len(settings)
    assert set(single_changes()) <= set(settings)
    assert {setting.absence for setting in single_changes()} == {"delete", "mask", "replace"}


def test_the_usual_setting_is_the_default_and_the_paper_s_its_preset() -> None:
    for setting, config in ((USUAL, GilotConfig()), (PAPER, GilotConfig(preset="paper"))):
        assert setting in single_changes()
        assert asdict(setting).items() <= config.model_dump().items()


@pytest.mark.parametrize("name", ["ot", "kl"])
def test_sets_of_absent_tokens_find_redundant_causes_and_name_them(name: str) -> None:
    """Both come before all other tokens, as the pair that stands in for each other."""
    token_ids, causes = drawn(TASK["redundant"], 12)
    config = GilotConfig(methods=(name,), scheme="auto", num_threads=1)
    found = attributions(llama(TASK["redundant"]), tokenizer(), token_ids, config)
    for row, attribution in enumerate(found):
        both = np.flatnonzero(causes[row][is_content(token_ids[row])]).tolist()
        assert sorted(np.argsort(attribution.scores[name])[-2:].tolist()) == both
        pair = attribution.interactions[0]
        assert (list(pair.units), pair.value < 0) == (both, True)
        assert pair.interval[1] < 0
        assert attribution.scheme is not None
        assert attribution.scheme.coalitions <= len(attribution.units) + 48


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("task", [task for task in TASKS if not task.ends], ids=named)
def test_sets_of_absent_tokens_find_the_causes(task: Task, architecture: str) -> None:
    assert measured(task, architecture, Setting(scheme="auto"), prompts=100).first >= 99
