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


def needed(refusal):
    """The budget that a refusal asks for, in MiB."""
    return int(re.search(r"about (\d+) MiB", str(refusal))[1])


def ask_within(budget, ask):
    """What is found within a budget of so many MiB, or the refusal; neither exceeds it."""
    with peak_memory() as peak:
        try:
            found = ask(memory_budget=budget * MIB, num_threads=1)
        except BudgetError as refusal:
            found = refusal
    assert peak.bytes <= budget * MIB, (peak.bytes / MIB, budget)
    return found


def ask_within_the_least(ask):
    """The smallest budget that is not refused, in MiB, as the error says it, and what is found within it.

    How much there is to score is known once hypotheses were searched, so the search is refused by itself.
    """
    with pytest.raises(BudgetError) as error:
        ask(memory_budget=1)
    least = needed(error.value)
    found = ask_within(least, ask)
    if isinstance(found, BudgetError):
        assert "search" in str(error.value)
        assert "search" not in str(found)
        assert needed(found) > least
        least = needed(found)
        found = ask_within(least, ask)
    return least, found


def assert_within_the_budget(ask):
    """Scores are the same with the least budget and with four times as much, and neither is exceeded."""
    least, found = ask_within_the_least(ask)
    more = ask_within(4 * least, ask)
    assert found.diagnostics.batch_size <= more.diagnostics.batch_size
    assert_same(found, more)


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
