"""What a scorer says of rows is what plain passes say: the runtime of transformers, and a plain loop."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

from gilot_plugin.attribution.builtins import BUILTIN_METHODS
from gilot_plugin.attribution.distance.support import supports
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scorer import Query, Room
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.backends.wanted import BeamSearch, Continuation, FixedHypotheses, Nucleus, Want
from gilot_plugin.errors import BudgetError
from tests.attribution import serial
from tests.attribution.engine_calls import PROMPT
from tests.backends.plain_loop import PlainLoop

(KL,) = (method for method in BUILTIN_METHODS if method.name == "kl")
ANSWER, OTHER = (5, 300, 44), (7, 9)
ROWS = [Row(PROMPT[:place] + PROMPT[place + 2 :]) for place in (0, 3, 8)]
WANT = Want(Nucleus(0.99, 50), (KL,), logodds=True)
PAIRS = Room(2)
RESPONSE = FixedHypotheses((Continuation(ANSWER, ended=False),), (0, 2))


@pytest.fixture(params=[TransformersBackend, PlainLoop], ids=["transformers", "plain loop"])
def scorer(request, tiny_model):
    return request.param(tiny_model("llama"))


def query_of(**more):
    return Query(Row(PROMPT), ROWS, RESPONSE, (ANSWER, OTHER, ()), WANT, **more)


def of_rows(scorer, queries, room=PAIRS):
    """All that was scored, by query; rows come in order, each once."""
    found = [[] for _ in queries]
    for scored in scorer.score(queries, room):
        found[scored.query].append(scored)
    for query, parts in zip(queries, found, strict=True):
        assert [row for part in parts for row in part.rows] == list(range(len(query.rows)))
    return found


def test_outcomes_are_those_of_plain_passes(scorer, tiny_model):
    read = [serial.plain_reader(tiny_model("llama"), row.token_ids) for row in (Row(PROMPT), *ROWS)]
    full, *absent = (one(ANSWER)[[0, 2]] for one in read)
    (parts,) = of_rows(scorer, [query_of()])
    for part in parts:
        outcomes = part.outcomes()
        for place, row in enumerate(part.rows):
            expected = (np.exp(full) * (full - absent[row])).sum(axis=1)
            np.testing.assert_allclose(outcomes.reductions["kl"][place], expected, atol=1e-5)
            for sequence, column in ((ANSWER, 0), (OTHER, 1)):
                logprobs = read[row + 1](sequence)[np.arange(len(sequence)), list(sequence)]
                np.testing.assert_allclose(
                    outcomes.token_logprobs[place, column, : len(sequence)], logprobs, atol=1e-5
                )
                odds = logprobs - np.log1p(-np.exp(logprobs))
                np.testing.assert_allclose(
                    outcomes.token_logodds[place, column, : len(sequence)], odds, atol=1e-4
                )
            assert not outcomes.token_logprobs[place, 2].any()
            for position, support in enumerate(supports(part.reference, outcomes, place)):
                masses = np.exp(absent[row][position])[support.outcomes]
                np.testing.assert_allclose(support.target, masses / masses.sum(), atol=1e-6)
                assert support.outside_target == pytest.approx(1.0 - masses.sum(), abs=1e-5)


def test_what_is_known_of_the_full_prompt_is_not_read_again(scorer):
    ((first, *_),) = of_rows(scorer, [query_of()], Room(10))
    tokens = scorer.model_tokens
    query = Query(first.reference, ROWS[:1], RESPONSE, (ANSWER, OTHER, ()), WANT)
    ((again,),) = of_rows(scorer, [query])
    np.testing.assert_allclose(
        again.outcomes().reductions["kl"], first.outcomes().reductions["kl"][:1], atol=1e-6
    )
    read = scorer.reads(query, ROWS[0])
    if scorer.reads_trees:
        assert scorer.model_tokens - tokens == read.own == again.model_tokens


def test_queries_of_all_kinds_at_once(scorer):
    searched = Query(Row(PROMPT[2:]), ROWS[:2], BeamSearch(2, 3, (0, 3)), (OTHER,), WANT)
    sequences = Query(Row(PROMPT), ROWS, FixedHypotheses(), (ANSWER,), Want())
    queries = [query_of(), searched, sequences, query_of()]
    together = of_rows(scorer, queries, Room(3))
    for query, parts in zip(queries, together, strict=True):
        (alone,) = of_rows(scorer, [query], Room(1))
        for of_part in ("token_logprobs", "kl"):
            ours, theirs = (
                np.concatenate(
                    [
                        one.outcomes().reductions.get("kl", np.zeros((len(one.rows), 0)))
                        if of_part == "kl"
                        else one.outcomes().token_logprobs
                        for one in some
                        if one.rows
                    ]
                )
                for some in (parts, alone)
            )
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
        found = parts[0].reference.hypotheses
        assert (found is not None) == isinstance(query.after, BeamSearch)
    assert sum(one.model_tokens for parts in together for one in parts) > 0


def test_each_row_is_searched_once(scorer, tiny_model):
    rows = [*ROWS, ROWS[0]]
    for beams in (1, 3):
        found = {}
        for some in scorer.search(rows, BeamSearch(beams, 4), Room(2)):
            assert not found.keys() & some.keys()
            found |= some
        assert found.keys() == set(ROWS)
        for row, hypotheses in found.items():
            read = serial.plain_reader(tiny_model("llama"), row.token_ids)
            assert len(set(hypotheses.continuations)) == beams
            for known, logprob in zip(*hypotheses, strict=True):
                assert serial.sequence_logprob(read, known.token_ids) == pytest.approx(logprob, abs=1e-4)
    (likeliest,) = found[ROWS[0]].continuations[:1]
    assert len(likeliest.token_ids) <= 4


def test_too_little_memory_for_one_row(tiny_model):
    with pytest.raises(BudgetError, match="memory_budget"):
        of_rows(TransformersBackend(tiny_model("llama")), [query_of()], Room(None, 1000))
    search = TransformersBackend(tiny_model("llama")).search(ROWS, BeamSearch(3, 4), Room(None, 1000))
    with pytest.raises(BudgetError, match=r"^a search after one prompt needs"):
        next(iter(search))


def test_prompts_are_kept_as_long_as_they_live(tiny_model):
    backend, full = TransformersBackend(tiny_model("llama")), Row(PROMPT)
    query = Query(full, ROWS, RESPONSE, (), WANT)
    (parts,) = of_rows(backend, [query])
    assert len(backend._prompts) == 1
    assert torch.isfinite(parts[0].reference.logprobs).all()
    del query, full, parts
    gc.collect()
    assert not backend._prompts
