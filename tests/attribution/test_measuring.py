"""Solvers that take many problems at once get them in groups, and the scores stay the same."""

from __future__ import annotations

import pytest
import torch

from gilot_plugin.attribution import measuring
from gilot_plugin.attribution.transport import make_solver
from tests.attribution import engine_calls
from tests.attribution.closeness import assert_same
from tests.attribution.engine_calls import EVERY_TOKEN, PROMPT, SPANS

EXACT = make_solver("exact", 1e-3, torch.device("cpu"))

#: More units than a group holds.
MANY = [*EVERY_TOKEN, *((start, start + 2) for start in range(12))]


class Together:
    """The exact solver, given many problems in one call, which it notes."""

    batched = True

    def __init__(self):
        self.sizes: list[int] = []

    def peak_bytes(self, outcomes):
        return EXACT.peak_bytes(outcomes)

    def host_bytes(self, outcomes):
        return EXACT.host_bytes(outcomes)

    def __call__(self, problems):
        self.sizes.append(len(problems))
        return [result for problem in problems for result in EXACT([problem])]


@pytest.mark.parametrize("batch_size", [4, 64])
@pytest.mark.parametrize("steps", ["last", "mean"])
def test_problems_solved_together_give_the_same(monkeypatch, tiny_model, steps, batch_size):
    monkeypatch.setattr(measuring, "_GROUP", 16)
    model, solver = tiny_model("llama"), Together()
    modes = {"hypotheses": "shared", "steps": steps, "max_new_tokens": 2, "batch_size": batch_size}
    together = engine_calls.generation(model, PROMPT, MANY, **modes, solver=solver)
    alone = engine_calls.generation(model, PROMPT, MANY, **modes)
    assert_same(together, alone)
    assert together.flows == alone.flows
    steps_of_a_unit = 2 if steps == "mean" else 1
    assert sum(solver.sizes) == len(MANY) * steps_of_a_unit
    # At most 16 problems, of whatever units and steps.
    assert max(solver.sizes) == min(16, batch_size * steps_of_a_unit)


def test_problems_of_choices_are_solved_together(tiny_model):
    model, solver, continuations = tiny_model("llama"), Together(), [(5,), (44,), (99,)]
    together = engine_calls.choices(model, PROMPT, SPANS, continuations, batch_size=64, solver=solver)
    assert_same(together, engine_calls.choices(model, PROMPT, SPANS, continuations))
    assert solver.sizes == [len(SPANS)]


def test_solver_is_not_called_where_nothing_transports(tiny_model):
    solver = Together()
    names = ("kl", "js", "tv", "l2", "logprob")
    attribution = engine_calls.generation(
        tiny_model("llama"), PROMPT, SPANS, solver=solver, methods=engine_calls.methods(*names)
    )
    assert solver.sizes == []
    assert tuple(attribution.scores) == names
    assert attribution.diagnostics.transport_bounds == ()
    assert attribution.flows == ((),) * len(SPANS)
    assert attribution.diagnostics.support_size == (0,) * len(SPANS)
