"""Schemes in the engine: what an attribution says of them, missing values, interruptions."""

from __future__ import annotations

import numpy as np
import pytest

from gilot_plugin.attribution import engine, gaps
from gilot_plugin.attribution.engine import attribute, attribute_together
from gilot_plugin.attribution.games import generation_game
from gilot_plugin.attribution.schemes.auto import make_auto
from gilot_plugin.attribution.schemes.averages import make_banzhaf, make_shapley
from gilot_plugin.attribution.schemes.leave_one_out import leave_one_out
from gilot_plugin.attribution.schemes.lime import make_lime
from gilot_plugin.attribution.schemes.protocol import SchemeOptions, SchemeResult
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.errors import NonFiniteLogitsError, PromptError
from tests.attribution.closeness import CLOSE
from tests.attribution.engine_calls import PROMPT, execution, methods, prompt_of, recipe, units_at
from tests.attribution.schemes.tables import shapley

SPANS = [(0, 1), (1, 3), (3, 5), (6, 7), (8, 9), (10, 13)]
MODES = {"hypotheses": "response", "steps": "mean", "max_new_tokens": 2}


def game_of(backend, scheme, name="auto", names=("ot", "kl", "logprob")):
    prompt = prompt_of(PROMPT)
    asked = recipe(**MODES, methods=methods(*names), scheme=scheme, scheme_name=name)
    return generation_game(
        backend, prompt, units_at(prompt, SPANS), asked, str, str, execution(), answer=(5, 300)
    )


def test_shapley_values_of_a_model_are_those_of_all_its_coalitions(tiny_model):
    game = game_of(TransformersBackend(tiny_model("llama")), make_shapley(SchemeOptions()), "shapley")
    found = attribute(game._backend, game)
    for name in ("ot", "kl", "logprob"):
        measure = methods(name)

        def worth(absent, measure=measure, name=name):
            return game.values([tuple(game.units[place] for place in absent)], measure).means(name)[0]

        np.testing.assert_allclose(found.scores[name], shapley(worth, len(SPANS)), atol=CLOSE)
        assert sum(found.scores[name]) == pytest.approx(worth(range(len(SPANS))), abs=CLOSE)
    assert (found.scheme.name, found.scheme.coalitions) == ("shapley", 63)
    assert game.spent.coalitions == 63
    assert len(found.intervals["ot"]) == len(SPANS)
    # Every unit was taken away alone, too, so that its flows are known.
    assert any(found.flows)
    assert len(found.diagnostics.transport_bounds) == len(SPANS)


@pytest.mark.parametrize("make", [make_auto, make_shapley, make_banzhaf, make_lime])
def test_what_a_scheme_leaves_unread_is_said_to_be_unknown(tiny_model, make):
    """Six units and twenty coalitions: not every unit need be taken away alone."""
    game = game_of(TransformersBackend(tiny_model("llama")), make(SchemeOptions(coalitions=20)))
    found = attribute(game._backend, game)
    assert found.scheme.coalitions == game.spent.coalitions <= 20
    assert found.diagnostics.held_out >= 8
    assert set(found.diagnostics.lds) == {"ot", "kl", "logprob"}
    assert len(found.flows) == len(SPANS)
    assert len(found.diagnostics.transport_bounds) in (0, len(SPANS))


def test_one_at_a_time_says_nothing_of_coalitions(tiny_model):
    game = game_of(TransformersBackend(tiny_model("llama")), leave_one_out, "leave_one_out")
    found = attribute(game._backend, game)
    assert (found.scheme, found.intervals, found.interactions) == (None, {}, ())


class Failing:
    """Reads games, but has no numbers where both of two units are absent."""

    def __init__(self, monkeypatch, gone):
        self.read, self.gone, self.failed = engine.read_together, gone, 0
        for module in (engine, gaps):
            monkeypatch.setattr(module, "read_together", self)

    def __call__(self, wanted):
        found = dict(self.read(wanted))
        for game, absent in wanted.items():
            gone = {game.units[place] for place in self.gone}
            if any(gone <= set(one) for one in absent):
                self.failed += 1
                found[game] = NonFiniteLogitsError("no numbers")
        return found


def test_coalitions_without_numbers_are_left_out_and_counted(tiny_model, monkeypatch):
    backend = TransformersBackend(tiny_model("llama"))
    Failing(monkeypatch, (1, 4))
    found = attribute(backend, game_of(backend, make_shapley(SchemeOptions())))
    assert found.scheme.left_out == 2**4
    assert np.isfinite(found.scores["kl"]).all()


def test_a_unit_without_a_number_is_the_error_that_it_was(tiny_model, monkeypatch):
    backend = TransformersBackend(tiny_model("llama"))
    Failing(monkeypatch, (2,))
    with pytest.raises(NonFiniteLogitsError, match="no numbers"):
        attribute(backend, game_of(backend, leave_one_out, "leave_one_out"))
    with pytest.raises(PromptError, match="of 1 of 6 units it is not known what their absence is worth"):
        attribute(backend, game_of(backend, make_auto(SchemeOptions(coalitions=40))))


def test_an_interruption_leaves_what_is_known_so_far(tiny_model, monkeypatch):
    backend = TransformersBackend(tiny_model("llama"))
    read, rounds = engine.read_together, iter(range(3))

    def interrupted(wanted):
        if next(rounds, None) is None:
            raise KeyboardInterrupt
        return read(wanted)

    monkeypatch.setattr(engine, "read_together", interrupted)

    def endless(game):
        values = yield [(unit,) for unit in game.units]
        while True:
            yield [game.units]
        return SchemeResult({"kl": tuple(values.means("kl"))})

    patient = game_of(backend, make_auto(SchemeOptions(coalitions=30)), names=("kl",))
    games = [patient, game_of(backend, endless, names=("kl",))]
    found = attribute_together(backend, games)
    game, attribution = next(found)
    assert game is patient
    assert attribution.scheme.interrupted
    assert len(attribution.scores["kl"]) == len(SPANS)
    with pytest.raises(KeyboardInterrupt):
        next(found)
