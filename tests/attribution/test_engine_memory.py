"""What is taken beside the model stays within the budget."""

from __future__ import annotations

import re

import pytest

from gilot_plugin.errors import BudgetError
from tests.attribution import engine_calls
from tests.attribution.closeness import assert_same
from tests.memory import peak_memory

#: Large enough for memory to be counted in megabytes.
SIZES = {"vocab_size": 20000, "hidden_size": 64, "intermediate_size": 256, "max_position_embeddings": 1024}

MIB = 2**20


def least_budget(ask):
    """The smallest budget that is not refused, in MiB, as the error says it."""
    with pytest.raises(BudgetError) as error:
        ask(memory_budget=1)
    return int(re.search(r"about (\d+) MiB", str(error.value))[1])


def assert_within_the_budget(ask):
    """Scores are the same with the least budget and with four times as much, and neither is exceeded."""
    least = least_budget(ask)
    found = []
    for budget in (least * MIB, 4 * least * MIB):
        with peak_memory() as peak:
            found.append(ask(memory_budget=budget, num_threads=1))
        assert peak.bytes <= budget, (peak.bytes / MIB, budget / MIB)
    assert found[0].diagnostics.batch_size <= found[1].diagnostics.batch_size
    assert_same(*found)


#: Attention that keeps its scores in memory: with sinks; of values of another size than the keys.
KEEPS_SCORES = {
    "gpt_oss": {"num_key_value_heads": 4, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    "deepseek_v3": {"num_attention_heads": 16, "num_key_value_heads": 16, "v_head_dim": 24},
}


@pytest.mark.parametrize(("family", "length"), [("gpt_oss", 900), ("deepseek_v3", 300)])
def test_attention_whose_scores_are_kept(make_tiny_model, family, length):
    sizes = {**SIZES, "hidden_size": 128, "num_attention_heads": 16, "num_hidden_layers": 2}
    model = make_tiny_model(family, **{**sizes, **KEEPS_SCORES[family]})
    prompt = [(37 * place + 5) % 300 for place in range(length)]
    spans = [(start, start + 1) for start in range(0, length, length // 6)]
    methods = engine_calls.methods("l2", "kl")
    assert_within_the_budget(
        lambda **settings: engine_calls.generation(
            model, prompt, spans, batch_size=None, hypotheses="response", methods=methods, **settings
        )
    )


@pytest.mark.parametrize(("length", "steps"), [(40, "mean"), (700, "last")])
@pytest.mark.parametrize("hypotheses", ["regenerate", "shared", "response"])
@pytest.mark.parametrize("family", ["llama", "gemma2", "bloom"])
def test_generations(make_tiny_model, family, hypotheses, steps, length):
    sizes = {**SIZES, "max_position_embeddings": None} if family == "bloom" else SIZES
    model = make_tiny_model(family, **sizes)
    prompt = [(37 * place + 5) % 300 for place in range(length)]
    spans = [(start, start + 1) for start in range(0, length, length // 6)]
    modes = {"hypotheses": hypotheses, "steps": steps, "num_beams": 6, "max_new_tokens": 5}
    modes["methods"] = engine_calls.methods("l2", "kl")

    def ask(**settings):
        return engine_calls.generation(model, prompt, spans, batch_size=None, **modes, **settings)

    assert_within_the_budget(ask)
