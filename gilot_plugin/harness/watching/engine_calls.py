"""What lm-eval's class ``vllm`` feeds to its engine.

Its methods have other arguments than those of ``hf``: prompts go to the engine as lists of ids, sorted by
length, and none of them says which text it is of.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gilot_plugin.extension.feeds import Feed
from gilot_plugin.harness.watching.wrapping import Method, wrapped

#: Told of what is fed.
TellFeed = Callable[[Feed], None]

#: Told of the tokens that were generated after a text.
TellGenerated = Callable[[str, "array[int]"], object]


@contextmanager
def watched_engine(lm: Any, tell_feed: TellFeed, tell_generated: TellGenerated) -> Iterator[None]:
    """Tell of the tokens that the harness feeds to an engine, and of those that this answers.

    Args:
        lm: lm-eval's model object of class ``VLLM``.
        tell_feed: Told of prompts before they are fed.
        tell_generated: Told of answers.
    """
    encoded: dict[tuple[int, ...], list[str]] = {}
    with (
        wrapped(lm, "_loglikelihood_tokens", _watch_scored_tokens(lm, tell_feed)),
        wrapped(lm, "tok_encode", _watch_encoded(encoded)),
        wrapped(lm, "_model_generate", _watch_generation(lm, encoded, tell_feed, tell_generated)),
    ):
        yield


def scored_feed(
    max_length: int, key: tuple[str, str], context_ids: Sequence[int], continuation_ids: Sequence[int]
) -> Feed:
    """What ``VLLM._loglikelihood_tokens`` feeds: the last ``max_length - 1`` tokens.

    Args:
        max_length: Of the model; a place is kept for the token that the engine has to generate.
        key: Context and continuation.
        context_ids: Tokens of the context.
        continuation_ids: Tokens of the continuation.
    """
    dropped = max(0, len(context_ids) + len(continuation_ids) - (max_length - 1))
    return Feed(
        key[0], key[1], tuple(context_ids[dropped:]), tuple(continuation_ids), min(dropped, len(context_ids))
    )


def _watch_scored_tokens(lm: Any, tell_feed: TellFeed) -> Callable[[Method], Method]:
    def wrap(method: Method) -> Method:
        def call(requests: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
            for key, context_ids, continuation_ids in requests:
                if key is not None:  # windows of rolling requests have none
                    tell_feed(scored_feed(lm.max_length, key, context_ids, continuation_ids))
            return method(requests, *args, **kwargs)

        return call

    return wrap


def _watch_encoded(encoded: dict[tuple[int, ...], list[str]]) -> Callable[[Method], Method]:
    """Remember the texts that are encoded together, and so about to be generated from."""

    def wrap(method: Method) -> Method:
        def call(string: Any, *args: Any, **kwargs: Any) -> Any:
            found = method(string, *args, **kwargs)
            if not isinstance(string, str) and string:
                encoded.clear()
                for text, ids in zip(string, found, strict=True):
                    encoded.setdefault(tuple(ids), []).append(text)
            return found

        return call

    return wrap


def _watch_generation(
    lm: Any,
    encoded: dict[tuple[int, ...], list[str]],
    tell_feed: TellFeed,
    tell_generated: TellGenerated,
) -> Callable[[Method], Method]:
    def wrap(method: Method) -> Method:
        def call(requests: Sequence[Sequence[int]], generate: bool = False, *args: Any, **kwargs: Any) -> Any:
            if not generate:
                return method(requests, generate, *args, **kwargs)
            side = getattr(lm, "truncation_side", "left")
            texts = [_texts_of(tuple(ids), encoded, side) for ids in requests]
            for ids, own in zip(requests, texts, strict=True):
                for text in own:
                    tell_feed(Feed(text, None, tuple(ids)))
            produced = method(requests, generate, *args, **kwargs)
            for answer, own in zip(produced, texts, strict=True):
                for text in own:
                    tell_generated(text, array("q", answer.outputs[0].token_ids))
            return produced

        return call

    return wrap


def _texts_of(fed: tuple[int, ...], encoded: dict[tuple[int, ...], list[str]], side: str) -> Sequence[str]:
    """The texts whose tokens were fed, whole or truncated."""
    if fed in encoded:
        return encoded[fed]
    longer = (ids for ids in encoded if len(ids) > len(fed) and _truncated(ids, len(fed), side) == fed)
    return [text for ids in longer for text in encoded[ids]]


def _truncated(ids: tuple[int, ...], length: int, side: str) -> tuple[int, ...]:
    """So many tokens, as lm-eval cuts them."""
    first = {"left": 0, "right": length}.get(side, length // 2)
    return (*ids[:first], *ids[len(ids) - (length - first) :])
