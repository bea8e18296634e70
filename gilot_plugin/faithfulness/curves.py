"""Curves of what removing units does, and the numbers that they come down to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gilot_plugin.errors import ConfigError, one_of

#: Shares of the units that are removed (the published experiment: every tenth of them).
FRACTIONS = tuple(step / 10 for step in range(11))


class Quantity(NamedTuple):
    """What is measured of a prompt without units.

    Attributes:
        name: Key in results.
        summary: One line for tables.
        falls: Whether it falls as the model moves away from what it says to the full prompt; else it rises.
    """

    name: str
    summary: str
    falls: bool = True


SIMILARITY = Quantity("similarity", "cosine similarity of the sentence embeddings of the greedy answers")
LOGPROB = Quantity("logprob", "log-probability of the full prompt's answer, nats a token")
TRANSPORT = Quantity(
    "ot", "transport distance of the outcome distribution from the full prompt's", falls=False
)
CHOSEN = Quantity("chosen", "whether the chosen answer is still the same, 1 or 0")
MARGIN = Quantity("margin", "lead of the full prompt's choice over the strongest other one, nats")

#: Of samples whose model answers freely, and of those with choices.
GENERATION_QUANTITIES = (SIMILARITY, LOGPROB, TRANSPORT)
CHOICE_QUANTITIES = (CHOSEN, MARGIN, TRANSPORT)
QUANTITIES: Mapping[str, Quantity] = {
    quantity.name: quantity for quantity in (*GENERATION_QUANTITIES, *CHOICE_QUANTITIES)
}
ALL_QUANTITIES = tuple(QUANTITIES.values())


def quantities_named(
    names: Iterable[str], among: Iterable[Quantity] = ALL_QUANTITIES
) -> tuple[Quantity, ...]:
    """Quantities by their names, in the order of results.

    Args:
        names: Those that are asked for; none for all.
        among: Those that the samples have.

    Raises:
        ConfigError: The samples have no such quantity.
    """
    offered = {quantity.name: quantity for quantity in ALL_QUANTITIES if quantity in tuple(among)}
    asked = tuple(names) or tuple(offered)
    for name in asked:
        if name not in offered:
            raise ConfigError(f"--quantities {name}: allowed are {one_of(tuple(offered))}")
    return tuple(quantity for name, quantity in offered.items() if name in asked)


@dataclass(frozen=True, slots=True)
class Curves:
    """One quantity of one sample as units are removed in the order of a ranking.

    Attributes:
        morf: ``[fractions]``, most relevant units removed first.
        lerf: ``[fractions]``, least relevant units removed first.
        falls: See :attr:`Quantity.falls`.
    """

    morf: tuple[float, ...]
    lerf: tuple[float, ...]
    falls: bool = True

    @property
    def mirrored(self) -> Curves:
        """Those of the reversed ranking."""
        return Curves(self.lerf, self.morf, self.falls)

    @property
    def area(self) -> float:
        """Area between the curves, positive where the ranking is better than its reverse.

        Trapezoids over the fractions from 0 to 1, in units of the quantity (Li et al. 2024, section 4).
        """
        between = np.trapezoid(self.lerf, dx=1 / (len(self.lerf) - 1)) - np.trapezoid(
            self.morf, dx=1 / (len(self.morf) - 1)
        )
        return float(between if self.falls else -between)

    @property
    def comprehensiveness(self) -> float:
        """How far the quantity moves without the most relevant units, on average over the fractions above 0.

        DeYoung et al. 2020 (ERASER), equation 4: high is good.
        """
        return self._moved(self.morf)

    @property
    def sufficiency(self) -> float:
        """How far the quantity moves with the most relevant units alone, on average over 90 to 0 % kept.

        DeYoung et al. 2020 (ERASER), equation 4: low is good.
        """
        return self._moved(self.lerf)

    def _moved(self, curve: tuple[float, ...]) -> float:
        moved = np.mean([curve[0] - value for value in curve[1:]])
        return float(moved if self.falls else -moved)


class SampleKey(NamedTuple):
    """Which sample.

    Attributes:
        task: Name of the task, or of the file of prompts.
        doc_id: lm-eval's number of the document, or the prompt's line number from 0.
        prompt_hash: lm-eval's hash of the prompt text, or the SHA-256 of its text.
    """

    task: str
    doc_id: int
    prompt_hash: str


class AnswerTexts(NamedTuple):
    """What the model answers as units are removed in the order of a ranking.

    Attributes:
        morf: Text for each fraction, most relevant units removed first.
        lerf: The same, least relevant units removed first.
    """

    morf: tuple[str, ...]
    lerf: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SampleCurves:
    """All curves of one sample under one ranking and one way to take units away.

    Attributes:
        key: Which sample.
        absence: How units were taken away.
        ranking: Name of the attribution method or of the control.
        quantities: Curves by name of the quantity.
        answers: The answers behind them; None for choices, and where answers were not compared.
    """

    key: SampleKey
    absence: str
    ranking: str
    quantities: Mapping[str, Curves]
    answers: AnswerTexts | None = None
