"""What tasks say of documents, without a call of their code that an evaluation alone would not make.

Tasks may count their calls, draw from the random generators that lm-eval seeds, or change a document.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import cached_property
from typing import Any

import lm_eval.evaluator

from gilot_plugin.harness.random_states import undisturbed
from gilot_plugin.harness.watching.wrapping import REPLACED, Method, wrapped

_LOGGER = logging.getLogger(__name__)

#: Attributes of tasks and of their samplers of examples that are large and that nobody writes to.
_SHARED = frozenset({"dataset", "task_docs", "_training_docs", "_fewshot_docs", "_instances", "docs", "df"})


class TaskApart:
    """What a task says of its documents, without asking it more than the evaluation does.

    What the evaluation has asked is remembered. The rest is asked of a copy of the task.

    Args:
        task: lm-eval's task object.
    """

    def __init__(self, task: Any) -> None:
        self.task = task
        self._heard: dict[tuple[str, bytes], Any] = {}

    @cached_property
    def twin(self) -> Any:
        """The copy, made when something is first asked of it. Documents are those of the task itself."""
        return _copied(self.task)

    def call(self, name: str, doc: Any) -> Any:
        """What a method of the task returns for a document.

        Raises:
            Exception: Whatever the method raises.
        """
        key = name, _fingerprint(doc)
        if key not in self._heard:
            with undisturbed():
                self._heard[key] = getattr(self.twin, name)(copy.deepcopy(doc))
        return self._heard[key]

    def method(self, name: str) -> Callable[[Any], Any] | None:
        """A method that takes a document, None if the task has no such method."""
        if getattr(self.task, name, None) is None:
            return None
        return lambda doc: self.call(name, doc)

    @contextmanager
    def listening(self, *, samples_wanted: bool) -> Iterator[None]:
        """Remember what the evaluation asks inside the block.

        Args:
            samples_wanted: Whether it was to log samples by itself. If not, the targets that it needs for
                those come from here.
        """
        with (
            wrapped(self.task, "doc_to_choice", self._hear("doc_to_choice", answers=False)),
            nullcontext()
            if samples_wanted
            else wrapped(self.task, "doc_to_target", self._hear("doc_to_target", answers=True)),
        ):
            yield

    def _hear(self, name: str, *, answers: bool) -> Callable[[Method], Method]:
        def wrap(method: Method) -> Method:
            def call(doc: Any, *args: Any, **kwargs: Any) -> Any:
                if answers and _is_logging(sys._getframe(1)):
                    return self._target(doc)
                key = name, _fingerprint(doc)
                found = method(doc, *args, **kwargs)
                if not args and not kwargs:
                    # The task may go on to change a list of its own making.
                    self._heard[key] = copy.copy(found)
                return found

            return call

        return wrap

    def _target(self, doc: Any) -> Any:
        try:
            return self.call("doc_to_target", doc)
        except Exception as error:  # the evaluation alone would not have met it
            _LOGGER.warning("a document's target is not known: %r", error)
            return None


def _fingerprint(doc: Any) -> bytes:
    return hashlib.sha256(repr(doc).encode(errors="surrogatepass")).digest()


def _copied(owner: Any) -> Any:
    twin = copy.copy(owner)
    for name, value in vars(owner).items():
        if name in _SHARED:
            continue
        if hasattr(value, REPLACED):  # the copy is not watched
            own = getattr(value, REPLACED)
            delattr(twin, name) if own is None else setattr(twin, name, own)
            continue
        # What refers back to the task is to refer to its copy.
        memo = {id(owner): twin}
        with suppress(Exception):  # of what cannot be copied, e.g. a client of some service
            setattr(twin, name, _copied(value) if name == "sampler" else copy.deepcopy(value, memo))
    return twin


@contextmanager
def listening(tasks: Iterable[TaskApart], *, samples_wanted: bool) -> Iterator[None]:
    """See :meth:`TaskApart.listening`."""
    with ExitStack() as stack:
        for task in tasks:
            stack.enter_context(task.listening(samples_wanted=samples_wanted))
        yield


def _is_logging(caller: Any) -> bool:
    """Whether it is lm-eval's ``evaluate`` that asks, which does so for the samples that it logs only."""
    return caller.f_code.co_name == "evaluate" and caller.f_globals is vars(lm_eval.evaluator)
