"""Long prompts, read in many passes, and what is counted."""

from __future__ import annotations

import pytest
import torch

from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scoring.sessions import TokenTree
from gilot_plugin.backends.transformers import TransformersBackend

PROMPT = tuple((37 * place + 5) % 300 for place in range(90))


def plain_logits(model, token_ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([token_ids]), use_cache=False).logits[0, -1]


@pytest.mark.parametrize("most", [16, 64, 512])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "mistral", "gemma3_text", "opt"])
def test_long_prompts(tiny_model, family, most):
    """Windows shorter than the prompt, suffixes of all lengths, passes of few tokens and of many."""
    model = tiny_model(family)
    backend = TransformersBackend(model, pass_tokens=most)
    cuts = (0, 3, 20, 50, 88, 89)
    rows = [Row(PROMPT), *(Row((*PROMPT[:cut], *PROMPT[cut + 1 :])) for cut in cuts)]
    tree = TokenTree((5, 6, 7, 8), (-1, -1, 0, 2))
    session = backend.prefill(rows, 4, [rows[0]] * len(rows))
    assert backend.model_tokens == len(PROMPT) - 1
    paths = {-1: (), 0: (5,), 1: (6,), 2: (5, 7), 3: (5, 7, 8)}
    for level in session.read_trees([tree] * len(rows)):
        places = zip(level.rows.tolist(), level.nodes.tolist(), strict=True)
        for (row, node), logits in zip(places, level.predictions.logits(), strict=True):
            expected = plain_logits(model, (*rows[row].token_ids, *paths[node]))
            torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    # Nothing is read of what comes before the absent token; the last token of a row always is.
    own = [1, *(max(1, len(PROMPT) - 1 - cut) for cut in cuts)]
    assert backend.model_tokens == len(PROMPT) - 1 + sum(own) + len(rows) * len(tree.tokens)


def test_model_is_left_as_it_was(make_tiny_model):
    model = make_tiny_model("llama")
    before = dict(vars(model.config))
    forward = vars(model).get("forward")
    backend = TransformersBackend(model)
    session = backend.prefill([Row(PROMPT)], 1, [Row(PROMPT)])
    session.prompt.logits()
    assert vars(model.config) == before
    assert vars(model).get("forward") is forward
    assert model.model is model._modules["model"]


def test_replaced_forward_is_respected(make_tiny_model):
    model = make_tiny_model("llama")
    assert TransformersBackend(model).reads_trees
    handle = model.register_forward_hook(lambda module, args, output: output)
    assert not TransformersBackend(model).reads_trees
    handle.remove()
    assert TransformersBackend(model).reads_trees
