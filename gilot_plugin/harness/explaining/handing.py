"""Chosen samples go from plugin to plugin until one explains them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from types import SimpleNamespace
from typing import Any

import pluggy

from gilot_plugin import hookspecs
from gilot_plugin.artifacts.records import unattributed_record
from gilot_plugin.extension.samples import Sample
from gilot_plugin.harness.state.run import EvaluationRun
from gilot_plugin.plugins.manager import manager

#: A sample and its record.
Explained = tuple[Sample, Mapping[str, Any]]

_Answers = Iterable[tuple[Sample, Mapping[str, Any] | None]]


def explained(run: EvaluationRun, samples: Iterator[Sample]) -> Iterator[Explained]:
    """Have samples of a task explained.

    What a plugin leaves out goes to the next one. A sample is taken from the iterator when a plugin asks for
    it, so that no other is begun once that has ended. Wrappers of the hook get what all of them answered
    together.

    Args:
        run: The run.
        samples: The samples.

    Yields:
        Samples with their records, as they are ready; in the end, each that was taken.
    """
    taken: dict[int, Sample] = {}

    def noted() -> Iterator[Sample]:
        for sample in samples:
            taken[id(sample)] = sample
            yield sample

    for sample, record in _wrapped(run, _answered(run, noted())):
        if record is not None:
            taken.pop(id(sample), None)
            yield sample, record
    for sample in (*taken.values(), *samples):
        yield sample, _forgotten(run, sample)


def _answered(run: EvaluationRun, samples: Iterator[Sample]) -> _Answers:
    """What the plugins find, one after the other."""
    ready: deque[Explained] = deque()

    def left_out(answers: _Answers) -> Iterator[Sample]:
        for sample, record in answers:
            if record is None:
                yield sample
            else:
                ready.append((sample, record))

    def given_away() -> Iterator[Explained]:
        while ready:
            yield ready.popleft()

    answers: _Answers = ((sample, None) for sample in samples)
    # Each plugin's answers are what the next one is asked, which a call of all of them at once cannot say.
    for implementation in _implementations(wrapping=False):
        given = {"run": run.view, "samples": left_out(answers)}
        own: Any = implementation.function(*(given[name] for name in implementation.argnames))
        answers = answers if own is None else own
    try:
        for answer in answers:
            yield from given_away()
            yield answer
    except GeneratorExit:
        raise
    except BaseException:
        yield from given_away()  # they are there already
        raise
    yield from given_away()


def _wrapped(run: EvaluationRun, answers: _Answers) -> _Answers:
    """The answers as the hook's wrappers let them through."""
    wrappers = _implementations(wrapping=True)
    if not wrappers:
        return answers
    plugins = pluggy.PluginManager(hookspecs.PROJECT_NAME)
    plugins.add_hookspecs(hookspecs)
    # What comes later is called before, but for those that want to be last.
    last = [wrapper for wrapper in wrappers if wrapper.trylast]
    for wrapper in (*last, *(wrapper for wrapper in reversed(wrappers) if not wrapper.trylast)):
        plugins.register(SimpleNamespace(**{wrapper.function.__name__: wrapper.function}))
    call = plugins.hook.gilot_attribute_samples.call_extra
    found: list[_Answers] = call([lambda: answers], {"run": run.view, "samples": iter(())})
    return chain.from_iterable(found)


def _implementations(*, wrapping: bool) -> list[pluggy.HookImpl]:
    """Implementations of the hook in the order in which they are called: its wrappers, or all others."""
    found = manager().hook.gilot_attribute_samples.get_hookimpls()
    return [one for one in reversed(found) if (one.wrapper or one.hookwrapper) == wrapping]


def _forgotten(run: EvaluationRun, sample: Sample) -> Mapping[str, Any]:
    config_hash = run.tasks[sample.identity.task].config.hash
    return unattributed_record(
        sample.identity, "failed", "no plugin explained it", config_hash=config_hash, model=run.model_name
    )
