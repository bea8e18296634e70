"""Models that call their inputs otherwise than any release of transformers that is known today."""

from __future__ import annotations

import inspect
from dataclasses import asdict
from typing import Any, Optional

import pytest
import torch
from transformers.cache_utils import Cache, DynamicCache

from gilot_plugin.backends._transformers.inputs import Inputs, cache_argument
from gilot_plugin.backends._transformers.tree.pass_view import TreeStore
from gilot_plugin.backends.cache_use import CacheUse
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scoring.sessions import TokenTree
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.reports.wording import cache_use_lines
from tests.attribution import engine_calls, serial
from tests.attribution.closeness import assert_close
from tests.attribution.engine_calls import PROMPT, SPANS
from tests.backends.opening import opened

SIZES = {"num_beams": 3, "max_new_tokens": 3}


#: What the inputs are called in the models below.
NAMES = {
    "attention_mask": "attended",
    "position_ids": "places",
    "use_cache": "remember",
    "logits_to_keep": "last",
}


def own_name(model: Any) -> str:
    """What the installed transformers calls the cache, which it returns by the same name."""
    output = model(torch.tensor([[5, 6]]), use_cache=True)
    (name,) = (name for name, value in output.items() if isinstance(value, Cache))
    return name


def renaming(module_class: Any, cache: str, names: dict[str, str], left_out: tuple[str, ...] = ()) -> Any:
    """A class whose forward takes its inputs by other names, without annotations, and by these alone.

    Args:
        module_class: The class that it calls.
        cache: What that calls the cache, here ``memory``.
        names: What the other inputs are called, by what the class calls them.
        left_out: Those that are not taken by any name.
    """
    renamed = {own: new for own, new in {**names, cache: "memory"}.items() if own not in left_out}
    refused = {own for own in (*names, cache) if renamed.get(own) != own}
    arguments = ", ".join(f"{new}=None" for new in ("labels", *renamed.values()))
    given = ", ".join(f"{own!r}: {new}" for own, new in renamed.items())
    space: dict[str, Any] = {"plain": module_class.forward, "refused": refused}
    exec(
        f"def forward(self, input_ids=None, {arguments}, **others):\n"
        f"    assert not refused.intersection(others)\n"
        f"    given = {{own: value for own, value in {{{given}}}.items() if value is not None}}\n"
        f"    return plain(self, input_ids, **given, **others)",
        space,
    )
    return type("Renamed", (module_class,), {"forward": space["forward"]})


def renamed(model: Any, *left_out: str, body: bool = True) -> Any:
    """The model, and its body, which take what they take by other names."""
    cache = own_name(model)
    if body:
        inner = getattr(model, model.base_model_prefix)
        body_class = type(inner)
        names = {name: new for name, new in NAMES.items() if name != "logits_to_keep"}
        other = renaming(body_class, cache, names)

        class Body(other):
            """The model's own head calls it as the release does, with no tree."""

            def forward(self, *ids: Any, **named: Any) -> Any:
                if named.keys() & {*names, cache}:
                    assert not isinstance(named.get(cache), TreeStore)
                    return body_class.forward(self, *ids, **named)
                return other.forward(self, *ids, **named)

        Body.forward.__wrapped__ = other.forward
        inner.__class__ = Body
    model.__class__ = renaming(type(model), cache, NAMES, left_out)
    return model


def unannotated(model: Any) -> Any:
    """The model, whose signature names the inputs and tells nothing about them."""
    model.__class__ = renaming(type(model), own_name(model), dict(zip(NAMES, NAMES, strict=True)))
    return model


@pytest.mark.parametrize("alter", [renamed, unannotated])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_everything_is_used_whatever_it_is_called(make_tiny_model, tiny_model, family, alter):
    model = alter(make_tiny_model(family))
    backend = TransformersBackend(model)
    use = backend.cache_use
    assert (use.key_value_cache, use.prefix_trees, use.reason, use.errors) == (True, True, None, ())
    assert backend.refuses_positions is None
    spans = SPANS[1:3]
    for absence in ("delete", "mask"):
        expected = serial.scores(tiny_model(family), PROMPT, spans, absence=absence, **SIZES)
        assert_close(engine_calls.generation(model, PROMPT, spans, absence=absence, **SIZES), expected)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_every_input_is_found_by_what_it_does(make_tiny_model, family):
    model = renamed(make_tiny_model(family))
    backend = TransformersBackend(model, trees=False)
    assert (backend.recomputes, backend.reads_trees) == (None, False)
    assert backend._passes.inputs.names == {
        "mask": "attended",
        "positions": "places",
        "use_cache": "remember",
        "keep": "last",
        "cache": "memory",
    }
    list(opened(backend, [Row(PROMPT)]).prompt.logits())
    use = backend.cache_use
    assert use.logits_computed == use.logits_wanted == 1


def test_name_that_means_something_else(make_tiny_model, tiny_model):
    """It is called as the mask is elsewhere, and the mask otherwise."""
    model = make_tiny_model("llama")
    swapped = {**dict(zip(NAMES, NAMES, strict=True)), "use_cache": "remember", "logits_to_keep": "use_cache"}
    model.__class__ = renaming(type(model), own_name(model), swapped)
    backend = TransformersBackend(model, trees=False)
    assert backend.recomputes is None
    assert backend._passes.inputs.names["use_cache"] == "remember"
    assert backend._passes.inputs.names["keep"] == "use_cache"
    expected = serial.scores(tiny_model("llama"), PROMPT, SPANS[1:3], **SIZES)
    assert_close(engine_calls.generation(model, PROMPT, SPANS[1:3], **SIZES), expected)


def test_logits_that_nobody_wanted_are_told(make_tiny_model):
    def used(*left_out: str, trees: bool) -> CacheUse:
        backend = TransformersBackend(renamed(make_tiny_model("llama"), *left_out, body=False), trees=trees)
        # Two prompts of four tokens, of which the last is looked at, and two tokens more.
        rows = [Row((9, 8, 7, 6)), Row((9, 8, 7, 5))]
        session = backend.prefill(rows, 2, [rows[0]] * 2)
        list(session.read_trees([TokenTree((3, 2), (-1, 0))] * 2))
        return backend.cache_use

    kept = used(trees=False)
    assert (kept.logits_computed, kept.logits_wanted) == (6, 6)
    assert cache_use_lines(asdict(kept))[1:] == []
    every = used("logits_to_keep", trees=False)
    assert (every.logits_computed, every.logits_wanted) == (12, 6)
    assert cache_use_lines(asdict(every))[1:] == [
        "slow: the logits of 12 tokens were computed where those of 6 were wanted: the model cannot be told "
        "which are."
    ]
    with_trees = used("logits_to_keep", trees=True)
    assert (with_trees.prefix_trees, with_trees.logits_computed) == (True, 0)
    assert cache_use_lines(asdict(with_trees)) == []


def past_of(annotation: Any) -> Any:
    """A forward whose cache is annotated so, after others that tell nothing."""

    def forward(input_ids, past_key_values, cache, past):
        raise NotImplementedError

    forward.__annotations__ = {"input_ids": torch.Tensor, "cache": list[int], "past": annotation}
    return forward


@pytest.mark.parametrize(
    "annotation",
    [
        Cache,
        DynamicCache,
        Cache | None,
        Optional["Cache"],
        list[Cache],
        "Cache | None",
        "Optional[transformers.DynamicCache]",
    ],
)
def test_annotation_tells_the_cache(annotation):
    assert cache_argument(past_of(annotation)) == "past"


@pytest.mark.parametrize(
    "annotation", [torch.Tensor, "Nowhere | None", list[int], Any, inspect.Parameter.empty]
)
def test_annotation_tells_nothing(annotation):
    assert cache_argument(past_of(annotation)) is None


def test_signature_of_the_release(tiny_model):
    model = tiny_model("llama")
    assert Inputs.of(model.forward).names == {
        "mask": "attention_mask",
        "positions": "position_ids",
        "use_cache": "use_cache",
        "keep": "logits_to_keep",
        "cache": own_name(model),
    }
