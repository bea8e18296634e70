"""Models whose passes are altered, so that they do not do what they promise."""

from __future__ import annotations

import functools

import torch
from transformers.cache_utils import Cache


def around_forward(model, alter):
    """Give the inputs of each pass to ``alter(inputs)``, which may change them or raise."""
    forward = model.forward

    @functools.wraps(forward)
    def altered(**inputs):
        alter(inputs)
        return forward(**inputs)

    model.forward = altered
    return model


def ignore_mask(inputs):
    if "attention_mask" in inputs:
        inputs["attention_mask"] = torch.ones_like(inputs["attention_mask"])


def cache_in(inputs):
    """The cache that a pass is given, whatever the installed transformers calls it."""
    return next((value for value in inputs.values() if isinstance(value, Cache)), None)


def reorder_nothing(inputs):
    """The cache takes its rows as they come, whatever is asked for."""
    cache = cache_in(inputs)
    if cache is not None:
        reorder = type(cache).reorder_cache

        def no_reorder(source):
            rows = cache.layers[0].keys.shape[0]
            reorder(cache, torch.arange(len(source)) % rows)

        cache.reorder_cache = no_reorder


def have_no_reorder(inputs):
    cache = cache_in(inputs)
    if cache is not None:
        cache.reorder_cache = None


def refuse_caches(inputs):
    if cache_in(inputs) is not None:
        raise TypeError("forward() takes no cache\nand more lines")


def refuse(name):
    def check(inputs):
        if inputs.get(name) is not None:
            raise TypeError(f"forward() got an unexpected keyword argument '{name}'")

    return check


def count_attended(inputs):
    """Count attended tokens instead of taking the given positions."""
    if "position_ids" in inputs:
        counted = inputs["attention_mask"].cumsum(dim=1) - 1
        inputs["position_ids"] = counted.clamp(min=0)[:, -inputs["position_ids"].shape[1] :]


def follows_a_cache(inputs):
    cache = cache_in(inputs)
    return cache is not None and cache.get_seq_length() > 0


def refuse_runs(inputs):
    if follows_a_cache(inputs) and inputs["input_ids"].shape[1] > 1:
        raise RuntimeError("one token at a time")


def confuse_runs(inputs):
    if follows_a_cache(inputs):
        inputs["input_ids"] = inputs["input_ids"][:, :1].expand_as(inputs["input_ids"])


def refuse_masks_of_the_past(inputs):
    if follows_a_cache(inputs) and inputs.get("attention_mask") is not None:
        raise RuntimeError("sizes must match")
    refuse_runs(inputs)


def fail_on_batches(inputs):
    if inputs.get("attention_mask") is not None:
        raise RuntimeError("no batches here\nand more lines")
