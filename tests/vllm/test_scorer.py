"""What a real engine tells, against whole distributions of transformers."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch

from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scorer import Query, Room
from gilot_plugin.backends.vllm import VllmScorer
from gilot_plugin.backends.wanted import BeamSearch, Continuation, FixedHypotheses, Nucleus, Want
from gilot_plugin.harness.entry.engines import engine_scorer

pytestmark = pytest.mark.vllm

TEXT = (
    "In the spring the river rises and the fields around the village are under water for a week or two. The "
    "people move their animals up the hill, and wait for the sun. This year it came late, and when they went "
    "down again, they found that the bridge was"
)
#: More of them make the difference larger, and take minutes.
COALITIONS = 25

ANSWER = " gone, and the road"


@pytest.fixture(scope="module")
def scorer(engine_lm: Any) -> VllmScorer:
    return engine_scorer(engine_lm)


@pytest.fixture(scope="module")
def ids(smollm2: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    prompt, answer = (tuple(smollm2.tokenizer(text).input_ids) for text in (TEXT, ANSWER))
    return prompt, answer


def asked(scorer: VllmScorer, query: Query) -> Any:
    found = list(scorer.score([query], Room()))
    (outcomes,) = [one.outcomes() for one in found if len(one.rows)]
    return found[0].reference, outcomes


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_distributions(
    scorer: VllmScorer, smollm2: Any, ids: Any, again: bool, apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where all blocks are in the cache already, of the prompts and of what follows them."""
    tokens = 1 if apart else 10**6
    monkeypatch.setattr("gilot_plugin.backends._vllm.rows.TOKENS_PER_DISTRIBUTION", tokens)
    prompt, answer = ids
    rows = [Row(prompt[:unit] + prompt[unit + 1 :]) for unit in (1, 20, 40)]
    depths = tuple(range(len(answer)))
    after = FixedHypotheses((Continuation(answer, False),), depths)
    query = Query(Row(prompt), rows, after, (answer,), Want(Nucleus(0.999, 200), logodds=True))
    for _ in range(2 if again else 1):
        reference, outcomes = asked(scorer, query)
    for place, row in enumerate((Row(prompt), *rows)):
        with torch.no_grad():
            whole = (
                smollm2.model(torch.tensor([(*row.token_ids, *answer)])).logits[0].double().log_softmax(-1)
            )
        whole = whole[len(row.token_ids) - 1 : -1]
        given = whole[range(len(answer)), list(answer)]
        found = reference if place == 0 else outcomes
        logprobs = found.token_logprobs if place == 0 else found.token_logprobs[place - 1]
        logodds = found.token_logodds if place == 0 else found.token_logodds[place - 1]
        assert logprobs[0] == pytest.approx(given.numpy(), abs=2e-4)
        assert logodds[0] == pytest.approx((given - torch.log1p(-given.exp())).numpy(), abs=1e-3)
        for depth, (shared, masses) in enumerate(reference.nuclei):
            if place == 0:
                assert masses == pytest.approx(whole[depth, shared].exp().numpy(), abs=2e-5)
            else:
                told = np.isfinite(outcomes.added.shared[place - 1, depth, : len(shared)])
                assert told.mean() > 0.5
                of_shared = outcomes.added.shared[place - 1, depth, : len(shared)][told]
                assert of_shared == pytest.approx(whole[depth, shared[told]].numpy(), abs=2e-3)


def test_search(scorer: VllmScorer, smollm2: Any, ids: Any) -> None:
    row = Row(ids[0])
    (found,) = scorer.search([row], BeamSearch(3, 4), Room())
    with torch.no_grad():
        expected = smollm2.model.generate(
            torch.tensor([row.token_ids]),
            attention_mask=torch.ones(1, len(row.token_ids), dtype=torch.long),
            num_beams=3,
            num_return_sequences=3,
            max_new_tokens=4,
            do_sample=False,
        )
    texts = [tuple(one) for one in expected[:, len(row.token_ids) :].tolist()]
    assert [one.token_ids for one in found[row].continuations] == texts


def test_embeddings(scorer: VllmScorer, smollm2: Any) -> None:
    some = torch.tensor([0, 5, 49151])
    assert torch.equal(scorer.embeddings.input(some), smollm2.model.get_input_embeddings().weight[some])
    assert torch.equal(scorer.embeddings.output(some), smollm2.model.get_output_embeddings().weight[some])


def test_what_prompts_begin_with_is_read_once(
    scorer: VllmScorer, smollm2: Any, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    """Coalitions of a prompt of 300 tokens, with the engine's cache and without."""
    prompt = tuple((smollm2.tokenizer(TEXT).input_ids * 10)[:300])
    drawn = np.random.default_rng(0)
    coalitions = [
        set(drawn.choice(np.arange(200, 300), 5, replace=False).tolist()) for _ in range(COALITIONS)
    ]
    rows = [Row(tuple(token for place, token in enumerate(prompt) if place not in out)) for out in coalitions]
    after = FixedHypotheses((Continuation((260, 253), False),), (0, 1))
    query = Query(Row(prompt), rows, after, want=Want(Nucleus(0.99, 100)))
    seconds, tokens, numbers = [], [], []
    ask = scorer._engine._ask
    for cached in (True, False):
        if not cached:
            monkeypatch.setattr(scorer._engine, "_ask", lambda reads, cached: ask(reads, cached=False))
        started, before = time.process_time(), scorer.model_tokens
        numbers.append(asked(scorer, query)[1].added.shared)
        seconds.append(time.process_time() - started)
        tokens.append(scorer.model_tokens - before)
    print(f"\nwith the cache {seconds[0]:.1f} s, {tokens[0]} tokens; without {seconds[1]:.1f} s, {tokens[1]}")
    assert tokens[1] > 2.5 * tokens[0]
    both = np.isfinite(numbers[0]) & np.isfinite(numbers[1])
    assert numbers[0][both] == pytest.approx(numbers[1][both], abs=2e-3)
