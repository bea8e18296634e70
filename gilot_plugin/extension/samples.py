"""Scored samples, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gilot_plugin.artifacts.records import SampleIdentity


@dataclass(frozen=True)
class Sample:
    """A scored document with everything that was asked of the model about it.

    Attributes:
        identity: What joins it to lm-eval's samples.
        doc: The document.
        target: lm-eval's target.
        arguments: Arguments of each request: ``(context, continuation)`` or ``(context, generation
            settings)``.
        responses: Unfiltered answers to each request, one per repeat.
        rows: lm-eval's own rows for the document, one per filter.
    """

    identity: SampleIdentity
    doc: Any
    target: Any
    arguments: Sequence[tuple[Any, ...]]
    responses: Sequence[Sequence[Any]]
    rows: Sequence[dict[str, Any]] = field(repr=False)

    def metric(self, name: str) -> Any:
        """A metric's value.

        Args:
            name: ``"metric"``, of whose filters the first one counts, or ``"metric,filter"``.

        Raises:
            KeyError: The sample has no such metric.
        """
        for key, value in self.identity.metrics.items():
            if name in (key, key.partition(",")[0]):
                return value
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class ChosenSample:
    """A sample that was chosen to be explained, and why.

    Attributes:
        sample: The sample.
        reason: For the manifest, e.g. ``"among the first 10"``.
    """

    sample: Sample
    reason: str
