"""The engine against the plain serial computation, and what must never change its scores."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from gilot_plugin.attribution.engine import attribute_generation
from gilot_plugin.attribution.methods import Distance, Measurement, PromptMethod
from gilot_plugin.attribution.tokens import decode, make_prompt, token_label
from gilot_plugin.attribution.units import make_units
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.errors import BudgetError, NonFiniteLogitsError, PromptError, UnsupportedModelError
from tests.attribution import engine_calls, serial
from tests.attribution.altered_models import before_forward, bias_output, read_last_token_only

PROMPT = (0, 37, 211, 64, 150, 9, 301, 88, 12, 250, 133, 70, 19, 205)
SPANS = [(0, 1), (3, 5), (6, 7), (10, 13), (13, 14)]
EVERY_TOKEN = engine_calls.each_token(PROMPT)

#: Largest difference to the serial computation: float32 round-off of the model, in other batches.
CLOSE = 1e-5


def assert_close(attribution, expected: Sequence[serial.Scores]) -> None:
    for name in ("ot", "kl", "l2"):
        np.testing.assert_allclose(
            attribution.scores[name], [getattr(scores, name) for scores in expected], rtol=CLOSE, atol=CLOSE
        )
    # Round-off may push the last token of a nucleus over the edge.
    np.testing.assert_allclose(
        attribution.diagnostics.support_size, [scores.support for scores in expected], rtol=0, atol=1
    )


def same_scores(attribution, other, tolerance: float = CLOSE) -> None:
    for name, values in attribution.scores.items():
        np.testing.assert_allclose(values, other.scores[name], rtol=tolerance, atol=tolerance)


# Against the serial computation


def test_default_recipe_on_smollm2(smollm2):
    model, tokenizer = smollm2
    chat = [{"role": "user", "content": "Which of these animals can not fly: a sparrow, a penguin or an owl?"}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    prompt = make_prompt(tokenizer, tokenizer(text, add_special_tokens=False)["input_ids"])
    words = make_units(prompt, "word")
    units = [unit for unit in words if unit.text.strip() in {"animals", "not", "penguin", "?"}]
    assert len(units) == 4
    attribution = attribute_generation(
        TransformersBackend(model),
        prompt,
        units,
        engine_calls.recipe(),
        lambda token: token_label(tokenizer, token),
        lambda ids: decode(tokenizer, ids),
    )
    spans = [(unit.start_token, unit.end_token) for unit in units]
    assert_close(attribution, serial.scores(model, prompt.token_ids, spans, eos=(tokenizer.eos_token_id,)))
    assert attribution.diagnostics.transport_gap < 1e-9
    assert 0 < attribution.diagnostics.outside_support < 0.5
    assert attribution.units == tuple(units)
    assert attribution.target == "generation"


@pytest.fixture(scope="module")
def family_scores(family_model):
    return serial.scores(family_model, PROMPT, SPANS)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 64])
def test_every_family_and_batch_size(family_model, family_scores, batch_size):
    attribution = engine_calls.generation(family_model, PROMPT, SPANS, batch_size=batch_size)
    assert_close(attribution, family_scores)
    assert attribution.diagnostics.batch_size == batch_size
    assert attribution.diagnostics.transport_gap < 1e-12


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "gemma2", "mistral", "gpt_neox", "opt"])
def test_mask(tiny_model, family):
    model = tiny_model(family)
    spans = [*SPANS, (0, len(PROMPT))]
    attribution = engine_calls.generation(model, PROMPT, spans, absence="mask")
    assert_close(attribution, serial.scores(model, PROMPT, spans, absence="mask"))


@pytest.mark.parametrize("family", ["bloom", "mamba"])
@pytest.mark.parametrize("absence", ["mask", "published"])
def test_absence_that_needs_positions_the_model_does_not_take(tiny_model, family, absence):
    model = tiny_model(family)
    with pytest.raises(UnsupportedModelError, match=f"'{absence}'.*'delete' or 'replace'"):
        engine_calls.generation(model, PROMPT, SPANS, absence=absence)
    with pytest.raises(UnsupportedModelError, match=f"'{absence}'"):
        engine_calls.choices(model, PROMPT, SPANS, [(4,), (5,)], absence=absence)


def test_replace(family_model):
    attribution = engine_calls.generation(family_model, PROMPT, SPANS, absence="replace", replace_with=41)
    assert_close(attribution, serial.scores(family_model, PROMPT, SPANS, absence="replace", replace_with=41))


def test_unit_that_is_the_whole_prompt_leaves_the_empty_prompt(tiny_model):
    model = tiny_model("llama")
    spans = [(0, len(PROMPT))]
    attribution = engine_calls.generation(model, PROMPT, spans)
    assert_close(attribution, serial.scores(model, PROMPT, spans))


@pytest.mark.parametrize(("num_beams", "max_new_tokens"), [(1, 1), (1, 5), (4, 1), (2, 3), (7, 4)])
@pytest.mark.parametrize("family", ["llama", "bloom", "mamba"])
def test_beams_and_steps(tiny_model, family, num_beams, max_new_tokens):
    model, sizes = tiny_model(family), {"num_beams": num_beams, "max_new_tokens": max_new_tokens}
    attribution = engine_calls.generation(model, PROMPT, SPANS, **sizes)
    assert_close(attribution, serial.scores(model, PROMPT, SPANS, **sizes))


@pytest.mark.parametrize("eos", [(1,), (17,), (1, 17, 200)])
@pytest.mark.parametrize("bias", [6.0, 8.0, 10.0])
@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_likely_ends(make_tiny_model, family, eos, bias):
    model = bias_output(make_tiny_model(family), dict.fromkeys(eos, bias))
    model.generation_config.eos_token_id = list(eos)
    attribution = engine_calls.generation(model, PROMPT, SPANS)
    assert any(hypothesis.ended for hypothesis in attribution.hypotheses)
    assert not all(hypothesis.ended and len(hypothesis.token_ids) == 1 for hypothesis in attribution.hypotheses)
    assert_close(attribution, serial.scores(model, PROMPT, SPANS, eos=eos))


@pytest.mark.parametrize("batch_size", [1, 4])
def test_all_hypotheses_end_at_once(make_tiny_model, batch_size):
    eos = (1, 7, 17, 200)
    model = bias_output(make_tiny_model("llama"), dict.fromkeys(eos, 50.0))
    model.generation_config.eos_token_id = list(eos)
    attribution = engine_calls.generation(model, PROMPT, SPANS, batch_size=batch_size)
    assert {hypothesis.token_ids for hypothesis in attribution.hypotheses} == {(token,) for token in eos}
    assert all(hypothesis.ended for hypothesis in attribution.hypotheses)
    assert_close(attribution, serial.scores(model, PROMPT, SPANS, eos=eos))


def test_logits_wider_than_the_configuration_says(make_tiny_model):
    eos = (1, 7, 17, 200)
    model = bias_output(make_tiny_model("llama"), dict.fromkeys(eos, 50.0))
    model.generation_config.eos_token_id = list(eos)
    expected = engine_calls.generation(model, PROMPT, SPANS)
    model.config.vocab_size -= 20
    same_scores(engine_calls.generation(model, PROMPT, SPANS), expected)


def test_no_end_token(make_tiny_model):
    model = make_tiny_model("llama", eos_token_id=None)
    attribution = engine_calls.generation(model, PROMPT, SPANS)
    assert not any(hypothesis.ended for hypothesis in attribution.hypotheses)
    assert_close(attribution, serial.scores(model, PROMPT, SPANS, eos=()))


@pytest.mark.parametrize("max_new_tokens", [1, 3])
def test_more_beams_than_tokens(make_tiny_model, max_new_tokens):
    model = make_tiny_model("llama", vocab_size=8)
    prompt, spans = (0, 5, 3, 7, 4, 6, 3, 3), [(1, 2), (4, 6), (7, 8)]
    sizes = {"num_beams": 16, "max_new_tokens": max_new_tokens}
    attribution = engine_calls.generation(model, prompt, spans, **sizes)
    assert_close(attribution, serial.scores(model, prompt, spans, **sizes))


@pytest.mark.parametrize("others", [-1e4, float("-inf")])
@pytest.mark.parametrize("ends", [False, True])
def test_few_tokens_that_are_possible(make_tiny_model, others, ends):
    possible = (1, 30, 31) if ends else (29, 30, 31)
    model = bias_output(make_tiny_model("llama"), dict.fromkeys(possible, 0.0), others)
    sizes = {"num_beams": 16, "max_new_tokens": 2}
    attribution = engine_calls.generation(model, PROMPT, SPANS, **sizes)
    assert_close(attribution, serial.scores(model, PROMPT, SPANS, generate=False, **sizes))
    # generate fills up with hypotheses that cannot be, so it is no model for the hypotheses here.
    likely = [hypothesis for hypothesis in attribution.hypotheses if hypothesis.logprob > -1e3]
    assert len(likely) == (7 if ends else 9)
    assert sum(hypothesis.probability for hypothesis in attribution.hypotheses) == pytest.approx(1.0)


def test_hypotheses_of_the_prompt(family_model):
    attribution = engine_calls.generation(family_model, PROMPT, SPANS[:1])
    read = serial.plain_reader(family_model, PROMPT)
    expected = serial.generated_hypotheses(family_model, PROMPT, 4, 5, eos=(1,))
    assert {hypothesis.token_ids for hypothesis in attribution.hypotheses} == set(expected)
    for hypothesis in attribution.hypotheses:
        logprobs = read(hypothesis.token_ids)
        total = sum(logprobs[j, token] for j, token in enumerate(hypothesis.token_ids))
        assert hypothesis.logprob == pytest.approx(total, abs=1e-4)
        assert hypothesis.ended == (hypothesis.token_ids[-1] == 1)
        assert hypothesis.text == str(list(hypothesis.token_ids))
    probabilities = [hypothesis.probability for hypothesis in attribution.hypotheses]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1.0)


# Invariants


def test_permuting_the_units_permutes_the_scores(tiny_model):
    order = list(range(len(EVERY_TOKEN)))
    random.Random(0).shuffle(order)
    model = tiny_model("llama")
    straight = engine_calls.generation(model, PROMPT, EVERY_TOKEN)
    permuted = engine_calls.generation(model, PROMPT, [EVERY_TOKEN[index] for index in order])
    for name, values in straight.scores.items():
        np.testing.assert_allclose(
            permuted.scores[name], [values[index] for index in order], rtol=CLOSE, atol=CLOSE
        )
    assert [unit.start_token for unit in permuted.units] == order


def test_threads_do_not_matter(tiny_model):
    one, four = (
        engine_calls.generation(tiny_model("llama"), PROMPT, EVERY_TOKEN, num_threads=threads)
        for threads in (1, 4)
    )
    assert one.scores == four.scores
    assert one.flows == four.flows


def test_unit_that_the_model_ignores_scores_0(make_tiny_model):
    model = read_last_token_only(make_tiny_model("llama"))
    before_the_last = EVERY_TOKEN[:-1]
    attribution = engine_calls.generation(model, PROMPT, [*before_the_last, (0, 13), EVERY_TOKEN[-1]])
    for values in attribution.scores.values():
        assert max(values[:-1]) < 1e-6
        assert values[-1] > 0.1


def test_unit_replaced_by_itself_scores_0(tiny_model):
    attribution = engine_calls.generation(
        tiny_model("llama"), PROMPT, [(5, 6)], absence="replace", replace_with=PROMPT[5]
    )
    assert [values for (values,) in attribution.scores.values()] == pytest.approx([0, 0, 0], abs=1e-6)
    assert attribution.flows == ((),)


def test_same_call_gives_the_same_result(tiny_model):
    first, second = (engine_calls.generation(tiny_model("gpt2"), PROMPT, SPANS) for _ in range(2))
    assert (first.scores, first.flows, first.hypotheses) == (second.scores, second.flows, second.hypotheses)


def _state_of_the_world(model) -> tuple[object, ...]:
    weights = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        weights.update(name.encode() + tensor.detach().numpy().tobytes())
    return (
        weights.hexdigest(),
        [(name, module.training) for name, module in model.named_modules()],
        [(name, weight.requires_grad, weight.grad is None) for name, weight in model.named_parameters()],
        model.config.to_dict(),
        model.generation_config.to_dict(),
        torch.is_grad_enabled(),
        torch.get_rng_state().tolist(),
        repr(np.random.get_state()),  # noqa: NPY002  # the state that evaluations use
        random.getstate(),
    )


@pytest.mark.parametrize("training", [False, True])
def test_model_and_random_states_are_left_alone(make_tiny_model, training):
    model = make_tiny_model("llama").train(training)
    model.generation_config.do_sample = True
    model.generation_config.temperature = 0.3
    before = _state_of_the_world(model)
    engine_calls.generation(model, PROMPT, SPANS)
    engine_calls.choices(model, PROMPT, SPANS, [(5, 6), (7,)])
    assert _state_of_the_world(model) == before


def test_generation_settings_of_the_model_do_not_matter(make_tiny_model):
    model = make_tiny_model("llama")
    plain = engine_calls.generation(model, PROMPT, SPANS)
    model.generation_config.repetition_penalty = 1.7
    model.generation_config.length_penalty = 3.0
    model.generation_config.no_repeat_ngram_size = 1
    assert engine_calls.generation(model, PROMPT, SPANS).scores == plain.scores


# Methods


def test_methods_come_in_the_order_asked_for(tiny_model):
    first = PromptMethod("first_token", "", lambda context: [unit.start_token for unit in context.units])
    constant = Distance("constant", "", lambda pair: Measurement(2.0))
    attribution = engine_calls.generation(tiny_model("llama"), PROMPT, SPANS, methods=(constant, first))
    assert list(attribution.scores) == ["constant", "first_token"]
    assert attribution.scores["constant"] == (2.0,) * len(SPANS)
    assert attribution.scores["first_token"] == tuple(start for start, _ in SPANS)


def test_method_that_forgets_a_unit_is_refused(tiny_model):
    broken = PromptMethod("broken", "", lambda context: [0.0])
    with pytest.raises(ValueError, match="'broken' gave 1 scores for 5 units"):
        engine_calls.generation(tiny_model("llama"), PROMPT, SPANS, methods=(broken,))


def test_error_in_a_measurement_is_raised(tiny_model):
    def fail(pair):
        raise ZeroDivisionError("of the method")

    with pytest.raises(ZeroDivisionError, match="of the method"):
        engine_calls.generation(tiny_model("llama"), PROMPT, SPANS, methods=(Distance("fails", "", fail),))


def test_progress_counts_the_units(tiny_model):
    seen: list[int] = []
    prompt = engine_calls.prompt_of(PROMPT)
    attribute_generation(
        TransformersBackend(tiny_model("llama")),
        prompt,
        engine_calls.units_at(prompt, EVERY_TOKEN),
        engine_calls.recipe(batch_size=1),
        str,
        str,
        progress=seen.append,
    )
    assert sum(seen) == len(EVERY_TOKEN)


# Memory


def _refuse_batches_above(limit: int):
    def check(input_ids: torch.Tensor) -> None:
        if len(input_ids) > limit:
            raise torch.OutOfMemoryError(f"{len(input_ids)} rows")

    return check


@pytest.mark.parametrize(("limit", "batch_size"), [(4, 1), (12, 3), (31, 7)])
def test_out_of_memory_goes_on_in_smaller_batches(make_tiny_model, tiny_model, limit, batch_size):
    model = before_forward(make_tiny_model("llama"), _refuse_batches_above(limit))
    attribution = engine_calls.generation(model, PROMPT, EVERY_TOKEN, batch_size=64)
    assert attribution.diagnostics.batch_size == batch_size
    same_scores(attribution, engine_calls.generation(tiny_model("llama"), PROMPT, EVERY_TOKEN))


def test_out_of_memory_of_choices(make_tiny_model, tiny_model):
    continuations = [(5, 6), (7,)]
    model = before_forward(make_tiny_model("llama"), _refuse_batches_above(6))
    attribution = engine_calls.choices(model, PROMPT, EVERY_TOKEN, continuations, batch_size=64)
    assert attribution.diagnostics.batch_size == 3
    same_scores(attribution, engine_calls.choices(tiny_model("llama"), PROMPT, EVERY_TOKEN, continuations))


def test_out_of_memory_with_a_single_prompt_is_raised(make_tiny_model):
    model = before_forward(make_tiny_model("llama"), _refuse_batches_above(3))
    with pytest.raises(torch.OutOfMemoryError):
        engine_calls.generation(model, PROMPT, SPANS)


def test_budget_below_one_prompt(tiny_model):
    with pytest.raises(BudgetError, match="memory_budget"):
        engine_calls.generation(tiny_model("llama"), PROMPT, SPANS, batch_size=None, memory_budget=1000)


def test_budget_sets_the_batch(tiny_model):
    model = tiny_model("llama")
    row = TransformersBackend(model).row_bytes(len(PROMPT) + 5, beams=4)
    attribution = engine_calls.generation(
        model, PROMPT, EVERY_TOKEN, batch_size=None, memory_budget=3 * row + row // 2
    )
    assert attribution.diagnostics.batch_size == 3
    same_scores(attribution, engine_calls.generation(model, PROMPT, EVERY_TOKEN))


def test_batch_without_settings_fits_the_machine(tiny_model):
    attribution = engine_calls.generation(tiny_model("llama"), PROMPT, SPANS, batch_size=None)
    assert attribution.diagnostics.batch_size >= 1


# Refusals


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite(make_tiny_model, value):
    model = bias_output(make_tiny_model("llama"), {5: value})
    with pytest.raises(NonFiniteLogitsError, match="dtype"):
        engine_calls.generation(model, PROMPT, SPANS)
    with pytest.raises(NonFiniteLogitsError, match="dtype"):
        engine_calls.choices(model, PROMPT, SPANS, [(4,), (8,)])


def test_nothing_is_possible(make_tiny_model):
    model = bias_output(make_tiny_model("llama"), {}, others=float("-inf"))
    with pytest.raises(NonFiniteLogitsError):
        engine_calls.generation(model, PROMPT, SPANS)


def test_encoder_decoder():
    config = T5Config(vocab_size=32, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=4)
    with pytest.raises(UnsupportedModelError, match="encoder-decoder"):
        engine_calls.generation(T5ForConditionalGeneration(config), PROMPT, SPANS)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_prompt_that_just_fits_and_prompt_that_does_not(make_tiny_model, family):
    model = make_tiny_model(family, max_position_embeddings=16)
    fits = engine_calls.generation(model, PROMPT[:11], SPANS[:2])
    assert_close(fits, serial.scores(model, PROMPT[:11], SPANS[:2]))
    with pytest.raises(PromptError, match="need 17 positions, the model has 16"):
        engine_calls.generation(model, PROMPT[:12], SPANS[:2])


# Choices


def _expected_choices(model, spans, continuations, without) -> tuple[np.ndarray, list[serial.Scores]]:
    def distribution(prompt):
        logprobs = serial.choice_logprobs(model, prompt, continuations)
        shares = np.exp(logprobs - logprobs.max())
        return logprobs, shares / shares.sum()

    weight = model.get_input_embeddings().weight.detach()
    means = torch.stack([weight[list(choice)].double().mean(dim=0) for choice in continuations])
    logprobs, present = distribution(PROMPT)
    return logprobs, [serial.compare(present, distribution(without(span))[1], means) for span in spans]


@pytest.mark.parametrize("batch_size", [1, 4, 64])
@pytest.mark.parametrize(
    "continuations",
    [[(5,), (300,)], [(5, 6, 7), (44, 8, 9)], [(5, 6, 7, 8), (44,), (91, 12), (100, 101, 102, 3, 4, 9)]],
    ids=["single", "same-length", "lengths-differ"],
)
def test_choices_of_every_family(family_model, continuations, batch_size):
    attribution = engine_calls.choices(family_model, PROMPT, SPANS, continuations, batch_size=batch_size)
    logprobs, expected = _expected_choices(
        family_model, SPANS, continuations, lambda span: PROMPT[: span[0]] + PROMPT[span[1] :]
    )
    np.testing.assert_allclose([choice.logprob for choice in attribution.choices], logprobs, rtol=1e-5, atol=1e-5)
    shares = np.exp(logprobs - logprobs.max())
    np.testing.assert_allclose(
        [choice.probability for choice in attribution.choices], shares / shares.sum(), atol=1e-5
    )
    for name in ("ot", "kl", "l2"):
        np.testing.assert_allclose(
            attribution.scores[name], [getattr(scores, name) for scores in expected], rtol=1e-5, atol=1e-5
        )
    assert attribution.target == "choices"
    assert attribution.hypotheses == ()
    assert [choice.token_ids for choice in attribution.choices] == continuations


def test_choices_with_a_token_replaced(tiny_model):
    model, continuations = tiny_model("gpt2"), [(5, 6), (44,)]
    attribution = engine_calls.choices(
        model, PROMPT, SPANS[1:2], continuations, absence="replace", replace_with=41
    )
    _, (expected,) = _expected_choices(
        model, SPANS[1:2], continuations, lambda span: (*PROMPT[:3], 41, 41, *PROMPT[5:])
    )
    assert attribution.scores["ot"][0] == pytest.approx(expected.ot, abs=1e-5)


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
