"""The engine against the plain serial computation."""

from __future__ import annotations

import pytest
import torch

from gilot_plugin.attribution.methods import Distance, PromptMethod
from gilot_plugin.attribution.prompt.tokens import decode, make_prompt, token_label
from gilot_plugin.attribution.prompt.units import make_units
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.errors import UnsupportedModelError
from tests.attribution import engine_calls, serial
from tests.attribution.altered_models import bias_output
from tests.attribution.closeness import assert_close, assert_same
from tests.attribution.engine_calls import EVERY_TOKEN, PROMPT, SPANS


@pytest.mark.parametrize(
    ("hypotheses", "steps"),
    [("response", "mean"), pytest.param("regenerate", "last", marks=pytest.mark.slow)],
    ids=["default", "paper"],
)
def test_recipes_on_smollm2(smollm2, hypotheses, steps):
    model, tokenizer = smollm2
    question = "Which of these animals can not fly: a sparrow, a penguin or an owl?"
    chat = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    prompt = make_prompt(tokenizer, tokenizer(text, add_special_tokens=False)["input_ids"])
    words = make_units(prompt, "word")
    units = [unit for unit in words if unit.text.strip() in {"animals", "not", "penguin", "?"}]
    assert len(units) == 4
    attribution = engine_calls.attribute_generation(
        TransformersBackend(model),
        prompt,
        units,
        engine_calls.recipe(hypotheses=hypotheses, steps=steps),
        lambda token: token_label(tokenizer, token),
        lambda ids: decode(tokenizer, ids),
    )
    spans = [(unit.start_token, unit.end_token) for unit in units]
    expected = serial.scores(
        model,
        prompt.token_ids,
        spans,
        eos=(tokenizer.eos_token_id,),
        hypotheses=hypotheses,
        steps=steps,
    )
    assert_close(attribution, expected, kl=1e-4)
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
    assert attribution.diagnostics.batch_size == min(batch_size, len(SPANS) + 1)
    assert attribution.diagnostics.transport_gap < 1e-12


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "gemma2", "mistral", "gpt_neox", "opt"])
def test_mask(tiny_model, family):
    model = tiny_model(family)
    spans = [*SPANS, (0, len(PROMPT))]
    attribution = engine_calls.generation(model, PROMPT, spans, absence="mask")
    assert_close(attribution, serial.scores(model, PROMPT, spans, absence="mask"))


@pytest.mark.parametrize("family", ["bloom", "mamba"])
@pytest.mark.parametrize("absence", ["mask", "published"])
def test_absence_that_masks_where_the_model_does_not(tiny_model, family, absence):
    model = tiny_model(family)
    with pytest.raises(UnsupportedModelError, match=f"'{absence}'.*'delete' and 'replace'"):
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
    assert max(len(hypothesis.token_ids) for hypothesis in attribution.hypotheses) > 1
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
    assert_same(engine_calls.generation(model, PROMPT, SPANS), expected)


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


def test_methods_come_in_the_order_asked_for(tiny_model):
    first = PromptMethod("first_token", "", lambda context: [unit.start_token for unit in context.units])
    constant = Distance("constant", "", lambda present, absent: torch.full(absent.shape[:2], 2.0))
    attribution = engine_calls.generation(tiny_model("llama"), PROMPT, SPANS, methods=(constant, first))
    assert list(attribution.scores) == ["constant", "first_token"]
    assert attribution.scores["constant"] == (2.0,) * len(SPANS)
    assert attribution.scores["first_token"] == tuple(start for start, _ in SPANS)


def test_method_that_forgets_a_unit_is_refused(tiny_model):
    broken = PromptMethod("broken", "", lambda context: [0.0])
    with pytest.raises(ValueError, match="'broken' gave 1 scores for 5 units"):
        engine_calls.generation(tiny_model("llama"), PROMPT, SPANS, methods=(broken,))


def test_error_in_a_measurement_is_raised(tiny_model):
    def fail(present, absent):
        raise ZeroDivisionError("of the method")

    with pytest.raises(ZeroDivisionError, match="of the method"):
        engine_calls.generation(tiny_model("llama"), PROMPT, SPANS, methods=(Distance("fails", "", fail),))


def test_progress_counts_the_units(tiny_model):
    seen: list[int] = []
    prompt = engine_calls.prompt_of(PROMPT)
    engine_calls.attribute_generation(
        TransformersBackend(tiny_model("llama")),
        prompt,
        engine_calls.units_at(prompt, EVERY_TOKEN),
        engine_calls.recipe(),
        str,
        str,
        engine_calls.execution(batch_size=1),
        progress=seen.append,
    )
    assert sum(seen) == len(EVERY_TOKEN)
