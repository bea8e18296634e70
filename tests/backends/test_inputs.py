"""Models that call their inputs otherwise than any release of transformers that is known today."""

from __future__ import annotations

import inspect
from typing import Any, Optional

import pytest
import torch
from transformers.cache_utils import Cache, DynamicCache

from gilot_plugin.backends.inputs import Inputs, cache_argument
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.backends.tree.feed import TreeStore
from tests.attribution import engine_calls, serial
from tests.attribution.closeness import assert_close
from tests.attribution.engine_calls import PROMPT, SPANS

SIZES = {"num_beams": 3, "max_new_tokens": 3}


def own_name(model: Any) -> str:
    """What the installed transformers calls the cache, which it returns by the same name."""
    output = model(torch.tensor([[5, 6]]), use_cache=True)
    (name,) = (name for name, value in output.items() if isinstance(value, Cache))
    return name


def renamed(model: Any) -> Any:
    """The model, which takes its cache as ``memory`` and under no other name, and so does its body."""
    name = own_name(model)
    body = getattr(model, model.base_model_prefix)
    whole_forward, body_forward = type(model).forward, type(body).forward

    class Renamed(type(model)):
        def forward(
            self,
            input_ids: Any = None,
            attention_mask: Any = None,
            position_ids: Any = None,
            memory: Cache | None = None,
            use_cache: bool | None = None,
            logits_to_keep: int = 0,
            **others: Any,
        ) -> Any:
            assert name not in others
            given = {"attention_mask": attention_mask, "position_ids": position_ids, "use_cache": use_cache}
            return whole_forward(
                self, input_ids, logits_to_keep=logits_to_keep, **given, **others, **{name: memory}
            )

    class RenamedBody(type(body)):
        def forward(self, input_ids: Any = None, memory: Cache | None = None, **others: Any) -> Any:
            # The head calls it as the release does.
            assert not isinstance(others.get(name), TreeStore)
            return body_forward(self, input_ids, **{name: memory, **others})

    model.__class__, body.__class__ = Renamed, RenamedBody
    return model


def unannotated(model: Any) -> Any:
    """The model, whose signature names the inputs and tells nothing about them."""
    names = [*Inputs.of(type(model).forward).names, own_name(model)]
    arguments = ", ".join(f"{name}=None" for name in sorted(names) if name != "logits_to_keep")
    given = ", ".join(f"{name}={name}" for name in sorted(names))
    space: dict[str, Any] = {"plain": type(model).forward}
    exec(
        f"def forward(self, input_ids=None, logits_to_keep=0, {arguments}, **others):\n"
        f"    return plain(self, input_ids, {given}, **others)",
        space,
    )
    model.__class__ = type("Unannotated", (type(model),), {"forward": space["forward"]})
    return model


@pytest.mark.parametrize("alter", [renamed, unannotated])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_caches_and_trees_are_used_whatever_the_cache_is_called(make_tiny_model, tiny_model, family, alter):
    model = alter(make_tiny_model(family))
    backend = TransformersBackend(model)
    assert (backend.recomputes, backend.refuses_positions) == (None, None)
    assert backend.shares_prompts
    expected = serial.scores(tiny_model(family), PROMPT, SPANS, **SIZES)
    assert_close(engine_calls.generation(model, PROMPT, SPANS, **SIZES), expected)
    without_trees = TransformersBackend(model, trees=False)
    assert (without_trees.recomputes, without_trees.shares_prompts) == (None, False)


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
    assert Inputs.of(model.forward) == Inputs(
        frozenset({"attention_mask", "use_cache", "position_ids", "logits_to_keep"}), own_name(model)
    )
