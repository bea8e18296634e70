"""Windows find what is known to be behind an answer, where the start of the answer cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gilot_plugin.attribution.builtins import FLIP
from gilot_plugin.attribution.engine import attribute_together
from gilot_plugin.attribution.execution import Execution
from gilot_plugin.attribution.games import generation_game
from gilot_plugin.attribution.prediction.flips import Verdict
from gilot_plugin.attribution.prompt.units import make_units
from gilot_plugin.attribution.prompt.windows import Window, continued, start_window
from gilot_plugin.backends.transformers import TransformersBackend
from tests.attribution.engine_calls import methods, prompt_of, recipe, units_at
from tests.attribution.planted_answers import (
    ANSWER_AT,
    ANSWERS,
    CAUSES,
    NOTE_AT,
    PARTS,
    SEPARATOR,
    Source,
    draw,
    said,
    trained,
)

COUNT = 100


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def prompts_of(source: Source):
    """Prompts with a cause, and what the model says to them: of nothing, nothing could be found."""
    prompts, cause = draw(torch.Generator().manual_seed(7), 2 * COUNT, words=8)
    has = cause < 4
    prompts, cause = prompts[has][:COUNT], cause[has][:COUNT]
    note = cause if source == "note" else torch.full_like(cause, 4)
    answers = said(cause, note, source)
    model, length = trained(source), prompts.shape[1]
    with torch.no_grad():
        predicted = model(torch.cat((prompts, answers), dim=1)).logits[:, length - 1 : -1].argmax(-1)
    assert (predicted == answers).float().mean() > 0.995
    return prompts.tolist(), answers.tolist()


def verdict(token_ids):
    """What the metric sees: the last answer word."""
    found = [token for token in token_ids if token in ANSWERS]
    return str(found[-1]) if found else None


def explained(source: Source, window, scope, names=("kl", "signed_kl"), flips=False, count=COUNT):
    """For each prompt, its units as token ids, and their scores."""
    backend, games = TransformersBackend(trained(source)), {}
    asked = recipe(
        methods=(*methods(*names), *((FLIP,) if flips else ())),
        hypotheses="response",
        steps="mean",
        max_new_tokens=3,
    )
    for prompt, answer in zip(*prompts_of(source), strict=True):
        tokens = prompt_of(answer).tokens
        of = (
            start_window(tokens, 3)
            if window == "start"
            else Window(tokens, ANSWER_AT, ANSWER_AT + 1, "scored")
        )
        extended = continued(prompt_of(prompt), of.before)
        # Beginning and separator stay, as a template does; its own words go in parts.
        units = [unit for unit in make_units(extended, "token", "content") if unit.start_token > 0]
        units = [unit for unit in units if extended.tokens[unit.start_token].id != SEPARATOR]
        if "reasoning" in scope:
            units += units_at(
                extended, [(part.start + len(prompt), part.stop + len(prompt)) for part in PARTS]
            )
        game = generation_game(
            backend, extended, units, asked, str, str, Execution(64, None, 1), answer=of,
            verdict=Verdict(verdict, ANSWER_AT + 1),
        )  # fmt: skip
        games[game] = [extended.tokens[unit.start_token].id for unit in units]
        if len(games) == count:
            break
    for game, found in attribute_together(backend, list(games)):
        assert not isinstance(found, Exception), found
        yield games[game], found


def test_the_word_behind_the_answer_is_first_in_the_scored_part_and_nothing_at_the_start():
    strongest = {
        window: [
            (max(found.scores["kl"]), ids[int(np.argmax(found.scores["kl"]))] in CAUSES)
            for ids, found in explained("prompt", window, "content")
        ]
        for window in ("scored", "start")
    }
    assert np.mean([is_cause for _, is_cause in strongest["scored"]]) >= 0.99
    # The phrase is the same whatever is absent: not a hundredth of a nat moves there.
    scored, start = (np.median([score for score, _ in strongest[window]]) for window in ("scored", "start"))
    assert scored > 1.0
    assert start < 0.01


def test_reasoning_finds_the_note_that_the_answer_follows_from():
    direct, note = [], []
    for ids, found in explained("note", "scored", ("content", "reasoning")):
        scores = found.scores["kl"]
        place = len(found.prompt.tokens) + NOTE_AT
        (number,) = [at for at, unit in enumerate(found.units) if unit.start_token == place]
        note.append(int(np.argmax(scores)) == number)
        of_prompt = [score for unit, score in zip(found.units, scores, strict=True) if unit.start_token < 10]
        direct.append(max(of_prompt) / scores[number])
        # The note speaks for what was said.
        assert found.scores["signed_kl"][number] > 0
        assert len(found.prompt.tokens) == 10
        assert ids[number] == found.answer.tokens[NOTE_AT].id
    assert np.mean(note) >= 0.99
    # Directly, the prompt has next to nothing to do with the answer.
    assert np.median(direct) < 0.02


def test_the_total_path_gives_the_cause_in_the_prompt():
    """Where the model reasons anew without it, another answer comes out."""
    found = list(explained("note", "scored", "content", names=("kl",), flips=True, count=20))
    right = [
        [unit_id in CAUSES for unit_id in ids] == [bool(score) for score in one.scores["flip"]]
        for ids, one in found
    ]
    assert np.mean(right) >= 0.95
    ids, one = found[0]
    assert one.flips.answer == str(ANSWERS[ids[[unit in CAUSES for unit in ids].index(True)] - CAUSES[0]])
    assert one.flips.rate == pytest.approx(1 / len(ids))
    assert one.flips.into[[unit in CAUSES for unit in ids].index(True)] == str(ANSWERS[4])


def test_a_window_after_reasoning_costs_less_than_twice_one_at_the_start():
    """Counted in tokens that go through the model, of prompts of the same length."""
    backend = TransformersBackend(trained("prompt"))
    length, before, count = 24, 12, 3

    def read(prompt, answer, of):
        tokens = backend.model_tokens
        extended = continued(prompt_of(prompt), of.before)
        units = make_units(extended, "token", "content")
        game = generation_game(backend, extended, units, asked, str, str, Execution(64, None, 1), answer=of)
        list(attribute_together(backend, [game]))
        return backend.model_tokens - tokens

    asked = recipe(methods=methods("kl"), hypotheses="response", steps="mean", max_new_tokens=count)
    ids = torch.randint(
        8, 28, (length + before + count,), generator=torch.Generator().manual_seed(0)
    ).tolist()
    tokens = prompt_of(ids[length:]).tokens
    late = read(ids[:length], ids[length:], Window(tokens, before, before + count, "scored"))
    early = read(ids[:length], ids[length:], start_window(tokens, count))
    assert late <= 2 * early
    # What came before is read once for all, and again only behind what is taken away: never scored.
    assert late == pytest.approx(early + before + length * before, abs=1)
