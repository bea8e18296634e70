"""Windows, chunks and positions that depend on the length: what is read is what one pass would have said."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch

from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.transformers import TransformersBackend
from tests.attribution import engine_calls, serial
from tests.attribution.closeness import assert_close
from tests.backends.opening import opened
from tests.backends.plain import TREE, plain_logprobs, prompt_of, step_errors, tree_errors

#: Longer than any sequence that a probe reads.
_WINDOW = {"sliding_window": 20}
_IN_TURN = {"layer_types": ["sliding_attention", "full_attention"]}

#: Families with a window, the first three of which are told of it by the mask alone.
WINDOWED = {
    "qwen2_moe": {**_IN_TURN, "use_sliding_window": True, "num_experts": 4},
    "phimoe": {"num_key_value_heads": 2, "num_local_experts": 2},
    "doge": {},
    "mistral": {},
    "gemma3_text": {},
}

_ROPE = {"rope_theta": 10000.0}
_FACTORS = {"short_factor": [1.0] * 4, "long_factor": [1.5, 3.0, 5.0, 8.0]}
_LONGROPE = {"rope_type": "longrope", **_FACTORS}

#: Rotary frequencies that change when a sequence grows beyond 32 tokens.
SCALED = {
    "longrope": ("phi3", _LONGROPE, {"original_max_position_embeddings": 32, "num_key_value_heads": 2}),
    "dynamic": ("llama", {"rope_type": "dynamic", "factor": 4.0}, {"max_position_embeddings": 32}),
}


def scaled(make_tiny_model, name):
    family, rope, settings = SCALED[name]
    return make_tiny_model(family, rope_parameters={**_ROPE, **rope}, **settings)


def cuts(prompt, *places):
    return [Row(prompt), *(Row((*prompt[:place], *prompt[place + 1 :])) for place in places)]


@pytest.mark.parametrize("chunk", [8, 512])
@pytest.mark.parametrize("family", WINDOWED)
def test_windows(make_tiny_model, family, chunk):
    model = make_tiny_model(family, **_WINDOW, **WINDOWED[family])
    backend, rows = TransformersBackend(model, pass_tokens=chunk), cuts(prompt_of(40), 30)
    assert tree_errors(backend, model, rows) < 1e-4
    assert step_errors(backend, model, rows) < 1e-4


@pytest.mark.parametrize("chunk", [8, 512])
@pytest.mark.parametrize("tokens", [20, 31, 40])
@pytest.mark.parametrize("name", SCALED)
def test_lengths_that_change_the_frequencies(make_tiny_model, name, tokens, chunk):
    model = scaled(make_tiny_model, name)
    backend, rows = TransformersBackend(model, pass_tokens=chunk), cuts(prompt_of(tokens), tokens - 4)
    assert tree_errors(backend, model, rows) < 1e-4
    assert step_errors(backend, model, rows) < 1e-4


@pytest.mark.parametrize("name", SCALED)
def test_the_length_is_asked_of_the_model(make_tiny_model, name):
    backend = TransformersBackend(scaled(make_tiny_model, name))
    assert backend.recomputes is None
    assert backend.recomputes_at(32) is None
    assert backend.recomputes_at(33) == (
        "beyond 32 tokens, the positions of all tokens depend on how many there are"
    )
    assert backend.takes_positions


@pytest.mark.parametrize(
    "rope", [{"rope_type": "linear", "factor": 2.0}, {"rope_type": "yarn", "factor": 4.0}]
)
def test_scalings_that_are_the_same_at_any_length(make_tiny_model, rope):
    model = make_tiny_model(
        "llama", rope_parameters={**_ROPE, **rope, "original_max_position_embeddings": 32}
    )
    backend = TransformersBackend(model, pass_tokens=8)
    assert backend.recomputes_at(128) is None
    assert tree_errors(backend, model, cuts(prompt_of(60), 40)) < 1e-4


@pytest.mark.parametrize("name", SCALED)
def test_masked_tokens_beyond_the_length(make_tiny_model, name):
    model = scaled(make_tiny_model, name)
    row = Row(prompt_of(40), None, tuple(place not in (20, 21) for place in range(40)))
    assert tree_errors(TransformersBackend(model), model, [row], Row(prompt_of(40))) < 1e-4


def test_what_the_model_remembers_is_left_to_it(make_tiny_model):
    """Dynamic scaling keeps the frequencies of the longest sequence, whoever read it."""
    model = scaled(make_tiny_model, "dynamic")
    rotary = model.model.rotary_emb
    backend, rows = TransformersBackend(model), [Row(prompt_of(50))]
    expected = plain_logprobs(model, rows[0])
    with torch.no_grad():
        model(input_ids=torch.tensor([prompt_of(90)]))
        before = rotary.inv_freq.clone(), int(rotary.max_seq_len_cached)
        found = backend.prefill(rows, 1).prompt.logits()[0].log_softmax(-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert torch.equal(rotary.inv_freq, before[0])
    assert int(rotary.max_seq_len_cached) == before[1] == 90


def test_slower_reading_is_said_once_and_counted(make_tiny_model, caplog):
    backend = TransformersBackend(scaled(make_tiny_model, "longrope"))
    short, long = Row(prompt_of(20)), Row(prompt_of(40))
    with caplog.at_level(logging.INFO, "gilot_plugin"):
        opened(backend, [short], room=2).prompt.logits()
        assert not caplog.messages
        assert backend.cache_use.prefix_trees
        for _ in range(2):
            opened(backend, [long], room=2).prompt.logits()
    reason = "beyond 32 tokens, the positions of all tokens depend on how many there are"
    assert caplog.messages == [f"Phi3ForCausalLM is read whole for every token, which is slower: {reason}"]
    assert (backend.cache_use.prefix_trees, backend.cache_use.reason) == (False, reason)


@pytest.mark.parametrize(("tokens", "absence"), [(31, "delete"), (31, "mask"), (36, "replace")])
def test_scores_around_the_length(make_tiny_model, tokens, absence):
    """With and without a unit, prompts and answers lie on both sides of the length."""
    model = scaled(make_tiny_model, "longrope")
    sizes = {"num_beams": 2, "max_new_tokens": 2}
    spans = [(3, 8), (20, 21)]
    prompt = prompt_of(tokens)
    found = engine_calls.generation(model, prompt, spans, absence=absence, replace_with=9, **sizes)
    by_context = _by_context(model)
    expected = serial.scores(
        by_context, prompt, spans, absence=absence, replace_with=9, generate=False, **sizes
    )
    assert_close(found, expected)


def _by_context(model):
    """The model with a forward that reads the beginnings of a sequence one by one."""
    forward = type(model).forward

    def every(input_ids, attention_mask=None, position_ids=None, use_cache=None, **_):
        logits = []
        for length in range(1, input_ids.shape[1] + 1):
            cut = {
                name: given[:, :length]
                for name, given in (("attention_mask", attention_mask), ("position_ids", position_ids))
                if given is not None
            }
            found = forward(model, input_ids=input_ids[:, :length], use_cache=False, **cut).logits
            logits.append(found[:, -1:])
        return SimpleNamespace(logits=torch.cat(logits, dim=1))

    class ByContext:
        config = model.config
        get_input_embeddings = model.get_input_embeddings
        get_output_embeddings = model.get_output_embeddings

        def __call__(self, **inputs):
            return every(**inputs)

    return ByContext()


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3_text", "qwen2_moe"])
def test_neither_chunks_nor_neighbours_matter(make_tiny_model, family):
    model = make_tiny_model(family, **WINDOWED.get(family, {}), **(_WINDOW if family in WINDOWED else {}))
    rows, tree = cuts(prompt_of(60), 3, 30, 50), TREE

    def logprobs(chunk, together):
        backend = TransformersBackend(model, pass_tokens=chunk)
        found = {}
        for part in together:
            some = [rows[row] for row in part]
            session = backend.prefill(some, len(tree.tokens), [rows[0]] * len(part))
            for level in session.read_trees([tree] * len(part)):
                places = zip(level.rows.tolist(), level.nodes.tolist(), strict=True)
                for (row, node), logits in zip(places, level.predictions.logits(), strict=True):
                    found[part[row], node] = logits.log_softmax(-1)
        return torch.stack([found[place] for place in sorted(found)])

    expected = logprobs(512, [[0, 1, 2, 3]])
    for chunk, together in ((7, [[0, 1, 2, 3]]), (16, [[3, 0], [2], [1]]), (512, [[0], [1], [2], [3]])):
        torch.testing.assert_close(logprobs(chunk, together), expected, rtol=1e-5, atol=1e-5)


def test_model_that_looks_ahead(make_tiny_model):
    model = make_tiny_model("llama", is_causal=False)
    backend = TransformersBackend(model)
    assert backend.recomputes == "what it predicts depends on the tokens after it"
    assert tree_errors(backend, model, [Row(prompt_of(20))]) < 1e-4


def test_positions_that_are_not_told_apart(make_tiny_model):
    model = make_tiny_model("llama")
    rotary = model.model.rotary_emb
    forward = rotary.forward

    def only_short(x, position_ids):
        if int(position_ids.max()) > 100:
            raise IndexError("no such position")
        return forward(x, position_ids)

    rotary.forward = only_short
    backend = TransformersBackend(model)
    assert backend.recomputes == (
        "how it reads long sequences could not be found out (IndexError: no such position)"
    )
    assert backend.cache_use.errors == ("IndexError: no such position",)
    assert tree_errors(backend, model, [Row(prompt_of(20))]) < 1e-4
