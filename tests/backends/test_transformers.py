"""The transformers backend against plain passes of the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import T5Config, T5ForConditionalGeneration

from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scoring.sessions import TokenTree
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.errors import UnsupportedModelError
from tests.backends.opening import opened

ROWS = [Row((0, 37, 211, 64, 150, 9, 301, 88, 12)), Row((44,)), Row((7, 250, 133, 70))]


def plain_logits(model, token_ids):
    """Logits after each of the tokens, ``[tokens, vocab]``."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([token_ids]), use_cache=False).logits[0]


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


both_ways = pytest.mark.parametrize("trees", [True, False])


@both_ways
def test_prompts_of_different_lengths(family_model, trees):
    session = opened(TransformersBackend(family_model, trees=trees), ROWS)
    assert len(session.prompt) == len(ROWS)
    for row, logits in zip(ROWS, session.prompt.logits(), strict=True):
        close(logits, plain_logits(family_model, row.token_ids)[-1])


@both_ways
def test_beams_that_change_parents(family_model, trees):
    session = opened(TransformersBackend(family_model, trees=trees), ROWS)
    first = torch.tensor([[5, 6, 7], [8, 9, 10], [11, 12, 13]])
    session.advance(torch.zeros(3, 3, dtype=torch.long), first)
    parents = torch.tensor([[2, 0, 0, 1], [1, 1, 1, 1], [0, 2, 1, 0]])
    second = torch.tensor([[20, 21, 22, 23], [24, 25, 26, 27], [28, 29, 30, 31]])
    logits = session.advance(parents, second).logits().view(3, 4, 320)
    for index, row in enumerate(ROWS):
        for beam in range(4):
            fed = [*row.token_ids, first[index, parents[index, beam]].item(), second[index, beam].item()]
            close(logits[index, beam], plain_logits(family_model, fed)[-1])


def paths_of(tree):
    """The tokens from the prompt's end to each node."""
    paths = {-1: ()}
    for node, (token, parent) in enumerate(zip(tree.tokens, tree.parents, strict=True)):
        paths[node] = (*paths[parent], token)
    return paths


def check_trees(model, session, rows, trees):
    """Every node of each row's tree reads as in a plain pass, and is read once."""
    seen = []
    for level in session.read_trees(trees):
        depths = set()
        places = list(zip(level.rows.tolist(), level.nodes.tolist(), strict=True))
        for (row, node), logits in zip(places, level.predictions.logits(), strict=True):
            path = paths_of(trees[row])[node]
            close(logits, plain_logits(model, [*rows[row].token_ids, *path])[-1])
            depths.add(len(path))
        seen += places
        assert len(depths) == 1
    assert len(seen) == len(set(seen))
    assert set(seen) == {
        (row, node) for row, tree in enumerate(trees) for node in range(-1, len(tree.tokens))
    }


TREE = TokenTree((5, 6, 7, 8, 9, 10, 11), (-1, -1, 0, 1, 1, 4, 5))


@both_ways
@pytest.mark.parametrize("tree", [TREE, TokenTree((), ()), TokenTree((5, 6, 7), (-1, 0, 1))])
def test_trees(family_model, trees, tree):
    session = opened(TransformersBackend(family_model, trees=trees), ROWS)
    check_trees(family_model, session, ROWS, [tree] * len(ROWS))


def test_recurrent_state_remembers_no_padding(tiny_model):
    recurrent_model = tiny_model("recurrent_gemma")
    check_trees(recurrent_model, opened(TransformersBackend(recurrent_model), ROWS), ROWS, [TREE] * len(ROWS))


@both_ways
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "mistral", "gpt_neox", "opt"])
def test_positions_and_attention_of_a_row(tiny_model, family, trees):
    model = tiny_model(family)
    ids, positions, attended = (5, 6, 7, 8, 9), (0, 1, 5, 6, 7), (True, False, True, True, True)
    session = opened(TransformersBackend(model, trees=trees), [Row(ids, positions, attended), ROWS[0]])
    with torch.no_grad():
        expected = model(
            input_ids=torch.tensor([(*ids, 31)]),
            position_ids=torch.tensor([(*positions, 8)]),
            attention_mask=torch.tensor([(*attended, True)]).long(),
        ).logits[0]
    close(session.prompt.logits()[0], expected[-2])
    after = session.advance(torch.tensor([[0], [0]]), torch.tensor([[31], [4]]))
    close(after.logits()[0], expected[-1])


@both_ways
def test_longest_prompt_of_learned_positions(make_tiny_model, trees):
    model = make_tiny_model("gpt2", max_position_embeddings=9)
    rows, tree = [Row(tuple(range(3, 10))), Row((44,))], TokenTree((5, 6), (-1, 0))
    check_trees(model, opened(TransformersBackend(model, trees=trees), rows), rows, [tree, tree])


@pytest.mark.parametrize(
    ("family", "positions", "longest"),
    [("llama", True, 128), ("gpt2", True, 128), ("bloom", False, None), ("mamba", False, None)],
)
def test_what_it_says_of_the_model(tiny_model, family, positions, longest):
    backend = TransformersBackend(tiny_model(family))
    assert backend.takes_positions is positions
    assert backend.limits.max_positions == longest
    assert backend.limits.vocab_size == 320
    assert backend.limits.eos_token_ids == (1,)
    assert backend.device == torch.device("cpu")


@pytest.mark.parametrize(
    ("generation", "configuration", "expected"),
    [(7, 1, (7,)), ([7, 8], 1, (7, 8)), (None, [5, 6], (5, 6)), (None, 0, (0,)), (None, None, ())],
)
def test_end_tokens(make_tiny_model, generation, configuration, expected):
    model = make_tiny_model("llama")
    model.generation_config.eos_token_id = generation
    model.config.eos_token_id = configuration
    assert TransformersBackend(model).limits.eos_token_ids == expected


@both_ways
def test_tokens_are_counted_without_padding(tiny_model, trees):
    backend = TransformersBackend(tiny_model("llama"), trees=trees)
    session = opened(backend, ROWS)
    assert len(session.prompt) == 3
    assert backend.model_tokens == 9 + 1 + 4
    session.advance(torch.zeros(3, 2, dtype=torch.long), torch.full((3, 2), 5))
    assert backend.model_tokens == 14 + 6


def test_embeddings_are_single_precision_and_detached(make_tiny_model):
    model = make_tiny_model("llama").bfloat16()
    rows = TransformersBackend(model).embeddings.input(torch.tensor([3, 5]))
    assert rows.dtype == torch.float32
    assert not rows.requires_grad
    assert torch.equal(rows, model.model.embed_tokens.weight[[3, 5]].float())


def test_half_precision_gives_single_precision_logits(make_tiny_model):
    backend = TransformersBackend(make_tiny_model("llama").bfloat16())
    assert opened(backend, ROWS).prompt.logits().dtype == torch.float32


def test_autocast(tiny_model):
    model = tiny_model("llama")
    logits = opened(TransformersBackend(model, autocast_dtype=torch.bfloat16), ROWS).prompt.logits()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = plain_logits(model, ROWS[0].token_ids)[-1]
    assert logits.dtype == torch.float32
    np.testing.assert_allclose(logits[0], expected.float(), rtol=0.1, atol=0.3)
    assert not torch.equal(logits[0], opened(TransformersBackend(model), ROWS).prompt.logits()[0])


def test_adapter_around_a_model(make_tiny_model):
    adapted = get_peft_model(
        make_tiny_model("llama"), LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    ).eval()
    backend = TransformersBackend(adapted)
    assert backend.takes_positions
    close(opened(backend, ROWS).prompt.logits()[0], plain_logits(adapted, ROWS[0].token_ids)[-1])
    assert not torch.allclose(
        opened(backend, ROWS).prompt.logits()[0],
        opened(TransformersBackend(make_tiny_model("llama")), ROWS).prompt.logits()[0],
    )


def test_encoder_decoder_is_refused():
    config = T5Config(vocab_size=32, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=4)
    with pytest.raises(UnsupportedModelError, match="T5ForConditionalGeneration: encoder-decoder"):
        TransformersBackend(T5ForConditionalGeneration(config))


@pytest.mark.parametrize("model", [object(), torch.nn.Linear(2, 2), None])
def test_what_is_no_transformers_model_is_refused(model):
    with pytest.raises(UnsupportedModelError, match=type(model).__name__):
        TransformersBackend(model)


def test_model_without_embedding_matrix_is_refused(make_tiny_model):
    model = make_tiny_model("llama")
    model.model.embed_tokens = None
    with pytest.raises(UnsupportedModelError, match="no input embedding matrix"):
        TransformersBackend(model)


def test_row_without_tokens_is_refused():
    with pytest.raises(ValueError, match="at least one token"):
        Row(())
