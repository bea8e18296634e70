"""The log-probability of an answer, against one plain forward pass a row in double precision."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch

from gilot_plugin.attribution.games import answer_game
from gilot_plugin.attribution.prediction.answers import Answer, Candidates
from gilot_plugin.backends.scoring.logprobs import IMPOSSIBLE
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.errors import NonFiniteLogitsError
from tests.attribution.altered_models import bias_output
from tests.attribution.closeness import CLOSE_LOGPROBS
from tests.attribution.engine_calls import PROMPT, execution, prompt_of, recipe, units_at

#: First, last and neighbouring units.
SPANS = [(0, 1), (3, 5), (5, 6), (10, 13), (13, 14)]
EVERY_SET = [
    chosen for size in range(len(SPANS) + 1) for chosen in itertools.combinations(range(len(SPANS)), size)
]
FILLER = 41


def read(model, answer, absent=EVERY_SET, spans=SPANS, prompt=PROMPT, **settings):
    """Log-probabilities without sets of units, given by their numbers."""
    units = units_at(prompt_of(prompt), spans)
    if settings.get("absence") == "replace":
        settings["replace_with"] = FILLER
    game = answer_game(
        TransformersBackend(model),
        prompt_of(prompt),
        units,
        recipe(**settings),
        answer,
        execution(**settings),
    )
    drops = game.values([tuple(units[number] for number in chosen) for chosen in absent]).means("logprob")
    sums = np.maximum(game.full.token_logprobs, IMPOSSIBLE).sum(axis=1)
    return float(answer.logprobs(torch.from_numpy(sums)[None])) - np.array(drops)


def plain(model, tokens, absent, absence, spans=SPANS, prompt=PROMPT):
    """Summed log-probability of the tokens, the model in double precision, one row at a time."""
    gone = {place for number in absent for place in range(*spans[number])}
    kept = [place for place in range(len(prompt)) if place not in gone]
    extra = {}
    fed = [prompt[place] for place in kept] or [0]
    if absence == "replace":
        fed = [FILLER if place in gone else token for place, token in enumerate(prompt)]
    elif absence == "mask" and kept:
        fed = list(prompt[: kept[-1] + 1])
        mask = [int(place not in gone) for place in range(len(fed))] + [1] * len(tokens)
        extra = {"attention_mask": torch.tensor([mask]), "position_ids": torch.arange(len(mask))[None]}
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*fed, *tokens]]), use_cache=False, **extra).logits[0]
    logprobs = logits.double().log_softmax(dim=-1)
    return sum(float(logprobs[len(fed) - 1 + place, token]) for place, token in enumerate(tokens))


@pytest.mark.parametrize("absence", ["delete", "mask", "replace"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "mamba"])
def test_every_set_of_units(tiny_model, family, absence):
    model, answer = tiny_model(family), (5, 300, 44)
    if absence == "mask" and not TransformersBackend(model).takes_positions:
        pytest.skip("the model takes no positions")
    exact = copy.deepcopy(model).double()
    expected = [plain(exact, answer, absent, absence) for absent in EVERY_SET]
    for batch_size in (1, 7):
        found = read(model, Answer(Candidates((answer,))), absence=absence, batch_size=batch_size)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=CLOSE_LOGPROBS)


#: Choices that share beginnings, one the beginning of another.
CHOICES = ((5, 6, 7), (5, 6, 8), (5,), (44, 6))


@pytest.mark.parametrize("leads", [(), ((5,), (5, 6), (), (44,))], ids=["whole", "leads"])
@pytest.mark.parametrize("lengths", [None, (3, 40, 9, 1)], ids=["sum", "norm"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "mamba"])
def test_choices(tiny_model, family, lengths, leads):
    model = tiny_model(family)
    exact = copy.deepcopy(model).double()
    absent = EVERY_SET[::5]
    sums = np.array([[plain(exact, choice, chosen, "delete") for choice in CHOICES] for chosen in absent])
    if leads:
        sums -= [[plain(exact, lead, chosen, "delete") for lead in leads] for chosen in absent]
    compared = sums / (lengths or 1)
    expected = compared - np.logaddexp.reduce(compared, axis=1, keepdims=True)
    for chosen in range(len(CHOICES)):
        found = read(model, Answer(Candidates(CHOICES, leads, lengths), chosen), absent)
        np.testing.assert_allclose(found, expected[:, chosen], rtol=1e-5, atol=CLOSE_LOGPROBS)


@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_batches_and_order_do_not_matter(tiny_model, batch_size):
    model, answer = tiny_model("llama"), Answer(Candidates(((5, 300),)))
    found = read(model, answer, batch_size=batch_size)
    np.testing.assert_allclose(found, read(model, answer, batch_size=8), atol=CLOSE_LOGPROBS)
    np.testing.assert_allclose(found, read(model, answer, EVERY_SET[::-1])[::-1], atol=CLOSE_LOGPROBS)


def test_units_come_in_any_order(tiny_model):
    model, answer = tiny_model("llama"), Answer(Candidates(((5, 300),)))
    one, other = read(model, answer, [(1, 3), (3, 1)])
    assert one == pytest.approx(other, abs=CLOSE_LOGPROBS)


def test_many_sets_go_through_the_model_together(make_tiny_model):
    model, passes = make_tiny_model("llama"), []
    backend = TransformersBackend(model)
    assert backend.recomputes is None
    handle = model.register_forward_pre_hook(lambda *_: passes.append(1))
    read(model, Answer(Candidates(((5, 300),))), EVERY_SET * 4, batch_size=None)
    handle.remove()
    probes = 20
    assert len(passes) - probes < len(EVERY_SET)


def test_nothing_asked_for_is_nothing_read(tiny_model):
    backend, prompt = TransformersBackend(tiny_model("llama")), prompt_of(PROMPT)
    game = answer_game(backend, prompt, units_at(prompt, SPANS), recipe(), Answer(Candidates(((5,),))))
    assert game.values([]).positions["logprob"].shape == (0, 1)
    assert game.values([(), ()]).means("logprob") == [0.0, 0.0]
    assert backend.model_tokens == 0


def test_an_empty_answer_is_certain(tiny_model):
    assert not read(tiny_model("llama"), Answer(Candidates(((),)))).any()


def test_what_cannot_be_said_has_a_finite_number(make_tiny_model):
    model = bias_output(make_tiny_model("llama"), {300: float("-inf")})
    found = read(model, Answer(Candidates(((5, 300),))))
    np.testing.assert_allclose(found - IMPOSSIBLE, read(model, Answer(Candidates(((5,),)))), atol=1e-3)


def test_nan_is_refused(make_tiny_model):
    model = bias_output(make_tiny_model("llama"), {300: float("nan")})
    with pytest.raises(NonFiniteLogitsError):
        read(model, Answer(Candidates(((5,),))))
