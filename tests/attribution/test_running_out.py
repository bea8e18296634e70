"""Running out of memory, and other errors, beside the model."""

from __future__ import annotations

import pytest
import torch

from gilot_plugin.attribution.engine import attribute_together
from gilot_plugin.attribution.games import generation_game
from gilot_plugin.attribution.transport import make_solver
from gilot_plugin.backends.transformers import TransformersBackend
from tests.attribution import engine_calls
from tests.attribution.closeness import assert_same
from tests.attribution.engine_calls import EVERY_TOKEN, PROMPT

EXACT = make_solver("exact", 1e-3, torch.device("cpu"))
PROMPTS = (PROMPT, PROMPT[::-1])


class Solver:
    """The exact one, which is given many problems at once; ``fails`` may raise before it solves them."""

    batched = True

    def __init__(self, fails=lambda calls, problems: None):
        self.fails, self.calls = fails, 0

    def peak_bytes(self, outcomes):
        return EXACT.peak_bytes(outcomes)

    def host_bytes(self, outcomes):
        return EXACT.host_bytes(outcomes)

    def __call__(self, problems):
        self.calls += 1
        self.fails(self.calls, len(problems))
        return EXACT(problems)


class Asked:
    """Prompts explained together, and what was told of them."""

    def __init__(self, model, prompts, solver):
        self.backend = TransformersBackend(model)
        self.told = [0] * len(prompts)
        recipe = engine_calls.recipe(solver=solver, hypotheses="response", steps="mean", max_new_tokens=3)
        games = [self._game(number, ids, recipe) for number, ids in enumerate(prompts)]
        found = dict(attribute_together(self.backend, games))
        self.found = [found[game] for game in games]

    def _game(self, number, token_ids, recipe):
        prompt = engine_calls.prompt_of(token_ids)
        units = engine_calls.units_at(prompt, EVERY_TOKEN)

        def tell(measured):
            self.told[number] += measured

        execution = engine_calls.execution(batch_size=64)
        return generation_game(self.backend, prompt, units, recipe, str, str, execution, tell)


def out_of_memory_beyond(most):
    def fails(calls, problems):
        if problems > most:
            raise torch.OutOfMemoryError

    return fails


@pytest.mark.parametrize("most", [1, 3, 20])
@pytest.mark.parametrize("count", [1, 2])
def test_groups_are_halved_and_nothing_is_read_again(tiny_model, count, most):
    model = tiny_model("llama")
    plain = Asked(model, PROMPTS[:count], Solver())
    short = Asked(model, PROMPTS[:count], Solver(out_of_memory_beyond(most)))
    for ours, theirs in zip(short.found, plain.found, strict=True):
        assert_same(ours, theirs)
        assert ours.diagnostics.out_of_memory >= 1
        assert theirs.diagnostics.out_of_memory == 0
    assert short.backend.model_tokens == plain.backend.model_tokens
    assert short.told == plain.told == [len(EVERY_TOKEN)] * count


@pytest.mark.parametrize("call", range(1, 5))
def test_progress_never_exceeds_its_total(tiny_model, call):
    """An error ends what prompts measure together; each is measured by itself, and told of once."""

    def fails(calls, problems):
        if calls == call:
            raise ZeroDivisionError

    asked = Asked(tiny_model("llama"), PROMPTS, Solver(fails))
    assert not any(isinstance(one, Exception) for one in asked.found)
    assert asked.told == [len(EVERY_TOKEN)] * 2


def test_a_single_problem_that_does_not_fit_ends_its_prompt(tiny_model):
    asked = Asked(tiny_model("llama"), PROMPTS, Solver(out_of_memory_beyond(0)))
    assert all(isinstance(one, torch.OutOfMemoryError) for one in asked.found)
    assert asked.told == [0, 0]
