"""Every extension point of gilot: implement any of them and register in the entry-point group ``gilot``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    from gilot_plugin.extension import (
        AbsenceOperator,
        AttributionMethod,
        ChosenSample,
        Feed,
        RunView,
        Sample,
        SchemeOffer,
        SelectionStrategy,
    )

PROJECT_NAME = "gilot"

hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)

# A specification has no body, whatever it promises to return: pluggy calls those of the plugins.


@hookspec
def gilot_attribution_methods() -> Iterable[AttributionMethod]:  # type: ignore[empty-body]
    """Offer attribution methods, for the setting ``methods``."""


@hookspec
def gilot_absence_operators() -> Iterable[AbsenceOperator]:  # type: ignore[empty-body]
    """Offer ways to take a unit away, for the setting ``absence``."""


@hookspec
def gilot_schemes() -> Iterable[SchemeOffer]:  # type: ignore[empty-body]
    """Offer ways to score units by coalitions of absent ones, for the setting ``scheme``."""


@hookspec
def gilot_selection_strategies() -> Iterable[SelectionStrategy]:  # type: ignore[empty-body]
    """Offer ways to choose samples, for the setting ``select``."""


@hookspec
def gilot_requests_sending(run: RunView, request_type: str, requests: Sequence[Any]) -> None:
    """Requests (lm-eval ``Instance`` objects, not to be changed) are about to be sent to the model."""


@hookspec
def gilot_tokens_fed(run: RunView, feed: Feed) -> None:
    """A prompt was fed to the model, as these tokens."""


@hookspec
def gilot_requests_answered(
    run: RunView, request_type: str, requests: Sequence[Any], responses: Sequence[Any]
) -> None:
    """The model answered the requests."""


@hookspec(firstresult=True)
def gilot_select_samples(run: RunView, task: str, samples: Sequence[Sample]) -> Sequence[ChosenSample] | None:
    """Choose the samples to explain, after scoring; None leaves it to the next plugin.

    They are those of a task or, with ``select.over``, of a group or of the run, whose name ``task`` is then.
    """


@hookspec
def gilot_attribute_samples(  # type: ignore[empty-body]
    run: RunView, samples: Iterator[Sample]
) -> Iterator[tuple[Sample, Mapping[str, Any] | None]]:
    """Explain chosen samples of a task, each with its record; None leaves it to the next plugin.

    Samples may be taken one at a time, or several to be explained together; each that was taken is to be
    given back, in any order. When the budget is spent, no more of them come. A wrapper is sent a list of one
    iterator, over what all plugins together answered, and no samples before that.
    """


@hookspec
def gilot_write_record(run: RunView, record: Mapping[str, Any]) -> None:
    """Store a record; called once a chosen sample, in the order of the samples."""


@hookspec
def gilot_record_written(run: RunView, record: Mapping[str, Any], path: Path | None) -> None:
    """A record was stored in the file ``path`` (None when the run keeps no files)."""


@hookspec
def gilot_run_finished(run: RunView, manifest: Mapping[str, Any]) -> None:
    """All chosen samples were explained, or the run was interrupted; the manifest says which."""
