"""The transformers backend against plain passes of the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import T5Config, T5ForConditionalGeneration

from gilot_plugin.backends.protocol import Row
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.errors import UnsupportedModelError

ROWS = [Row((0, 37, 211, 64, 150, 9, 301, 88, 12)), Row((44,)), Row((7, 250, 133, 70))]


def plain_logits(model, token_ids):
    """Logits after each of the tokens, ``[tokens, vocab]``."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([token_ids]), use_cache=False).logits[0]


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_prompt_logits_of_padded_rows(family_model):
    session = TransformersBackend(family_model).prefill(ROWS)
    for row, logits in zip(ROWS, session.prompt_logits, strict=True):
        close(logits, plain_logits(family_model, row.token_ids)[-1])


def test_beams_that_change_parents(family_model):
    session = TransformersBackend(family_model).prefill(ROWS)
    first = torch.tensor([[5, 6, 7], [8, 9, 10], [11, 12, 13]])
    session.advance(torch.zeros(3, 3, dtype=torch.long), first.unsqueeze(-1))
    parents = torch.tensor([[2, 0, 0, 1], [1, 1, 1, 1], [0, 2, 1, 0]])
    second = torch.tensor([[20, 21, 22, 23], [24, 25, 26, 27], [28, 29, 30, 31]])
    logits = session.advance(parents, second.unsqueeze(-1)).squeeze(2)
    assert logits.shape == (3, 4, 320)
    for index, row in enumerate(ROWS):
        for beam in range(4):
            fed = [*row.token_ids, first[index, parents[index, beam]].item(), second[index, beam].item()]
            close(logits[index, beam], plain_logits(family_model, fed)[-1])


def test_runs_of_tokens(family_model):
    session = TransformersBackend(family_model).prefill(ROWS)
    draw = torch.Generator().manual_seed(0)
    runs = [torch.randint(3, 320, (3, n, length), generator=draw) for n, length in ((2, 3), (3, 8), (1, 2))]
    parents = [torch.tensor(p) for p in ([[0, 0]] * 3, [[1, 0, 1], [0, 0, 1], [1, 1, 0]], [[2], [0], [1]])]
    known = [[row.token_ids] for row in ROWS]
    for parent, tokens in zip(parents, runs, strict=True):
        logits = session.advance(parent, tokens)
        known = [
            [
                known[row][p] + tuple(run)
                for p, run in zip(parent[row].tolist(), tokens[row].tolist(), strict=True)
            ]
            for row in range(3)
        ]
        for row in range(3):
            for place, fed in enumerate(known[row]):
                close(logits[row, place], plain_logits(family_model, fed)[-tokens.shape[2] :])


def test_continuations(family_model):
    continuations = [(5, 6, 7, 8), (), (9,)]
    scored = TransformersBackend(family_model).continuation_logits(ROWS, continuations)
    for row, continuation, logits in zip(ROWS, continuations, scored, strict=True):
        expected = plain_logits(family_model, [*row.token_ids, *continuation])[len(row.token_ids) - 1 :]
        assert logits.shape == expected.shape
        close(logits, expected)


def test_continuations_of_the_same_row(family_model):
    rows = [ROWS[2], ROWS[0], ROWS[2], ROWS[0], ROWS[0]]
    continuations = [(5, 6), (7, 8, 9, 10), (11,), (5, 6, 7), (3,)]
    scored = TransformersBackend(family_model).continuation_logits(rows, continuations)
    for row, continuation, logits in zip(rows, continuations, scored, strict=True):
        close(logits, plain_logits(family_model, [*row.token_ids, *continuation])[len(row.token_ids) - 1 :])


def test_empty_continuations(family_model):
    scored = TransformersBackend(family_model).continuation_logits(ROWS, [(), (), ()])
    for row, logits in zip(ROWS, scored, strict=True):
        close(logits, plain_logits(family_model, row.token_ids)[-1:])


def test_recurrent_state_remembers_no_padding(tiny_model):
    recurrent_model = tiny_model("recurrent_gemma")
    backend = TransformersBackend(recurrent_model)
    session = backend.prefill(ROWS)
    next_tokens = torch.tensor([[5, 6], [7, 8], [9, 10]]).unsqueeze(-1)
    after = session.advance(torch.zeros(3, 2, dtype=torch.long), next_tokens).squeeze(2)
    scored = backend.continuation_logits(ROWS, [(5,), (7, 20), ()])
    for index, (row, token) in enumerate(zip(ROWS, (5, 7, 9), strict=True)):
        expected = plain_logits(recurrent_model, [*row.token_ids, token])[-2:]
        close(session.prompt_logits[index], expected[0])
        close(after[index, 0], expected[1])
        close(scored[index][0], expected[0])
    assert [len(logits) for logits in scored] == [2, 3, 1]
    close(scored[1][1], after[1, 0])


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "mistral", "gpt_neox", "opt"])
def test_positions_and_attention_of_a_row(tiny_model, family):
    model = tiny_model(family)
    ids, positions, attended = (5, 6, 7, 8, 9), (0, 1, 5, 6, 7), (True, False, True, True, True)
    session = TransformersBackend(model).prefill([Row(ids, positions, attended), ROWS[0]])
    with torch.no_grad():
        expected = model(
            input_ids=torch.tensor([(*ids, 31)]),
            position_ids=torch.tensor([(*positions, 8)]),
            attention_mask=torch.tensor([(*attended, True)]).long(),
        ).logits[0]
    close(session.prompt_logits[0], expected[-2])
    close(session.advance(torch.tensor([[0], [0]]), torch.tensor([[[31]], [[4]]]))[0, 0, 0], expected[-1])


def test_longest_prompt_of_learned_positions(make_tiny_model):
    model = make_tiny_model("gpt2", max_position_embeddings=9)
    rows, continuations = [Row(tuple(range(3, 10))), Row((44,))], [(5, 6), (7,)]
    scored = TransformersBackend(model).continuation_logits(rows, continuations)
    for row, continuation, logits in zip(rows, continuations, scored, strict=True):
        close(logits, plain_logits(model, [*row.token_ids, *continuation])[len(row.token_ids) - 1 :])


@pytest.mark.parametrize(
    ("family", "positions", "longest"),
    [("llama", True, 128), ("gpt2", True, 128), ("bloom", False, None), ("mamba", False, None)],
)
def test_what_it_says_of_the_model(tiny_model, family, positions, longest):
    backend = TransformersBackend(tiny_model(family))
    assert backend.takes_positions is positions
    assert backend.max_positions == longest
    assert backend.vocab_size == 320
    assert backend.eos_token_ids == (1,)
    assert backend.device == torch.device("cpu")


@pytest.mark.parametrize(
    ("generation", "configuration", "expected"),
    [(7, 1, (7,)), ([7, 8], 1, (7, 8)), (None, [5, 6], (5, 6)), (None, 0, (0,)), (None, None, ())],
)
def test_end_tokens(make_tiny_model, generation, configuration, expected):
    model = make_tiny_model("llama")
    model.generation_config.eos_token_id = generation
    model.config.eos_token_id = configuration
    assert TransformersBackend(model).eos_token_ids == expected


def test_tokens_are_counted_without_padding(tiny_model):
    backend = TransformersBackend(tiny_model("llama"))
    session = backend.prefill(ROWS)
    assert backend.model_tokens == 9 + 1 + 4
    session.advance(torch.zeros(3, 2, dtype=torch.long), torch.full((3, 2, 1), 5))
    assert backend.model_tokens == 14 + 6


def test_embeddings_are_single_precision_and_detached(make_tiny_model):
    model = make_tiny_model("llama").bfloat16()
    rows = TransformersBackend(model).embeddings(torch.tensor([3, 5]))
    assert rows.dtype == torch.float32
    assert not rows.requires_grad
    assert torch.equal(rows, model.model.embed_tokens.weight[[3, 5]].float())


def test_memory_of_a_row(tiny_model):
    backend = TransformersBackend(tiny_model("llama"))
    # Two layers of keys and values, of two heads of eight, in four bytes.
    assert backend.row_bytes(100, 3) == 100 * 3 * (2 * 2 * 2 * 8 * 4) + 4 * 3 * 320 * 4
    assert backend.free_memory() > 2**20


def test_half_precision_gives_single_precision_logits(make_tiny_model):
    backend = TransformersBackend(make_tiny_model("llama").bfloat16())
    assert backend.prefill(ROWS).prompt_logits.dtype == torch.float32


def test_autocast(tiny_model):
    model = tiny_model("llama")
    logits = TransformersBackend(model, autocast_dtype=torch.bfloat16).prefill(ROWS).prompt_logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = plain_logits(model, ROWS[0].token_ids)[-1]
    assert logits.dtype == torch.float32
    np.testing.assert_allclose(logits[0], expected.float(), rtol=0.1, atol=0.3)
    assert not torch.equal(logits[0], TransformersBackend(model).prefill(ROWS).prompt_logits[0])


def test_adapter_around_a_model(make_tiny_model):
    adapted = get_peft_model(
        make_tiny_model("llama"), LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    ).eval()
    backend = TransformersBackend(adapted)
    assert backend.takes_positions
    close(backend.prefill(ROWS).prompt_logits[0], plain_logits(adapted, ROWS[0].token_ids)[-1])
    assert not torch.allclose(
        backend.prefill(ROWS).prompt_logits[0],
        TransformersBackend(make_tiny_model("llama")).prefill(ROWS).prompt_logits[0],
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
