"""Attribution of a choice against log-likelihoods that are computed one by one."""

from __future__ import annotations

import numpy as np
import pytest

from gilot_plugin.errors import PromptError
from tests.attribution import engine_calls, serial
from tests.attribution.closeness import CLOSE, assert_close
from tests.attribution.engine_calls import PROMPT, SPANS


@pytest.mark.parametrize("batch_size", [1, 4, 64])
@pytest.mark.parametrize(
    "continuations",
    [[(5,), (300,)], [(5, 6, 7), (44, 8, 9)], [(5, 6, 7, 8), (44,), (91, 12), (100, 101, 102, 3, 4, 9)]],
    ids=["single", "same-length", "lengths-differ"],
)
def test_choices_of_every_family(family_model, continuations, batch_size):
    attribution = engine_calls.choices(family_model, PROMPT, SPANS, continuations, batch_size=batch_size)
    sums, shares, expected = serial.choice_scores(family_model, PROMPT, SPANS, continuations)
    found = [(choice.logprob, choice.probability) for choice in attribution.choices]
    np.testing.assert_allclose(found, np.stack((sums, shares), axis=1), rtol=CLOSE, atol=CLOSE)
    assert_close(attribution, expected)
    assert attribution.target == "choices"
    assert attribution.hypotheses == ()
    assert [choice.token_ids for choice in attribution.choices] == continuations


def test_choices_with_a_token_replaced(tiny_model):
    model, continuations = tiny_model("gpt2"), [(5, 6), (44,)]
    attribution = engine_calls.choices(
        model, PROMPT, SPANS[1:2], continuations, absence="replace", replace_with=41
    )
    *_, expected = serial.choice_scores(
        model, PROMPT, SPANS[1:2], continuations, absence="replace", replace_with=41
    )
    assert_close(attribution, expected)


ALL = engine_calls.methods("ot", "kl", "l2", "js", "tv", "logprob")

#: Beginnings that are shared, a choice that is the beginning of another, the same tokens twice.
ALIKE = [(5, 6, 7), (5, 6, 8), (5,), (44, 6), (5, 6), (44, 6)]


def check(model, continuations, batch_size=4, norm=False, lengths=None, gold=(), unscored=None, **settings):
    """All distances are those of log-likelihoods that are computed one by one."""
    scoring = "norm" if norm else "sum"
    attribution = engine_calls.choices(
        model,
        PROMPT,
        SPANS,
        continuations,
        lengths,
        gold,
        unscored,
        batch_size=batch_size,
        choice_scoring=scoring,
        methods=ALL,
        **settings,
    )
    if norm:
        lengths = lengths or [len(str(choice)) for choice in continuations]
    counted = lengths if norm else None
    sums, shares, expected = serial.choice_scores(
        model, PROMPT, SPANS, continuations, lengths=counted, gold=gold, unscored=unscored, **settings
    )
    np.testing.assert_allclose([choice.logprob for choice in attribution.choices], sums, rtol=CLOSE)
    np.testing.assert_allclose([choice.probability for choice in attribution.choices], shares, atol=CLOSE)
    assert_close(attribution, expected)
    return attribution


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("continuations", [[(5,), (300,), (44,)], ALIKE], ids=["single", "alike"])
@pytest.mark.parametrize("family", ["gpt2", "mistral", "bloom", "mamba"])
def test_every_distance_of_choices(tiny_model, family, continuations, norm, batch_size):
    attribution = check(tiny_model(family), continuations, batch_size, norm, gold=[1])
    assert list(attribution.scores) == ["ot", "kl", "l2", "js", "tv", "logprob", "margin"]


@pytest.mark.parametrize(("absence", "replace_with"), [("mask", 0), ("replace", 41)])
def test_every_distance_of_choices_without_deleting(tiny_model, absence, replace_with):
    check(tiny_model("llama"), ALIKE, norm=True, gold=[0, 3], absence=absence, replace_with=replace_with)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("gold", [(0,), (3, 1), (2, 2), (0, 1, 2, 3, 4)])
def test_margin_comes_where_some_choices_are_right_and_some_are_not(tiny_model, gold, norm):
    lengths = [3, 40, 9, 1, 12, 7]
    attribution = check(tiny_model("llama"), ALIKE, norm=norm, lengths=lengths, gold=gold)
    assert "margin" in attribution.scores


@pytest.mark.parametrize("gold", [(), tuple(range(6))])
def test_no_margin_where_all_or_no_choices_are_right(tiny_model, gold):
    attribution = engine_calls.choices(tiny_model("llama"), PROMPT, SPANS, ALIKE, gold=gold)
    assert "margin" not in attribution.scores


def test_lengths_decide_which_choice_is_preferred(tiny_model):
    model, continuations = tiny_model("llama"), [(5, 6), (44, 7)]
    likeliest = int(np.argmax([choice.logprob for choice in check(model, continuations).choices]))
    lengths = [1, 1]
    lengths[1 - likeliest] = 1000
    attribution = check(model, continuations, norm=True, lengths=lengths)
    other = attribution.choices[1 - likeliest]
    assert other.probability > 0.5
    assert other.normalized_logprob == pytest.approx(other.logprob / 1000)


def test_lengths_are_those_of_the_texts_if_not_given(tiny_model):
    model, continuations = tiny_model("llama"), [(5, 6), (44,), (100, 200, 300)]
    lengths = [len(str(choice)) for choice in continuations]
    given = check(model, continuations, norm=True, lengths=lengths)
    assert check(model, continuations, norm=True).scores == given.scores


def test_choices_flow_between_their_texts(tiny_model):
    attribution = engine_calls.choices(tiny_model("llama"), PROMPT, SPANS, [(5, 6), (44, 7)])
    flows = [flow for unit in attribution.flows for flow in unit]
    assert flows
    assert all({flow.from_token, flow.to_token} == {"(5, 6)", "(44, 7)"} for flow in flows)


def test_last_token_of_a_choice_needs_no_position(make_tiny_model):
    model = make_tiny_model("gpt2", max_position_embeddings=16)
    continuations = [(5, 6, 7), (44,)]
    engine_calls.choices(model, PROMPT, SPANS, continuations)
    with pytest.raises(PromptError, match="need 17 positions, the model has 16"):
        engine_calls.choices(model, PROMPT, SPANS, [(5, 6, 7, 8), (44,)])


@pytest.mark.parametrize("batch_size", [1, 64])
@pytest.mark.parametrize(
    ("continuations", "unscored"),
    [
        ([(5, 6, 7, 8), (44, 7, 8)], [2, 1]),
        ([(5, 6, 7, 8), (7, 8), (5, 7, 8)], [2, 0, 1]),
        ([(5, 6, 91), (5, 44, 12), (5, 44)], [1, 2, 1]),
    ],
    ids=["same-ending", "one-without", "endings-differ"],
)
@pytest.mark.parametrize("family", ["llama", "bloom"])
def test_choices_in_the_context(tiny_model, family, continuations, unscored, batch_size):
    """As in "The trophy does not fit because the (trophy | suitcase) is too big": what follows is scored."""
    check(tiny_model(family), continuations, batch_size, gold=[1], unscored=unscored)
    check(tiny_model(family), continuations, batch_size, norm=True, unscored=unscored)
