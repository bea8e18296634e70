"""``gilot_plugin.attribute``: one prompt, without an evaluation around it."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

import gilot_plugin
from gilot_plugin import GilotConfig
from gilot_plugin.errors import ConfigError, PromptError, UnsupportedModelError

CONFIG = GilotConfig(preset="paper", num_beams=2, max_new_tokens=2)
TEXT = "The dog does not mind."


@pytest.fixture(scope="module")
def model(tiny_model: Any) -> Any:
    return tiny_model("llama")


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer: Any) -> Any:
    return tiny_tokenizer


@pytest.fixture(scope="module")
def attribution(model: Any, tokenizer: Any) -> gilot_plugin.Attribution:
    return gilot_plugin.attribute(model, tokenizer, TEXT, config=CONFIG)


def test_scores_are_numbers_per_method_and_unit(attribution: gilot_plugin.Attribution) -> None:
    assert list(attribution.scores) == ["ot", "kl", "l2"]
    for values in attribution.scores.values():
        assert len(values) == len(attribution.units) > 1
        assert all(isinstance(value, float) and math.isfinite(value) for value in values)
        assert min(values) >= 0
        assert max(values) > 0


def test_units_are_the_words_of_the_text(attribution: gilot_plugin.Attribution) -> None:
    assert [unit.text for unit in attribution.units] == ["The", " dog", " does", " not", " mind", "."]
    assert {unit.segment for unit in attribution.units} == {"content"}
    bounds = [(unit.start_token, unit.end_token) for unit in attribution.units]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == len(attribution.tokens)
    assert all(before[1] == after[0] for before, after in pairwise(bounds))


def test_tokens_are_the_fed_ones_with_their_characters(
    attribution: gilot_plugin.Attribution, tokenizer: Any
) -> None:
    assert [token.id for token in attribution.tokens] == tokenizer(TEXT)["input_ids"]
    assert all(TEXT[token.start : token.end] == token.text for token in attribution.tokens)


def test_flows_go_from_outcome_to_outcome_largest_first(attribution: gilot_plugin.Attribution) -> None:
    assert len(attribution.flows) == len(attribution.units)
    assert any(attribution.flows)
    for flows in attribution.flows:
        masses = [mass for _, _, mass, _ in flows]
        assert masses == sorted(masses, reverse=True)
        for flow in flows:
            assert isinstance(flow.from_token, str)
            assert isinstance(flow.to_token, str)
            assert 0 < flow.mass <= 1
            assert 0 <= flow.cost <= 2


def test_hypotheses_are_continuations_with_their_probability(
    attribution: gilot_plugin.Attribution, tokenizer: Any
) -> None:
    assert len(attribution.hypotheses) == CONFIG.num_beams
    for hypothesis in attribution.hypotheses:
        assert 1 <= len(hypothesis.token_ids) <= CONFIG.max_new_tokens
        assert hypothesis.text == tokenizer.decode(hypothesis.token_ids)
        assert hypothesis.logprob < 0
    shares = [hypothesis.probability for hypothesis in attribution.hypotheses]
    assert sum(shares) == pytest.approx(1)
    assert shares == sorted(shares, reverse=True)


def test_diagnostics_say_how_far_to_trust_it_and_what_it_cost(attribution: gilot_plugin.Attribution) -> None:
    diagnostics = attribution.diagnostics
    assert 0 <= diagnostics.outside_support <= 1e-4
    assert 0 <= diagnostics.transport_gap < 1e-6
    assert diagnostics.model_tokens > len(attribution.tokens)
    assert {"model", "measure", "total"} <= set(diagnostics.seconds)
    assert all(seconds >= 0 for seconds in diagnostics.seconds.values())


def test_a_prompt_has_a_generation_to_explain(attribution: gilot_plugin.Attribution) -> None:
    assert attribution.target == "generation"
    assert attribution.choices == ()


@pytest.mark.parametrize("form", [list, tuple, np.array, torch.tensor, iter])
def test_token_ids_are_as_good_as_text(
    form: Any, attribution: gilot_plugin.Attribution, model: Any, tokenizer: Any
) -> None:
    prompt = form(tokenizer(TEXT)["input_ids"])
    again = gilot_plugin.attribute(model, tokenizer, prompt, CONFIG)
    assert again.tokens == attribution.tokens
    assert again.scores == attribution.scores


def test_settings_may_be_a_mapping_or_left_out(model: Any, tokenizer: Any) -> None:
    ids = tokenizer("The dog")["input_ids"]
    settings = {"methods": "kl", "hypotheses": "regenerate", "num_beams": 2}
    by_mapping = gilot_plugin.attribute(model, tokenizer, ids, settings)
    assert list(by_mapping.scores) == ["kl"]
    assert len(by_mapping.hypotheses) == 2
    (answer,) = gilot_plugin.attribute(model, tokenizer, ids).hypotheses
    assert len(answer.token_ids) == GilotConfig().max_new_tokens


def test_segments_name_units_and_can_be_the_scope(model: Any, tokenizer: Any) -> None:
    segments = [gilot_plugin.Segment(0, 7, "question")]
    config = GilotConfig(num_beams=2, max_new_tokens=1, scope="question")
    attribution = gilot_plugin.attribute(model, tokenizer, TEXT, config, segments=segments)
    assert [(unit.text, unit.segment) for unit in attribution.units] == [
        ("The", "question"),
        (" dog", "question"),
    ]


def test_progress_counts_every_unit_once(model: Any, tokenizer: Any) -> None:
    counts: list[int] = []
    attribution = gilot_plugin.attribute(model, tokenizer, TEXT, CONFIG, progress=counts.append)
    assert sum(counts) == len(attribution.units)


@pytest.mark.parametrize("prompt", ["", []])
def test_an_empty_prompt_is_refused(prompt: Any, model: Any, tokenizer: Any) -> None:
    with pytest.raises(PromptError, match="the prompt is empty: it has no tokens"):
        gilot_plugin.attribute(model, tokenizer, prompt, CONFIG)


def test_a_prompt_of_one_token_is_compared_with_none(model: Any, tokenizer: Any) -> None:
    attribution = gilot_plugin.attribute(model, tokenizer, [50], CONFIG)
    assert len(attribution.units) == len(attribution.tokens) == 1
    assert attribution.scores["kl"][0] > 0


def test_a_prompt_without_content_is_refused(model: Any, tokenizer: Any) -> None:
    with pytest.raises(PromptError, match=r"scope='content'.*1 tokens; segments: special"):
        gilot_plugin.attribute(model, tokenizer, [tokenizer.bos_token_id], CONFIG)


def test_a_prompt_that_does_not_fit_is_refused(model: Any, tokenizer: Any) -> None:
    with pytest.raises(PromptError, match="need 202 positions, the model has 128"):
        gilot_plugin.attribute(model, tokenizer, [50] * 200, CONFIG)


@pytest.mark.parametrize("token_id", [-1, 320, 10**30])
def test_a_token_that_the_model_does_not_know_is_refused(token_id: int, model: Any, tokenizer: Any) -> None:
    with pytest.raises(PromptError, match=f"token id {token_id}: it has 320 tokens"):
        gilot_plugin.attribute(model, tokenizer, [50, token_id], CONFIG)


@pytest.mark.parametrize(
    "prompt",
    [
        torch.tensor([[5, 6, 7]]),
        [[5, 6, 7]],
        ["a", "b"],
        [{"role": "user", "content": "x"}],
        [1.5, 2.0],
        None,
        5,
    ],
)
def test_what_is_no_flat_sequence_of_ids_is_refused(prompt: Any, model: Any, tokenizer: Any) -> None:
    with pytest.raises(PromptError, match="must be text or a flat sequence of token ids"):
        gilot_plugin.attribute(model, tokenizer, prompt, CONFIG)


def test_the_encoding_of_a_tokenizer_is_refused_as_a_whole(model: Any, tokenizer: Any) -> None:
    with pytest.raises(PromptError, match="flat sequence of token ids"):
        gilot_plugin.attribute(model, tokenizer, tokenizer(TEXT), CONFIG)


def test_a_single_prompt_has_no_choices(model: Any, tokenizer: Any) -> None:
    with pytest.raises(
        ConfigError, match="target='choices': a single prompt has no choices; allowed are 'auto'"
    ):
        gilot_plugin.attribute(model, tokenizer, TEXT, GilotConfig(target="choices"))


@pytest.mark.parametrize("config", [{"num_beams": 0}, "reference"])
def test_wrong_settings_are_refused(config: Any, model: Any, tokenizer: Any) -> None:
    with pytest.raises(ConfigError):
        gilot_plugin.attribute(model, tokenizer, TEXT, config)


@pytest.mark.parametrize(
    ("replacement", "reason"),
    [
        (320, "allowed are token ids from 0 to 319"),
        ("The dog", "the text of exactly one token is allowed, this is"),
    ],
)
def test_a_replacement_must_be_one_token_of_the_model(
    replacement: Any, reason: str, model: Any, tokenizer: Any
) -> None:
    config = GilotConfig(absence="replace", replace_with=replacement)
    with pytest.raises(ConfigError, match=f"replace_with={replacement!r}: {reason}"):
        gilot_plugin.attribute(model, tokenizer, TEXT, config)


def test_a_replacement_may_be_an_id_or_its_text(model: Any, tokenizer: Any) -> None:
    token_id = tokenizer("x")["input_ids"][0]
    by_id, by_text = (
        gilot_plugin.attribute(
            model, tokenizer, "The dog", GilotConfig(absence="replace", replace_with=value, max_new_tokens=1)
        )
        for value in (token_id, "x")
    )
    assert by_id.scores == by_text.scores


def test_holding_positions_needs_a_model_that_takes_them(tiny_model: Any, tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match=r"absence='mask'.*allowed are 'delete' and 'replace'"):
        gilot_plugin.attribute(tiny_model("bloom"), tokenizer, TEXT, GilotConfig(absence="mask"))


@pytest.mark.parametrize("model", ["gpt2", None, torch.nn.Linear(2, 2)])
def test_what_is_no_language_model_is_refused(model: Any, tokenizer: Any) -> None:
    with pytest.raises(UnsupportedModelError, match=f"cannot attribute {type(model).__name__}"):
        gilot_plugin.attribute(model, tokenizer, TEXT, CONFIG)


@pytest.mark.parametrize("training", [True, False])
def test_every_module_keeps_its_mode(training: bool, make_tiny_model: Any, tokenizer: Any) -> None:
    model = make_tiny_model("llama").train(training)
    model.lm_head.train(not training)
    modes = [module.training for module in model.modules()]
    gilot_plugin.attribute(model, tokenizer, "The dog", CONFIG)
    assert [module.training for module in model.modules()] == modes


def test_every_module_keeps_its_mode_after_a_failure(make_tiny_model: Any, tokenizer: Any) -> None:
    model = make_tiny_model("llama").train()
    model.lm_head.register_forward_hook(lambda module, inputs, output: output * math.nan)
    with pytest.raises(gilot_plugin.errors.NonFiniteLogitsError):
        gilot_plugin.attribute(model, tokenizer, "The dog", CONFIG)
    assert all(module.training for module in model.modules())


def test_dropout_is_off_while_it_attributes(make_tiny_model: Any, tokenizer: Any) -> None:
    model = make_tiny_model("gpt2", resid_pdrop=0.5).train()
    first, second = (gilot_plugin.attribute(model, tokenizer, "The dog", CONFIG) for _ in range(2))
    assert first.scores == second.scores
