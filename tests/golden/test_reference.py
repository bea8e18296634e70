"""The published code's numbers on SmolLM2-135M-Instruct.

``reference_smollm2.json`` holds what github.com/holyseven/GiLOT gave with transformers 5.23 in float32 on a
CPU: for each of three prompts the fed ids, the distances of every token, the sizes of the transport problems,
the 20 likeliest outcomes of the whole prompt and the probabilities of its hypotheses.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gilot_plugin.attribution.methods import Distance
from gilot_plugin.attribution.prompt.tokens import decode, make_prompt, token_label
from gilot_plugin.attribution.prompt.units import make_units
from gilot_plugin.backends.transformers import TransformersBackend
from tests.attribution import engine_calls

GOLDEN = json.loads(Path(__file__).with_name("reference_smollm2.json").read_text(encoding="utf-8"))
PROMPTS = range(len(GOLDEN))


def attribute(smollm2, golden, solver, chosen=None):
    """The published recipe, and P(. | x)."""
    model, tokenizer = smollm2
    prompt = make_prompt(tokenizer, golden["input_ids"])
    assert prompt.text == golden["text"]
    units = make_units(prompt, "token", "all")
    outcomes = []
    spy = Distance(
        "spy", "", lambda present, absent: outcomes.append(present[0].exp().numpy()) or absent[..., 0]
    )
    attribution = engine_calls.attribute_generation(
        TransformersBackend(model),
        prompt,
        [units[index] for index in chosen or range(len(units))],
        engine_calls.recipe(
            absence="published",
            solver=solver,
            num_beams=golden["num_beams"],
            max_new_tokens=golden["max_new_tokens"],
            methods=(*engine_calls.methods("ot", "kl", "l2"), spy),
        ),
        lambda token: token_label(tokenizer, token),
        lambda ids: decode(tokenizer, ids),
    )
    return attribution, outcomes[0]


def assert_golden(attribution, golden, chosen, tolerance):
    for name in ("ot", "kl", "l2"):
        expected = [golden[name][index] for index in chosen]
        np.testing.assert_allclose(
            attribution.scores[name], expected, rtol=2e-5, atol=tolerance[name], err_msg=name
        )
    assert list(attribution.diagnostics.support_size) == [golden["support"][index] for index in chosen]


@pytest.mark.parametrize("number", [0, *(pytest.param(one, marks=pytest.mark.slow) for one in PROMPTS[1:])])
def test_every_token_with_the_exact_solver(smollm2, number):
    golden = GOLDEN[number]
    attribution, present = attribute(smollm2, golden, "exact")
    assert_golden(attribution, golden, range(len(golden["input_ids"])), {"ot": 1e-3, "kl": 1e-4, "l2": 1e-4})
    assert attribution.diagnostics.transport_gap < 1e-9
    likeliest, probabilities = zip(*golden["p_topk"], strict=True)
    assert np.argsort(-present)[: len(likeliest)].tolist() == list(likeliest)
    np.testing.assert_allclose(present[list(likeliest)], probabilities, atol=1e-5)
    found = [np.exp(hypothesis.logprob) for hypothesis in attribution.hypotheses]
    np.testing.assert_allclose(found, sorted(golden["probs_sequences"], reverse=True), rtol=1e-3)


def test_some_tokens_with_the_published_solver(smollm2):
    golden, chosen = GOLDEN[0], [4, 12]
    attribution, _ = attribute(smollm2, golden, "ipot", chosen)
    assert_golden(attribution, golden, chosen, {"ot": 5e-5, "kl": 1e-4, "l2": 1e-4})


@pytest.mark.slow
@pytest.mark.parametrize("number", PROMPTS)
def test_every_token_with_the_published_solver(smollm2, number):
    golden = GOLDEN[number]
    attribution, _ = attribute(smollm2, golden, "ipot")
    assert_golden(attribution, golden, range(len(golden["input_ids"])), {"ot": 5e-5, "kl": 1e-4, "l2": 1e-4})
