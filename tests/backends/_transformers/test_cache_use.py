"""What it costs where caches or prefix trees are not used."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from transformers.cache_utils import Cache

from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scoring.sessions import TokenTree
from gilot_plugin.backends.transformers import TransformersBackend
from tests.attribution.engine_calls import (
    EVERY_TOKEN,
    PROMPT,
    attribute_choices,
    attribute_generation,
    prompt_of,
    recipe,
    units_at,
)

ANSWER = (5, 17, 120)


def refusing_caches(model: Any) -> Any:
    forward = model.forward

    @functools.wraps(forward)
    def altered(**inputs: Any) -> Any:
        if any(isinstance(value, Cache) for value in inputs.values()):
            raise TypeError("no caches here")
        return forward(**inputs)

    model.forward = altered
    return model


def read_by_hand(backend: TransformersBackend) -> None:
    """Three prompts that leave the full one at the last, third and no token, with two more tokens each."""
    full = Row((9, 8, 7, 6))
    session = backend.prefill([Row((9, 8, 7, 5)), Row((9, 8, 4, 6)), full], 2, [full] * 3)
    list(session.read_trees([TokenTree((3, 2), (-1, 0))] * 3))


@pytest.mark.parametrize(
    ("make", "settings", "cached", "trees", "read"),
    [
        # The full prompt but for its last token, the last 1, 2 and 1 tokens, two of each continuation.
        (lambda model: model, {}, True, True, 3 + (1 + 2 + 1) + 3 * 2),
        # Each prompt of four tokens, two of each continuation.
        (lambda model: model, {"trees": False}, True, False, 3 * 4 + 3 * 2),
        # Each prompt of four tokens, then each of them with its continuation.
        (refusing_caches, {}, False, False, 3 * 4 + 3 * 6),
    ],
)
def test_tokens_counted_by_hand(make_tiny_model, make, settings, cached, trees, read):
    backend = TransformersBackend(make(make_tiny_model("llama")), **settings)
    assert (backend.cache_use.tokens_read, backend.cache_use.tokens_with_trees) == (0, 0)
    read_by_hand(backend)
    use = backend.cache_use
    assert (use.key_value_cache, use.prefix_trees) == (cached, trees)
    assert (use.tokens_read, use.tokens_with_trees) == (read, 13)


@pytest.mark.parametrize("target", ["response", "shared", "regenerate", "choices"])
def test_tokens_with_trees_are_those_that_trees_read(make_tiny_model, target):
    def read(backend: TransformersBackend) -> tuple[int, int]:
        prompt = prompt_of(PROMPT)
        units = units_at(prompt, EVERY_TOKEN)
        if target == "choices":
            endings = [(4, 5), (6,), (4, 8, 9)]
            attribute_choices(backend, prompt, units, endings, ["a", "b", "c"], recipe())
        else:
            settings = recipe(hypotheses=target, num_beams=3, max_new_tokens=3)
            attribute_generation(backend, prompt, units, settings, str, str, answer=ANSWER)
        return backend.cache_use.tokens_read, backend.cache_use.tokens_with_trees

    wanted, same = read(TransformersBackend(make_tiny_model("llama")))
    assert wanted == same
    for backend in (
        TransformersBackend(make_tiny_model("llama"), trees=False),
        TransformersBackend(refusing_caches(make_tiny_model("llama"))),
    ):
        tokens, with_trees = read(backend)
        assert tokens > 1.3 * wanted
        assert with_trees == pytest.approx(wanted, rel=0.1)
