"""Hooks around the harness's calls of the model.

The methods of one model object are wrapped for the time of an evaluation. Nothing is changed on the way: the
wrapped methods receive and return what they always do, and an error in a hook, which has no part in the
scores, is told and costs none of them.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

from lm_eval.api.model import CacheHook

from gilot_plugin.extension.feeds import Feed
from gilot_plugin.harness.state.conversations import Layout, Message, layout_of
from gilot_plugin.harness.state.model_classes import is_engine
from gilot_plugin.harness.state.run import EvaluationRun
from gilot_plugin.harness.state.seen import Rendering
from gilot_plugin.harness.watching.engine_calls import watched_engine
from gilot_plugin.harness.watching.wrapping import Method, wrapped
from gilot_plugin.plugins.manager import manager

_LOGGER = logging.getLogger(__name__)

_REQUEST_METHODS = ("loglikelihood", "loglikelihood_rolling", "generate_until")


@contextmanager
def hooked(run: EvaluationRun) -> Iterator[None]:
    """Fire the hooks around every call of ``run.lm`` inside the block."""
    with ExitStack() as stack:
        for name in _REQUEST_METHODS:
            stack.enter_context(wrapped(run.lm, name, _announce(run, name)))
        if run.unsupported is None:  # below the requests, other models may work in any way
            stack.enter_context(_watched(run))
        yield


@contextmanager
def _watched(run: EvaluationRun) -> Iterator[None]:
    """Record the tokens that the harness feeds to the model, and what it makes of conversations."""
    with _watched_feeds(run), wrapped(run.lm, "apply_chat_template", _watch_template(run)):
        yield


@contextmanager
def _watched_feeds(run: EvaluationRun) -> Iterator[None]:
    if is_engine(run.lm):
        with watched_engine(run.lm, partial(_tell_feed, run), run.seen.generated.setdefault):
            yield
        return
    encoded: list[str] = []
    with (
        wrapped(run.lm, "_loglikelihood_tokens", _watch_scored_tokens(run)),
        wrapped(run.lm, "tok_batch_encode", _watch_encoded(encoded)),
        wrapped(run.lm, "_model_generate", _watch_generation(run, encoded)),
    ):
        yield


def _tell(hook: Any, run: EvaluationRun, **event: Any) -> None:
    """Call plugins that look on: hours of scoring must not end with the bug of one of them."""
    try:
        hook(run=run.view, **event)
    except Exception:
        if hook.name not in run.seen.failed_hooks:  # once, and not for each of a million prompts
            _LOGGER.exception("a plugin failed in %s; scoring goes on", hook.name)
        run.seen.failed_hooks.add(hook.name)


def _tell_feed(run: EvaluationRun, feed: Feed) -> None:
    _tell(manager().hook.gilot_tokens_fed, run, feed=feed)


def _announce(run: EvaluationRun, request_type: str) -> Callable[[Method], Method]:
    def wrap(method: Method) -> Method:
        def call(requests: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
            hook = manager().hook
            told = {"request_type": request_type, "requests": requests}
            _tell(hook.gilot_requests_sending, run, **told)
            responses = method(requests, *args, **kwargs)
            _tell(hook.gilot_requests_answered, run, **told, responses=responses)
            return responses

        return call

    return wrap


def _watch_scored_tokens(run: EvaluationRun) -> Callable[[Method], Method]:
    """Log-likelihood requests arrive as ``((context, continuation), ids, continuation ids)``."""

    def wrap(method: Method) -> Method:
        def call(requests: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
            for key, context_ids, continuation_ids in requests:
                if key is not None:  # windows of rolling requests have none
                    _tell_feed(run, _scored_feed(run.lm, key, context_ids, continuation_ids))
            return method(requests, *args, **kwargs)

        return call

    return wrap


def _scored_feed(
    lm: Any, key: tuple[str, str], context_ids: Sequence[int], continuation_ids: Sequence[int]
) -> Feed:
    """What ``HFLM._loglikelihood_tokens`` feeds: the last ``max_length + 1`` tokens, less the very last."""
    dropped = max(0, len(context_ids) + len(continuation_ids) - (lm.max_length + 1))
    return Feed(
        key[0], key[1], tuple(context_ids[dropped:]), tuple(continuation_ids), min(dropped, len(context_ids))
    )


class _Encoded(Exception):  # noqa: N818 - a signal, not an error
    """The harness has encoded the prompt and is about to call the model."""


def encode_as_fed(run: EvaluationRun, request_type: str, request: Any) -> None:
    """Let the harness encode a request whose answer came from the user's cache, without calling the model.

    The harness's own method runs up to the point where it would feed the model; the hooks record what it
    would feed. Neither the model nor the user's cache is touched.

    Args:
        run: The run.
        request_type: Method of the model object that takes the request.
        request: An lm-eval ``Instance``.
    """

    def stop(*_: Any, **__: Any) -> Any:
        raise _Encoded

    feeding = "_model_generate" if request_type == "generate_until" else "_loglikelihood_tokens"
    with (
        wrapped(run.lm, feeding, lambda _: stop),
        wrapped(run.lm, "_detect_batch_size", lambda _: lambda *_, **__: 1),  # feeds the model to find out
        _alone(run.lm),
        _watched(run),
        suppress(_Encoded),
    ):
        getattr(run.lm, request_type)([request], disable_tqdm=True)


def rolling_windows(run: EvaluationRun, request: Any) -> list[tuple[list[int], list[int]]]:
    """The windows in which the harness reads a text to be scored as a whole.

    The harness's own method cuts them; the model is not called.

    Args:
        run: The run.
        request: An lm-eval ``Instance`` of type ``loglikelihood_rolling``.

    Returns:
        Of each window, the tokens that were fed before the scored ones, and the scored ones.
    """
    windows: list[tuple[list[int], list[int]]] = []

    def collect(requests: Sequence[Any], *_: Any, **__: Any) -> list[tuple[float, bool]]:
        windows.extend((list(context), list(scored)) for _, context, scored in requests)
        return [(0.0, True)] * len(requests)

    with (
        wrapped(run.lm, "_loglikelihood_tokens", lambda _: collect),
        wrapped(run.lm, "_detect_batch_size", lambda _: lambda *_, **__: 1),
        _alone(run.lm),
    ):
        run.lm.loglikelihood_rolling([request], disable_tqdm=True)
    return windows


@contextmanager
def _alone(lm: Any) -> Iterator[None]:
    """Keep the harness from waiting for other processes, and from writing to the user's cache."""
    kept = {name: value for name, value in vars(lm).items() if name in ("_world_size", "cache_hook")}
    lm._world_size, lm.cache_hook = 1, CacheHook(None)
    try:
        yield
    finally:
        for name in ("_world_size", "cache_hook"):
            if name in kept:
                setattr(lm, name, kept[name])
            else:
                delattr(lm, name)


def _watch_encoded(encoded: list[str]) -> Callable[[Method], Method]:
    """Remember the texts of the batch that is encoded, and so about to be fed to ``_model_generate``."""

    def wrap(method: Method) -> Method:
        def call(strings: Sequence[str], *args: Any, **kwargs: Any) -> Any:
            encoded[:] = strings
            return method(strings, *args, **kwargs)

        return call

    return wrap


def _watch_generation(run: EvaluationRun, encoded: Sequence[str]) -> Callable[[Method], Method]:
    def wrap(method: Method) -> Method:
        def call(context: Any, *args: Any, **kwargs: Any) -> Any:
            attended = kwargs.get("attention_mask")
            texts = list(encoded)
            if attended is not None and len(texts) == len(context):
                for text, ids, seen in zip(texts, context.tolist(), attended.tolist(), strict=True):
                    fed = tuple(token for token, keep in zip(ids, seen, strict=True) if keep)
                    _tell_feed(run, Feed(text, None, fed))
            produced = method(context, *args, **kwargs)
            if len(texts) == len(produced):
                for text, ids in zip(texts, produced[:, context.shape[1] :].tolist(), strict=True):
                    run.seen.generated.setdefault(text, array("q", ids))
            return produced

        return call

    return wrap


def _watch_template(run: EvaluationRun) -> Callable[[Method], Method]:
    layouts: dict[Any, Layout | None] = {}

    def wrap(method: Method) -> Method:
        def call(chat_history: Sequence[Message], *args: Any, **kwargs: Any) -> Any:
            text = method(chat_history, *args, **kwargs)
            roles = tuple(message["role"] for message in chat_history)
            key = (roles, args, tuple(kwargs.items()))
            if key not in layouts:
                layouts[key] = _layout(lambda marked: str(method(marked, *args, **kwargs)), chat_history)
            run.seen.renderings[text] = Rendering(text, tuple(chat_history), layouts[key])
            return text

        return call

    return wrap


def _layout(render: Callable[[list[Message]], str], messages: Sequence[Message]) -> Layout | None:
    """A template may refuse contents that it does not know; the real ones are all that counts."""
    try:
        return layout_of(render, messages)
    except Exception:
        return None
