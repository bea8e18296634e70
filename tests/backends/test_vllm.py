"""What vLLM tells, against the definition: whole distributions of a plain forward pass."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from gilot_plugin.attribution.distances import kl_divergence, l2_norm
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scorer import Query, Room
from gilot_plugin.backends.vllm import VllmScorer, reading_order
from gilot_plugin.backends.wanted import BeamSearch, Continuation, FixedHypotheses, Nucleus, Want
from gilot_plugin.errors import NonFiniteLogitsError, UnsupportedModelError
from tests.backends._vllm.stand_in import SamplingParams, StandInLlm

PROMPT = tuple(range(10, 31))
ROWS = [Row(PROMPT[:unit] + PROMPT[unit + 1 :]) for unit in range(1, len(PROMPT), 4)]
ANSWER = (40, 50, 60)
TOP = Nucleus(0.99, 40)


class Reducing(SimpleNamespace):
    """A reduction."""


KL, L2 = Reducing(name="kl", compute=kl_divergence), Reducing(name="l2", compute=l2_norm)


@pytest.fixture(autouse=True)
def stand_in_vllm(monkeypatch):
    module = ModuleType("vllm")
    module.SamplingParams = SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", module)


@pytest.fixture
def model(tiny_model):
    return tiny_model("llama")


def scorer_of(model, eos=(1,), **settings):
    return VllmScorer(StandInLlm(model, **{"max_logprobs": 40, **settings}), None, eos)


def asked(scorer, query):
    """All of a query's outcomes, in their order."""
    found = list(scorer.score([query], Room()))
    rows = [row for scored in found for row in scored.rows]
    assert rows == list(range(len(query.rows)))
    outcomes = [scored.outcomes() for scored in found if len(scored.rows)]
    return found[0].reference, outcomes


def logprobs_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].double().log_softmax(-1)


def after(model, row, tokens):
    """What comes after a row and tokens, over the whole vocabulary."""
    return logprobs_of(model, (*row, *tokens))[-1]


def response(answer=ANSWER, depths=(0, 1, 2)):
    return FixedHypotheses((Continuation(answer, False),), depths)


def test_nuclei_of_the_full_prompt(model):
    reference, _ = asked(scorer_of(model), Query(Row(PROMPT), (), response(), want=Want(TOP)))
    for depth, (ids, masses) in enumerate(reference.nuclei):
        whole = after(model, PROMPT, ANSWER[:depth]).exp()
        assert ids.tolist() == sorted(ids)
        assert masses == pytest.approx(whole[ids].numpy(), abs=1e-6)
        likeliest = whole.topk(40)
        count = min(40, int((likeliest.values.cumsum(0) < 0.99).sum()) + 1)
        assert set(ids) == set(likeliest.indices[:count].tolist())


def test_added_tokens_of_rows(model):
    reference, (outcomes,) = asked(scorer_of(model), Query(Row(PROMPT), ROWS, response(), want=Want(TOP)))
    added = outcomes.added
    for place, row in enumerate(ROWS):
        for depth, (shared, _) in enumerate(reference.nuclei):
            whole = after(model, row.token_ids, ANSWER[:depth])
            told = set(whole.topk(40).indices.tolist())
            size = added.sizes[place, depth]
            ids = added.token_ids[place, depth, :size]
            assert ids.tolist() == sorted(set(ids) - set(shared.tolist()))
            assert added.of_rows[place, depth, :size] == pytest.approx(whole[ids].numpy(), abs=1e-5)
            of_shared = added.shared[place, depth, : len(shared)]
            expected = [whole[token].item() if token in told else -np.inf for token in shared.tolist()]
            assert of_shared == pytest.approx(expected, abs=1e-5)
            of_full = after(model, PROMPT, ANSWER[:depth])
            told = set(of_full.topk(40).indices.tolist())
            expected = [of_full[token].item() if token in told else -np.inf for token in ids.tolist()]
            assert added.of_reference[place, depth, :size] == pytest.approx(expected, abs=1e-5)


def test_reductions_take_all_others_for_one_outcome(model):
    query = Query(Row(PROMPT), ROWS, response(), want=Want(TOP, (KL, L2)))
    _, (outcomes,) = asked(scorer_of(model), query)
    for place, row in enumerate(ROWS):
        for depth in range(3):
            full, without = (after(model, ids, ANSWER[:depth]) for ids in (PROMPT, row.token_ids))
            common = sorted(set(full.topk(40).indices.tolist()) & set(without.topk(40).indices.tolist()))
            p, q = (np.append(one[common].exp(), 1 - one[common].exp().sum()) for one in (full, without))
            kl = outcomes.reductions["kl"][place, depth]
            assert kl == pytest.approx((p * np.log(p / q)).sum(), abs=1e-5)
            assert kl <= kl_divergence(full, without).item() + 1e-6  # of a coarser partition
            assert outcomes.reductions["l2"][place, depth] == pytest.approx(np.linalg.norm(p - q), abs=1e-5)


def test_reductions_of_nearly_the_whole_vocabulary_are_those_of_it(model):
    query = Query(Row(PROMPT), ROWS, response(), want=Want(Nucleus(1.0, 320), (KL, L2)))
    _, (outcomes,) = asked(scorer_of(model, max_logprobs=320), query)
    full, without = (after(model, ids, ANSWER[:1]) for ids in (PROMPT, ROWS[2].token_ids))
    assert outcomes.reductions["kl"][2, 1] == pytest.approx(kl_divergence(full, without).item(), abs=1e-5)
    assert outcomes.reductions["l2"][2, 1] == pytest.approx(l2_norm(full, without).item(), abs=1e-5)


def test_log_probabilities_and_log_odds_of_sequences(model):
    sequences = (ANSWER, (70,), ())
    query = Query(Row(PROMPT), ROWS, FixedHypotheses(), sequences, Want(logodds=True))
    reference, (outcomes,) = asked(scorer_of(model), query)
    assert outcomes.token_logprobs.shape == outcomes.token_logodds.shape == (len(ROWS), 3, 3)
    for place, row in enumerate((Row(PROMPT), *ROWS)):
        whole = logprobs_of(model, (*row.token_ids, *ANSWER))[len(row.token_ids) - 1 :]
        logprobs = whole[[0, 1, 2], list(ANSWER)]
        logodds = logprobs - torch.log1p(-logprobs.exp())
        found = (reference if place == 0 else outcomes).token_logprobs
        odds = (reference if place == 0 else outcomes).token_logodds
        found, odds = (found, odds) if place == 0 else (found[place - 1], odds[place - 1])
        assert found[0] == pytest.approx(logprobs.numpy(), abs=1e-5)
        assert odds[0] == pytest.approx(logodds.numpy(), abs=1e-4)
        assert found[1, 0] == pytest.approx(whole[0, 70].item(), abs=1e-5)
        assert not found[2].any()
        assert not found[1, 1:].any()


@pytest.mark.parametrize("length", [3, 21, 100])
def test_a_request_for_all_positions_and_one_for_each_say_the_same(model, length, monkeypatch):
    row = Row(tuple(10 + place % 200 for place in range(length)))
    query = Query(row, [Row(row.token_ids[1:])], response(), (ANSWER,), Want(TOP))
    found = []
    for tokens in (1, 10**6):
        monkeypatch.setattr("gilot_plugin.backends._vllm.rows.TOKENS_PER_DISTRIBUTION", tokens)
        scorer = scorer_of(model, caching=False)
        reference, (outcomes,) = asked(scorer, query)
        found.append((reference, outcomes, len(scorer._engine._llm.calls[0])))
    (one, few, requests), (other, many, together) = found
    assert (requests, together) == (4 if length >= 3 else 1, 1)
    assert [ids.tolist() for ids, _ in one.nuclei] == [ids.tolist() for ids, _ in other.nuclei]
    assert few.token_logprobs == pytest.approx(many.token_logprobs, abs=1e-5)
    assert few.added.shared == pytest.approx(many.added.shared, abs=1e-5)


def test_rows_that_the_cache_left_unwritten_are_read_again(model):
    scorer = scorer_of(model, block_size=4)
    query = Query(Row(PROMPT), ROWS, response(), (ANSWER,), Want(TOP))
    first, (outcomes,) = asked(scorer, query)
    before = scorer._engine.sent_again
    # All blocks of the same prompts are in the cache by now, those of the answer's beginning included.
    again, (repeated,) = asked(scorer, query)
    assert scorer._engine.sent_again > before
    assert again.token_logprobs == pytest.approx(first.token_logprobs, abs=1e-6)
    assert repeated.token_logprobs == pytest.approx(outcomes.token_logprobs, abs=1e-6)
    assert np.array_equal(repeated.added.token_ids, outcomes.added.token_ids)


def test_what_prompts_begin_with_is_read_once(model):
    llm = StandInLlm(model, max_logprobs=40, block_size=4)
    scorer = VllmScorer(llm, None, (1,))
    rows = [Row(PROMPT[:unit] + PROMPT[unit + 1 :]) for unit in range(len(PROMPT))]
    asked(scorer, Query(Row(PROMPT), rows, response(), want=Want(TOP)))
    whole = sum(len(row.token_ids) + len(ANSWER) for row in (Row(PROMPT), *rows))
    assert scorer.model_tokens == llm.read_tokens < 0.75 * whole


def test_rows_that_begin_alike_are_next_to_each_other():
    full = Row((1, 2, 3, 4, 5, 6))
    rows = [Row(ids) for ids in ((1, 2, 9, 7), (9, 1), (1, 2, 8, 5), (1, 2, 3, 4), (1, 2, 9, 6), (9,))]
    order = [rows[place].token_ids for place in reading_order(full, rows)]
    assert order == [(9,), (9, 1), (1, 2, 8, 5), (1, 2, 9, 6), (1, 2, 9, 7), (1, 2, 3, 4)]


def test_numbers_do_not_depend_on_what_is_read_together(model):
    queries = [
        Query(Row(PROMPT), ROWS, response(), (ANSWER,), Want(TOP, (KL,))),
        Query(Row(PROMPT[3:]), [Row(PROMPT[5:]), Row(PROMPT[4:])], response(), (ANSWER,), Want(TOP)),
    ]
    together = list(scorer_of(model).score(queries, Room()))
    apart = list(scorer_of(model).score(queries, Room(batch_size=2, memory=1)))
    assert [(one.query, one.rows) for one in together] == [
        (0, range(0)),
        (1, range(0)),
        (0, range(len(ROWS))),
        (1, range(2)),
    ]
    for query, asked_of in enumerate(queries):
        rows = [row for one in apart if one.query == query for row in one.rows]
        assert rows == list(range(len(asked_of.rows)))
        (whole,) = [one.outcomes() for one in together if one.query == query and len(one.rows)]
        parts = [one.outcomes().token_logprobs for one in apart if one.query == query and len(one.rows)]
        assert np.concatenate(parts) == pytest.approx(whole.token_logprobs, abs=1e-6)


def test_mixture_over_shared_hypotheses(model):
    hypotheses = (Continuation((40, 50), False), Continuation((40, 51), False), Continuation((60, 1), True))
    query = Query(Row(PROMPT), ROWS[:1], FixedHypotheses(hypotheses, (0, 1, 2)), want=Want(Nucleus(1.0, 320)))
    reference, (outcomes,) = asked(scorer_of(model, max_logprobs=320), query)
    for row in (PROMPT, ROWS[0].token_ids):
        first = after(model, row, ())
        one = {40: first[40].exp(), 60: first[60].exp()}
        mixed = sum(weight * after(model, row, (token,)).exp() for token, weight in one.items())
        expected = {1: mixed / sum(one.values())}
        two = {ids: first[ids[0]].exp() * after(model, row, ids[:1])[ids[1]].exp() for ids, _ in hypotheses}
        mixed = sum(two[ids] * after(model, row, ids).exp() for ids in ((40, 50), (40, 51)))
        mixed[1] += two[60, 1]
        expected[2] = mixed / sum(two.values())
        for depth, whole in expected.items():
            ids, masses = reference.nuclei[depth]
            if row == PROMPT:
                assert masses == pytest.approx(whole[ids].numpy(), abs=1e-6)
            else:
                found = np.exp(outcomes.added.shared[0, depth, : len(ids)])
                assert found == pytest.approx(whole[ids].numpy(), abs=1e-6)


@pytest.mark.parametrize(("beams", "tokens"), [(1, 4), (3, 4), (4, 1)])
@pytest.mark.parametrize("eos", [(), (1,), tuple(range(0, 320, 6))])
def test_search_is_that_of_transformers(model, beams, tokens, eos):
    rows = [Row(PROMPT), ROWS[0]]
    (found,) = scorer_of(model, eos, max_logprobs=320).search(rows, BeamSearch(beams, tokens), Room())
    for row in rows:
        with torch.no_grad():
            expected = model.generate(
                torch.tensor([row.token_ids]),
                attention_mask=torch.ones(1, len(row.token_ids), dtype=torch.long),
                num_beams=beams,
                num_return_sequences=beams,
                max_new_tokens=tokens,
                do_sample=False,
                eos_token_id=list(eos) or None,
                pad_token_id=319,
            )
        texts = expected[:, len(row.token_ids) :].tolist()
        whole = [tuple(token for token in text if token != 319) for text in texts]
        assert [one.token_ids for one in found[row].continuations] == whole
        for one, logprob in zip(found[row].continuations, found[row].logprobs, strict=True):
            ids = one.token_ids
            scored = logprobs_of(model, (*row.token_ids, *ids))[len(row.token_ids) - 1 : -1]
            assert logprob == pytest.approx(scored[range(len(ids)), list(ids)].sum().item(), abs=1e-4)
            assert one.ended == (ids[-1] in eos)


@pytest.mark.parametrize("depths", [(0, 1, 2), (3,)])
def test_searched_hypotheses_are_those_that_are_given(model, depths):
    scorer = scorer_of(model, max_logprobs=320)
    want = Want(Nucleus(1.0, 320))
    searched, (_,) = asked(scorer, Query(Row(PROMPT), ROWS[:2], BeamSearch(3, 3, depths), want=want))
    given = FixedHypotheses(searched.hypotheses.continuations, depths)
    fixed, _ = asked(scorer_of(model, max_logprobs=320), Query(Row(PROMPT), (), given, want=want))
    for (ids, masses), (others, expected) in zip(searched.nuclei, fixed.nuclei, strict=True):
        assert ids.tolist() == others.tolist()
        assert masses == pytest.approx(expected, abs=1e-5)


def test_what_is_known_of_the_full_prompt_is_not_read_again(model):
    llm = StandInLlm(model, max_logprobs=40)
    scorer = VllmScorer(llm, None, (1,))
    reference, _ = asked(scorer, Query(Row(PROMPT), (), response(), (ANSWER,), Want(TOP)))
    asked(scorer, Query(reference, ROWS, response(), (ANSWER,), Want(TOP, (KL,))))
    assert sum(ids[: len(PROMPT)] == PROMPT for call in llm.calls for ids, _ in call) == 1


def test_entropy_of_the_full_prompt(model):
    reference, _ = asked(scorer_of(model, max_logprobs=320), Query(Row(PROMPT), (), response()))
    whole = [after(model, PROMPT, ANSWER[:depth]) for depth in range(3)]
    expected = np.mean([-(one * one.exp()).sum().item() for one in whole])
    assert reference.entropy == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query(Row(PROMPT, attended=(False,) + (True,) * 20), (), response()), "masked"),
        (Query(Row(PROMPT), [Row((5,), positions=(3,))], response()), "masked"),
        (Query(Row(PROMPT), (), BeamSearch(4, 5, published=True)), "reference"),
        (Query(Row(PROMPT), (), BeamSearch(30, 5)), "add max_logprobs=2000 to --model_args"),
    ],
)
def test_what_the_engine_cannot_do_is_refused_before_anything_is_read(model, query, message):
    llm = StandInLlm(model, max_logprobs=40)
    with pytest.raises(UnsupportedModelError, match=message):
        list(VllmScorer(llm, None, (1,)).score([query], Room()))
    assert not llm.calls


def test_log_probabilities_that_are_none_are_refused(model):
    with pytest.raises(UnsupportedModelError, match="logprobs_mode"):
        scorer_of(model, logprobs_mode="processed_logits")


def test_nan_is_refused(make_tiny_model):
    broken = make_tiny_model("llama")
    broken.lm_head.weight.data[5] = float("nan")
    with pytest.raises(NonFiniteLogitsError):
        asked(scorer_of(broken), Query(Row(PROMPT), (), response(), want=Want(TOP)))


def test_the_longest_sequence_that_the_limits_allow_is_read(model):
    scorer = scorer_of(model)
    length = scorer.limits.max_positions - len(ANSWER) + 1  # the answer's last token needs not be fed
    row = Row(tuple(10 + place % 200 for place in range(length)))
    reference, _ = asked(scorer, Query(row, (), response(), (ANSWER,), Want(TOP)))
    assert len(reference.nuclei) == 3


def test_requests_go_with_the_adapter(model):
    llm = StandInLlm(model, max_logprobs=40)
    asked(VllmScorer(llm, None, (1,), "adapter"), Query(Row(PROMPT), ROWS, response(), want=Want(TOP)))
    assert set(llm.lora_requests) == {"adapter"}
