"""What must never change a score, and what the engine must never change."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gilot_plugin.backends.transformers import TransformersBackend
from tests.attribution import engine_calls
from tests.attribution.altered_models import read_last_token_only
from tests.attribution.closeness import CLOSE, CLOSE_LOGPROBS
from tests.attribution.engine_calls import EVERY_TOKEN, PROMPT, SPANS


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


#: Scaling of rotary embeddings whose factors change with the length, of heads of 8 dimensions.
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [1.0, 1.5, 4.0, 9.0],
}

ALL = engine_calls.methods("ot", "kl", "l2", "js", "tv", "logprob")

MODES = st.fixed_dictionaries(
    {
        "hypotheses": st.sampled_from(["regenerate", "shared", "response"]),
        "steps": st.sampled_from(["last", "mean"]),
        "num_beams": st.sampled_from([1, 3]),
        "max_new_tokens": st.sampled_from([1, 3]),
    }
)

few_examples = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def prompts_with_spans(draw):
    prompt = draw(st.lists(st.integers(3, 319), min_size=2, max_size=12))
    starts = st.integers(0, len(prompt) - 1)
    span = starts.flatmap(lambda start: st.tuples(st.just(start), st.integers(start + 1, len(prompt))))
    return tuple(prompt), draw(st.lists(span, min_size=1, max_size=3, unique=True))


def _assert_scores(attribution, expected, order=None):
    for name, values in expected.scores.items():
        wanted = values if order is None else [values[index] for index in order]
        tolerance = CLOSE_LOGPROBS if name == "logprob" else CLOSE
        np.testing.assert_allclose(attribution.scores[name], wanted, rtol=CLOSE, atol=tolerance, err_msg=name)


@few_examples
@given(case=prompts_with_spans(), modes=MODES, data=st.data())
def test_order_batches_threads_and_solver_do_not_matter(tiny_model, case, modes, data):
    model, (prompt, spans) = tiny_model("llama"), case
    expected = engine_calls.generation(model, prompt, spans, methods=ALL, **modes)
    order = data.draw(st.permutations(range(len(spans))))
    permuted = engine_calls.generation(
        model,
        prompt,
        [spans[index] for index in order],
        methods=ALL,
        batch_size=data.draw(st.sampled_from([1, 2, 64])),
        num_threads=data.draw(st.sampled_from([1, 3])),
        solver=data.draw(st.sampled_from(["exact", "auto"])),
        **modes,
    )
    _assert_scores(permuted, expected, order)


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("llama", {}),
        ("mistral", {"sliding_window": 24}),
        ("gemma2", {"sliding_window": 24, "layer_types": ["sliding_attention", "full_attention"]}),
        ("qwen2_moe", {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 0}),
        ("phi3", {"original_max_position_embeddings": 64, "rope_scaling": LONGROPE}),
    ],
    ids=["llama", "mistral-window", "gemma2-window", "qwen2_moe-window", "phi3-longrope"],
)
def test_the_size_of_passes_does_not_matter(make_tiny_model, family, settings):
    """Of a prompt longer than the passes, the model's window, and the length where longrope changes."""
    model = make_tiny_model(family, max_position_embeddings=256, **settings)
    prompt = engine_calls.prompt_of([3 + (7 * place * place) % 311 for place in range(90)])
    units = engine_calls.units_at(prompt, [(0, 1), (20, 24), (60, 61), (88, 90)])
    found = [
        engine_calls.attribute_generation(
            TransformersBackend(model, pass_tokens=tokens),
            prompt,
            units,
            engine_calls.recipe(
                hypotheses="response", steps="mean", methods=ALL, batch_size=batch_size, num_threads=threads
            ),
            str,
            str,
        )
        for tokens, batch_size, threads in ((None, None, 1), (8, None, 2), (33, 1, 1), (33, 3, 2))
    ]
    for other in found[1:]:
        _assert_scores(other, found[0])
        assert other.hypotheses[0].token_ids == found[0].hypotheses[0].token_ids


@few_examples
@given(case=prompts_with_spans(), modes=MODES)
def test_unit_that_the_model_ignores_scores_0_in_every_mode(make_tiny_model, case, modes):
    model, (prompt, spans) = read_last_token_only(make_tiny_model("llama")), case
    ignored = [(start, end) for start, end in spans if end < len(prompt)] or [(0, 1)]
    attribution = engine_calls.generation(model, prompt, ignored, methods=ALL, **modes)
    for name, values in attribution.scores.items():
        assert values == pytest.approx([0.0] * len(ignored), abs=1e-5), name
    choices = engine_calls.choices(model, prompt, ignored, [(5,), (6, 7)], gold=[0], methods=ALL)
    for name, values in choices.scores.items():
        assert values == pytest.approx([0.0] * len(ignored), abs=1e-5), name


@few_examples
@given(case=prompts_with_spans(), modes=MODES)
def test_unit_replaced_by_itself_scores_0_in_every_mode(tiny_model, case, modes):
    prompt, spans = case
    single = [(start, start + 1) for start in {start for start, _ in spans}]
    for start, end in single:
        attribution = engine_calls.generation(
            tiny_model("gpt2"),
            prompt,
            [(start, end)],
            absence="replace",
            replace_with=prompt[start],
            methods=ALL,
            **modes,
        )
        for name, values in attribution.scores.items():
            assert values == pytest.approx([0.0], abs=1e-5), name
        assert attribution.flows == ((),)


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
