"""Parts of prompts that came from lm-eval's cache of requests: the task builds them once more."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from gilot_plugin.harness.state.run import EvaluationRun
from gilot_plugin.harness.watching.apart import TaskApart
from gilot_plugin.harness.watching.parts import watched_parts
from gilot_plugin.harness.watching.wrapping import Method, wrapped

_LOGGER = logging.getLogger(__name__)


@contextmanager
def remembered_builds(tasks: Mapping[str, Any]) -> Iterator[dict[str, dict[str, Any]]]:
    """Remember with which arguments the harness has each task build its requests inside the block."""
    builds: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        for name, task in tasks.items():
            stack.enter_context(wrapped(task, "build_all_requests", _remember(builds, name)))
        yield builds


def _remember(builds: dict[str, dict[str, Any]], name: str) -> Callable[[Method], Method]:
    def wrap(method: Method) -> Method:
        def call(**named: Any) -> Any:
            builds[name] = named
            return method(**named)

        return call

    return wrap


def rebuild_parts(
    run: EvaluationRun,
    tasks: Mapping[str, Any],
    builds: Mapping[str, dict[str, Any]],
    system_instruction: str | None,
) -> None:
    """Find the parts of prompts that the harness did not build, as they were in its cache.

    A copy of the task builds them in the same order, from the random state that it would have used. What
    comes out counts only where it is the very text that was asked: a cache of another time misleads nobody.

    Args:
        run: The run, which gets the parts.
        tasks: lm-eval's task objects by name.
        builds: See :func:`remembered_builds`.
        system_instruction: As given to lm-eval's ``evaluate``.
    """
    known = {task for task, _ in run.seen.parts}
    for name, arguments in builds.items():
        if run.unsupported is not None or not arguments.get("cache_requests") or name in known:
            continue
        twin = TaskApart(tasks[name]).twin
        try:
            with watched_parts(run, {name: twin}, system_instruction):
                twin.build_all_requests(**{**arguments, "cache_requests": False})
        except Exception as error:  # of a task; its cached requests were good enough for the scores
            _LOGGER.warning("task %s: the parts of its cached prompts are not known: %r", name, error)
