"""Composition of the method: prompts in, attributions out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from gilot_plugin.attribution.inquiry import Inquiry
from gilot_plugin.attribution.measuring import Measurer
from gilot_plugin.attribution.methods import Measurement
from gilot_plugin.attribution.types import Attribution, Unit
from gilot_plugin.backends.protocol import Backend


def attribute(backend: Backend, inquiry: Inquiry[Any]) -> Attribution:
    """Explain one prompt.

    Raises:
        PromptError: Nothing is in scope.
        NonFiniteLogitsError: The model returned NaN.
        BudgetError: The memory budget is too small.
    """
    ((_, found),) = attribute_together(backend, [inquiry])
    if isinstance(found, Exception):
        raise found
    return found


def attribute_together(
    backend: Backend, inquiries: Sequence[Inquiry[Any]]
) -> Iterator[tuple[Inquiry[Any], Attribution | Exception]]:
    """Explain several prompts at once: their units go through the model together, round by round.

    Args:
        backend: The model.
        inquiries: The prompts; they have the same ``batch_size``, ``memory_budget``, ``num_threads`` and
            solver, which are taken from the first.

    Yields:
        Each prompt with its attribution, or with the error that ended it, as soon as it is known; the others
        go on.
    """
    return _Together(backend, inquiries).run()


class _Together:
    """Inquiries under way."""

    def __init__(self, backend: Backend, inquiries: Sequence[Inquiry[Any]]) -> None:
        self._backend = backend
        self._rounds = {inquiry: inquiry.rounds() for inquiry in inquiries}
        self._wanted: dict[Inquiry[Any], tuple[Unit, ...]] = {}

    def run(self) -> Iterator[tuple[Inquiry[Any], Attribution | Exception]]:
        heard: dict[Inquiry[Any], list[list[Measurement]] | Exception | None]
        heard = dict.fromkeys(self._rounds)
        while heard:
            for inquiry, measured in heard.items():
                end = self._go_on(inquiry, measured)
                if end is not None:
                    yield inquiry, end
            heard = dict(self._measured(dict(self._wanted)))

    def _go_on(
        self, inquiry: Inquiry[Any], measured: list[list[Measurement]] | Exception | None
    ) -> Attribution | Exception | None:
        """Hand an inquiry what it asked for and take its next question; its end, if there is none."""
        started = time.perf_counter()
        self._wanted.pop(inquiry, None)
        try:
            if isinstance(measured, Exception):
                raise measured
            rounds = self._rounds[inquiry]
            self._wanted[inquiry] = next(rounds) if measured is None else rounds.send(measured)
        except StopIteration as stop:
            attribution: Attribution = stop.value
            return attribution
        except Exception as error:
            return error
        finally:
            inquiry.seconds += time.perf_counter() - started
        return None

    def _measured(
        self, wanted: dict[Inquiry[Any], tuple[Unit, ...]]
    ) -> dict[Inquiry[Any], list[list[Measurement]] | Exception]:
        """Measurements of all; if that fails, of each by itself, so that an error stays with its prompt."""
        if not wanted:
            return {}
        started = time.perf_counter()
        questions = [(inquiry.subject, [(unit,) for unit in units]) for inquiry, units in wanted.items()]
        try:
            measurer = Measurer(self._backend, next(iter(wanted)).recipe)
            found: dict[Inquiry[Any], list[list[Measurement]] | Exception] = dict(
                zip(wanted, measurer.measure(questions), strict=True)
            )
        except Exception as error:
            if len(wanted) == 1:
                return dict.fromkeys(wanted, error)
            return {
                inquiry: result
                for inquiry, units in wanted.items()
                for result in self._measured({inquiry: units}).values()
            }
        seconds = time.perf_counter() - started
        for inquiry, units in wanted.items():
            inquiry.seconds += seconds * (1 + len(units)) / sum(1 + len(others) for others in wanted.values())
        return found
