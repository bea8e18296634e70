"""A task on the bench: as lm-eval had prepared it for an evaluation, ready to be asked again."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import lm_eval.api.task
from lm_eval.api.model import CacheHook
from lm_eval.evaluator_utils import get_sample_size

from gilot_plugin.harness.ablating.editing import (
    Editing,
    Rewrite,
    function_rewrite,
    lender,
    pattern_rewrite,
    snapshot,
)
from gilot_plugin.harness.state.team import ALONE, Team
from gilot_plugin.harness.watching.wrapping import wrapped
from gilot_plugin.settings.ablation import FULL, Arm
from gilot_plugin.strategies.functions import load_function

#: Requests of each document, by its number among those that are evaluated.
Requests = Mapping[int, Sequence[Any]]


@dataclass(frozen=True, eq=False)
class Bench:
    """A task and the model that answers it.

    Attributes:
        name: Of the task.
        task: As it was before it built any request.
        lm: lm-eval's model object, unwrapped from its cache.
        arguments: Those of lm-eval's ``evaluate``.
        evaluate: That function itself.
        other_task: Loads another task by its name, for its examples.
        team: The processes that evaluate it together.
    """

    name: str
    task: Any
    lm: Any
    arguments: Mapping[str, Any]
    evaluate: Callable[..., Any]
    other_task: Callable[[str], Any]
    team: Team = ALONE

    @property
    def output_type(self) -> str:
        """lm-eval's ``output_type`` of the task."""
        return str(self.task.OUTPUT_TYPE)

    @property
    def samples(self) -> Sequence[int] | None:
        """Documents that were chosen by ``--samples``; None for the first ones, up to the limit."""
        chosen = (self.arguments.get("samples") or {}).get(self.name)
        return None if chosen is None else list(chosen)

    @property
    def template_arguments(self) -> Mapping[str, Any]:
        """What ``fewshot_context`` is told of the chat template."""
        templated = bool(self.arguments.get("apply_chat_template"))
        return {
            "system_instruction": self.arguments.get("system_instruction"),
            "apply_chat_template": templated,
            "fewshot_as_multiturn": bool(self.arguments.get("fewshot_as_multiturn", False)),
            "chat_template": getattr(self.lm, "apply_chat_template", None) if templated else None,
        }


@dataclass(frozen=True, eq=False)
class Built:
    """The requests of an arm.

    Attributes:
        task: The task that built them, and scores them.
        requests: By document, in their order.
        shots: Most examples in a prompt, before the arm's change.
    """

    task: Any
    requests: Requests = field(repr=False)
    shots: int

    def contexts(self, document: int) -> tuple[str, ...]:
        """What the model is asked about a document, without the continuations."""
        return tuple(str(request.args[0]) for request in self.requests[document])


def build(bench: Bench, arm: Arm, seed: int) -> Built:
    """Build the requests of an arm for all documents of the evaluation.

    All of them, for examples are drawn for one after the other; each process of several those that it built
    for the evaluation.

    Args:
        bench: The task.
        arm: What is changed.
        seed: Of the order of shots.

    Raises:
        ConfigError: A function, or another task, cannot be loaded.
    """
    twin = snapshot(bench.task)
    every = bench.team.together(lambda: _build_own(bench, twin, arm, seed))
    requests = {number: own for found, _ in every for number, own in found.items()}
    return Built(
        twin, {number: requests[number] for number in sorted(requests)}, max(shots for _, shots in every)
    )


def _build_own(bench: Bench, twin: Any, arm: Arm, seed: int) -> tuple[Requests, int]:
    """The requests that this process builds, and the most shots in one of them."""
    lent = None
    if arm.kind == "shots_of":
        lent = lender(snapshot(bench.other_task(arm.value)), bench.template_arguments)
    editing = Editing(twin, arm, seed=seed, rewrite=_rewrite(arm), lent=lent)
    build_requests(bench, twin)
    requests: dict[int, list[Any]] = {}
    for instance in twin.instances:
        requests.setdefault(instance.doc_id, []).append(instance)
    return requests, editing.most_shots


def build_requests(bench: Bench, task: Any) -> None:
    """Have a task build the requests of the evaluation.

    Args:
        bench: The task and what lm-eval was called with.
        task: The same task, or a copy with changes.
    """
    with _unheard():
        task.build_all_requests(
            limit=get_sample_size(bench.task, bench.arguments.get("limit")),
            samples=bench.samples,
            rank=bench.team.rank,
            world_size=bench.team.size,
            cache_requests=False,
            rewrite_requests_cache=False,
            tokenizer_name="",
            **bench.template_arguments,
        )


def build_full(bench: Bench) -> Built:
    """Build the requests of the evaluation itself."""
    return build(bench, Arm(FULL, "full"), 0)


def _rewrite(arm: Arm) -> Rewrite | None:
    if arm.kind == "regex":
        return pattern_rewrite(arm.value)
    if arm.kind == "function":
        return function_rewrite(load_function(arm.value), arm.value)
    return None


def ask(bench: Bench, built: Built, documents: Sequence[int]) -> list[dict[str, Any]]:
    """Have lm-eval ask and score some documents.

    Args:
        bench: The task.
        built: The requests of an arm.
        documents: Which of them.

    Returns:
        lm-eval's own rows, one a document and filter; some may be there twice.
    """
    twin = snapshot(built.task)
    team = bench.team
    # lm-eval wants every process to have a document.
    share = documents[team.rank :: team.size] or [documents[team.rank % len(documents)]]
    own = {number: [_unanswered(request) for request in built.requests[number]] for number in share}

    def build_all_requests(**_: Any) -> None:
        twin._instances = [request for requests in own.values() for request in requests]

    def doc_iterator(**_: Any) -> Iterator[tuple[int, Any]]:
        return ((number, requests[0].doc) for number, requests in own.items())

    twin.build_all_requests = build_all_requests
    twin.doc_iterator = doc_iterator
    # The score of a few documents is of no use, and some cannot be computed from so few.
    twin.aggregation = lambda: _Counting(len)
    # What is asked here has no place in the user's cache of answers.
    with _unheard(), _without_bars(bench.lm), wrapped(bench.lm, "cache_hook", lambda _: CacheHook(None)):
        results = bench.evaluate(
            lm=bench.lm,
            task_dict={bench.name: twin},
            bootstrap_iters=0,
            log_samples=True,
            confirm_run_unsafe_code=bool(bench.arguments.get("confirm_run_unsafe_code", False)),
        )
    rows: list[dict[str, Any]] = team.from_leader(results["samples"][bench.name] if team.leads else [])
    return rows


class _Counting(dict[str, Any]):
    """Answers any name alike."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self._value = value

    def __missing__(self, name: str) -> Any:
        return self._value


def _unanswered(request: Any) -> Any:
    """The same request without answers, which may come again."""
    return replace(request, resps=[], filtered_resps={})


@contextmanager
def _unheard() -> Iterator[None]:
    """Hold back what lm-eval says, which it says anew for each arm."""
    disabled = logging.root.manager.disable
    logging.disable(max(disabled, logging.INFO))
    try:
        with wrapped(lm_eval.api.task, "tqdm", lambda _: lambda iterable, **__: iterable):
            yield
    finally:
        logging.disable(disabled)


@contextmanager
def _without_bars(lm: Any) -> Iterator[None]:
    """Keep the model from showing a bar for each of many calls, where it can be told."""
    with ExitStack() as stack:
        for name in ("loglikelihood", "loglikelihood_rolling", "generate_until"):
            method = getattr(lm, name, None)
            if method is not None and "disable_tqdm" in inspect.signature(method).parameters:
                stack.enter_context(wrapped(lm, name, lambda call: partial(call, disable_tqdm=True)))
        yield
