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

    least = least_budget(ask)
    found = []
    for budget in (least * MIB, 4 * least * MIB):
        with peak_memory() as peak:
            found.append(ask(memory_budget=budget, num_threads=1))
        assert peak.bytes <= budget, (peak.bytes / MIB, budget / MIB)
    assert found[0].diagnostics.batch_size <= found[1].diagnostics.batch_size
    assert_same(*found)
