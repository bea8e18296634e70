"""Tries of continuations: each node is read once, and reads as in a plain pass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gilot_plugin.attribution.trie import blocks_of, node_count, sequence_logprobs, walk
from gilot_plugin.backends.protocol import Row
from gilot_plugin.backends.transformers import TransformersBackend
from tests.attribution import serial
from tests.attribution.engine_calls import PROMPT

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


@settings(deadline=None)
@given(CONTINUATIONS)
@example([])
@example([()])
@example([(5, 6, 7), (5, 6, 7)])
def test_each_node_is_in_one_run_of_one_block(continuations):
    fed = []
    before = ((),)
    for block in blocks_of(continuations):
        assert block.length >= 1
        assert len(block.parents) == len(block.prefixes) == len(set(block.prefixes))
        for parent, prefix in zip(block.parents, block.prefixes, strict=True):
            assert prefix[: -block.length] == before[parent]
            fed.extend(prefix[:end] for end in range(len(prefix) - block.length + 1, len(prefix) + 1))
        before = block.prefixes
    assert len(fed) == len(set(fed)) == node_count(continuations)
    assert set(fed) == nodes_of(continuations)


@settings(deadline=None)
@given(CONTINUATIONS)
def test_blocks_end_only_where_the_trie_branches_or_a_continuation_ends(continuations):
    nodes = nodes_of(continuations)
    depth = 0
    for block in blocks_of(continuations):
        depth += block.length
        children = [sum(node[:-1] == end for node in nodes) for end in block.prefixes]
        ends = any(prefix in continuations for prefix in block.prefixes)
        assert ends or any(count > 1 for count in children)
    assert depth == max(map(len, continuations), default=0)


@pytest.mark.parametrize("family", ["llama", "mistral", "mamba"])
@few_examples
@given(continuations=CONTINUATIONS)
@example(continuations=[])
@example(continuations=[(5, 6, 7, 5, 6), (5, 6, 7, 5, 7), (6,), ()])
def test_walk_reads_every_node_as_a_plain_pass_does(tiny_model, family, continuations):
    model = tiny_model(family)
    backend = TransformersBackend(model)
    visits = list(walk(backend, [Row(prompt) for prompt in PROMPTS], continuations))
    prefixes = [visit.prefix for visit in visits]
    assert prefixes[0] == ()
    assert len(prefixes) == len(set(prefixes))
    assert set(prefixes) == nodes_of(continuations) | {()}
    assert all(prefix[:-1] in prefixes[:place] for place, prefix in enumerate(prefixes) if prefix)
    if family != "mamba":  # which has no state to go on from
        assert backend.model_tokens == sum(map(len, PROMPTS)) + len(PROMPTS) * node_count(continuations)
    for row, prompt in enumerate(PROMPTS):
        read = serial.plain_reader(model, prompt)
        for visit in visits:
            logprobs = read(visit.prefix)
            np.testing.assert_allclose(visit.following[row].exp(), np.exp(logprobs[-1]), atol=1e-5)
            total = sum(logprobs[j, token] for j, token in enumerate(visit.prefix))
            assert visit.logprob[row].item() == pytest.approx(total, rel=1e-6, abs=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "mamba"])
@few_examples
@given(sequences=CONTINUATIONS.filter(bool))
@example(sequences=[()])
@example(sequences=[(5, 6), (5, 6), (5,), ()])
def test_sequence_logprobs(tiny_model, family, sequences):
    model = tiny_model(family)
    backend = TransformersBackend(model)
    found = sequence_logprobs(backend, [Row(prompt) for prompt in PROMPTS], sequences)
    assert found.shape == (len(PROMPTS), len(sequences))
    if family != "mamba":
        fed = node_count([sequence[:-1] for sequence in sequences])
        assert backend.model_tokens == sum(map(len, PROMPTS)) + len(PROMPTS) * fed
    for row, prompt in enumerate(PROMPTS):
        read = serial.plain_reader(model, prompt)
        expected = [serial.sequence_logprob(read, sequence) for sequence in sequences]
        np.testing.assert_allclose(found[row], expected, rtol=1e-6, atol=1e-5)


def test_an_empty_sequence_is_certain(tiny_model):
    found = sequence_logprobs(TransformersBackend(tiny_model("llama")), [Row(PROMPT)], [(), (5,), ()])
    assert found[0, 0] == found[0, 2] == 0.0
    assert found[0, 1] < 0.0


def test_rows_that_do_not_attend_to_some_tokens(tiny_model):
    model, sequences = tiny_model("llama"), [(5, 6, 7), (5, 6, 5), (9,)]
    attended = tuple(not 3 <= index < 5 for index in range(len(PROMPT)))
    row = Row(PROMPT, tuple(range(len(PROMPT))), attended)
    found = sequence_logprobs(TransformersBackend(model), [Row(PROMPT[2:]), row], sequences)
    read = serial.masked_reader(model, PROMPT, 3, 5)
    expected = [serial.sequence_logprob(read, sequence) for sequence in sequences]
    np.testing.assert_allclose(found[1], expected, rtol=1e-6, atol=1e-5)
