"""Tries of continuations: each node is read once, and reads as in a plain pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scoring.trie import Trie, TriePass, read_sequences
from gilot_plugin.backends.transformers import TransformersBackend
from tests.attribution import serial
from tests.attribution.engine_calls import PROMPT
from tests.backends.opening import opened

#: Few tokens, so that continuations begin alike; empty ones, duplicates and beginnings of others among them.
CONTINUATIONS = st.lists(st.lists(st.integers(5, 7), max_size=5).map(tuple), max_size=6)

PROMPTS = (PROMPT, PROMPT[3:], (5,))

few_examples = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def nodes_of(continuations):
    return {known[:depth] for known in continuations for depth in range(1, len(known) + 1)}


def logprobs_of(backend, rows, sequences):
    """Log-probabilities of the same sequences after each row."""
    tries = [Trie((), (), sequences)] * len(rows)
    odds = [False] * len(rows)
    return read_sequences(opened(backend, rows), tries, backend.device, odds).logprobs.sum(2)


def read_with(model, prompts, trie):
    """A reading of the same trie after each prompt, its visits and the backend."""
    backend = TransformersBackend(model)
    session = opened(backend, [Row(prompt) for prompt in prompts])
    reading = TriePass(session, [trie] * len(prompts), backend.device, [False] * len(prompts))
    return reading, list(reading.visits()), backend


@pytest.mark.parametrize("family", ["llama", "mistral", "mamba"])
@few_examples
@given(continuations=CONTINUATIONS)
@example(continuations=[])
@example(continuations=[(5, 6, 7, 5, 6), (5, 6, 7, 5, 7), (6,), ()])
def test_every_node_is_read_as_in_a_plain_pass(tiny_model, family, continuations):
    model, trie = tiny_model(family), Trie(continuations)
    reading, visits, backend = read_with(model, PROMPTS, trie)
    assert set(trie.prefixes) == nodes_of(continuations)
    if family != "mamba":  # which has no state to go on from
        assert backend.model_tokens == sum(map(len, PROMPTS)) + len(PROMPTS) * len(trie.prefixes)
    prefixes = ((), *trie.prefixes)
    seen = set()
    for visit in visits:
        for row, column, following in zip(
            visit.rows.tolist(), visit.columns.tolist(), visit.following, strict=True
        ):
            logprobs = serial.plain_reader(model, PROMPTS[row])(prefixes[column])
            np.testing.assert_allclose(following.exp(), np.exp(logprobs[-1]), atol=1e-5)
            total = sum(logprobs[j, token] for j, token in enumerate(prefixes[column]))
            assert reading.logprobs[row, column].item() == pytest.approx(total, rel=1e-6, abs=1e-5)
            assert (row, column) not in seen
            seen.add((row, column))
    assert len(seen) == len(PROMPTS) * len(prefixes)


def test_rows_with_tries_of_their_own(tiny_model):
    model, sequences = tiny_model("llama"), [[(5, 6, 7), (5,)], [(9,), ()], [(5, 6, 8), (6, 6, 6)]]
    session = opened(TransformersBackend(model), [Row(prompt) for prompt in PROMPTS])
    tries = [Trie((), (), some) for some in sequences]
    found = read_sequences(session, tries, torch.device("cpu"), [False] * 3).logprobs.sum(2)
    for prompt, wanted, logprobs in zip(PROMPTS, sequences, found, strict=True):
        read = serial.plain_reader(model, prompt)
        expected = [serial.sequence_logprob(read, sequence) for sequence in wanted]
        np.testing.assert_allclose(logprobs, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "mamba"])
@few_examples
@given(sequences=CONTINUATIONS.filter(bool))
@example(sequences=[()])
@example(sequences=[(5, 6), (5, 6), (5,), ()])
def test_totals_of_sequences(tiny_model, family, sequences):
    model = tiny_model(family)
    backend = TransformersBackend(model)
    found = logprobs_of(backend, [Row(prompt) for prompt in PROMPTS], sequences)
    assert found.shape == (len(PROMPTS), len(sequences))
    if family != "mamba":
        fed = len(nodes_of([sequence[:-1] for sequence in sequences]))
        assert backend.model_tokens == sum(map(len, PROMPTS)) + len(PROMPTS) * fed
    for row, prompt in enumerate(PROMPTS):
        read = serial.plain_reader(model, prompt)
        expected = [serial.sequence_logprob(read, sequence) for sequence in sequences]
        np.testing.assert_allclose(found[row], expected, rtol=1e-6, atol=1e-5)


def test_an_empty_sequence_is_certain(tiny_model):
    found = logprobs_of(TransformersBackend(tiny_model("llama")), [Row(PROMPT)], [(), (5,), ()])
    assert found[0, 0] == found[0, 2] == 0.0
    assert found[0, 1] < 0.0


def test_rows_that_do_not_attend_to_some_tokens(tiny_model):
    model, sequences = tiny_model("llama"), [(5, 6, 7), (5, 6, 5), (9,)]
    attended = tuple(not 3 <= index < 5 for index in range(len(PROMPT)))
    row = Row(PROMPT, tuple(range(len(PROMPT))), attended)
    found = logprobs_of(TransformersBackend(model), [Row(PROMPT[2:]), row], sequences)
    read = serial.masked_reader(model, PROMPT, 3, 5)
    expected = [serial.sequence_logprob(read, sequence) for sequence in sequences]
    np.testing.assert_allclose(found[1], expected, rtol=1e-6, atol=1e-5)
