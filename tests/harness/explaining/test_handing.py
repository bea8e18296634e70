"""Samples go from plugin to plugin until one explains them; no model is needed to see that."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import islice
from typing import Any

import pytest

from gilot_plugin.extension import Sample
from gilot_plugin.harness.explaining.handing import explained
from gilot_plugin.harness.state.run import EvaluationRun, RunFiles, TaskInfo
from gilot_plugin.hookspecs import hookimpl
from gilot_plugin.settings.config import GilotConfig
from tests.strategies.logged import samples

Plug = Callable[[Any], Any]


class Explaining:
    """Explains some samples, so many at a time, and leaves the others out."""

    def __init__(self, name: str, own: Sequence[int], together: int = 1) -> None:
        self.name, self.own, self.together = name, own, together
        self.asked: list[int] = []

    @hookimpl
    def gilot_attribute_samples(self, samples: Iterator[Sample]) -> Iterator[tuple[Sample, Any]]:
        while batch := list(islice(samples, self.together)):
            for sample in reversed(batch):
                number = sample.identity.doc_id
                self.asked.append(number)
                yield sample, {"by": self.name} if number in self.own else None


@pytest.fixture
def run() -> EvaluationRun:
    task = TaskInfo("some_task", "multiple_choice", 1, GilotConfig())
    return EvaluationRun(None, {"some_task": task}, "model", RunFiles(None, "date"))


def told(run: EvaluationRun, count: int) -> dict[int, Any]:
    """Who explained what."""
    found = explained(run, iter(samples(count)))
    return {sample.identity.doc_id: record.get("by", record.get("reason")) for sample, record in found}


def test_what_one_leaves_out_the_next_is_asked(run: EvaluationRun, plugged: Plug) -> None:
    last = plugged(Explaining("last", range(9), together=2))
    first = plugged(Explaining("first", (1, 2)))  # who comes last is asked first
    assert told(run, 5) == {0: "last", 1: "first", 2: "first", 3: "last", 4: "last"}
    assert first.asked == [0, 1, 2, 3, 4]
    assert sorted(last.asked) == [0, 3, 4]


def test_records_come_as_they_are_ready(run: EvaluationRun, plugged: Plug) -> None:
    plugged(Explaining("all", range(9), together=2))
    given = iter(samples(4))
    first, _ = next(explained(run, given))
    assert first.identity.doc_id == 1
    assert [sample.identity.doc_id for sample in given] == [2, 3]


def test_what_nobody_explains_has_failed(run: EvaluationRun, plugged: Plug) -> None:
    assert told(run, 2) == {0: "no plugin explained it", 1: "no plugin explained it"}
    plugged(Explaining("one", (0,)))
    assert told(run, 2) == {0: "one", 1: "no plugin explained it"}


def test_one_that_explains_nothing_may_return_nothing(run: EvaluationRun, plugged: Plug) -> None:
    class Onlooker:
        @hookimpl
        def gilot_attribute_samples(self) -> None: ...

    plugged(Explaining("all", range(9)))
    plugged(Onlooker())
    assert told(run, 2) == {0: "all", 1: "all"}


def test_an_error_loses_nothing_that_is_ready(run: EvaluationRun, plugged: Plug) -> None:
    class Failing(Explaining):
        @hookimpl
        def gilot_attribute_samples(self, samples: Iterator[Sample]) -> Iterator[tuple[Sample, Any]]:
            for sample in samples:
                if sample.identity.doc_id == 2:
                    raise KeyboardInterrupt
                yield sample, None

    plugged(Failing("none", ()))
    plugged(Explaining("first", (0, 1)))
    found: list[int] = []
    answers = explained(run, iter(samples(4)))

    def listen() -> None:
        found.extend(sample.identity.doc_id for sample, _ in answers)

    with pytest.raises(KeyboardInterrupt):
        listen()
    assert found == [0, 1]


class Marking:
    """A wrapper in the present style: notes what passes, and marks the records."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.seen: list[int] = []

    @hookimpl(wrapper=True)
    def gilot_attribute_samples(self) -> Generator[None, list[Any], list[Any]]:
        answers = yield
        return [self._marked(own) for own in answers]

    def _marked(self, answers: Iterator[tuple[Sample, Any]]) -> Iterator[tuple[Sample, Any]]:
        for sample, record in answers:
            self.seen.append(sample.identity.doc_id)
            yield sample, None if record is None else {"by": f"{record['by']}, {self.mark}"}


class OldMarking(Marking):
    """The same in the older style."""

    @hookimpl(hookwrapper=True)
    def gilot_attribute_samples(self) -> Generator[None, Any, None]:
        outcome = yield
        outcome.force_result([self._marked(own) for own in outcome.get_result()])


@pytest.mark.parametrize("style", [Marking, OldMarking])
def test_wrappers_see_what_all_plugins_answered(
    run: EvaluationRun, plugged: Plug, style: type[Marking]
) -> None:
    wrapper = plugged(style("seen"))
    plugged(Explaining("last", range(3)))
    plugged(Explaining("first", (1,)))
    assert told(run, 4) == {0: "last, seen", 1: "first, seen", 2: "last, seen", 3: "no plugin explained it"}
    assert sorted(wrapper.seen) == [0, 1, 2, 3]


def test_wrappers_wrap_one_another_as_pluggy_has_it(run: EvaluationRun, plugged: Plug) -> None:
    class Outermost(Marking):
        @hookimpl(wrapper=True, tryfirst=True)
        def gilot_attribute_samples(self) -> Generator[None, list[Any], list[Any]]:
            return (yield from super().gilot_attribute_samples())

    class Innermost(Marking):
        @hookimpl(wrapper=True, trylast=True)
        def gilot_attribute_samples(self) -> Generator[None, list[Any], list[Any]]:
            return (yield from super().gilot_attribute_samples())

    for wrapper in (Outermost("4"), Marking("2"), OldMarking("3"), Innermost("1"), Innermost("0")):
        plugged(wrapper)
    plugged(Explaining("all", range(9)))
    assert told(run, 1) == {0: "all, 0, 1, 2, 3, 4"}


def test_a_wrapper_that_filters_leaves_samples_unexplained(run: EvaluationRun, plugged: Plug) -> None:
    class Odd:
        @hookimpl(wrapper=True)
        def gilot_attribute_samples(self) -> Generator[None, list[Any], list[Any]]:
            answers = yield
            return [
                ((sample, found) for sample, found in own if sample.identity.doc_id % 2) for own in answers
            ]

    plugged(Explaining("all", range(9)))
    plugged(Odd())
    assert told(run, 3) == {0: "no plugin explained it", 1: "all", 2: "no plugin explained it"}
