"""lm-eval's loggers: attributions go into the run that scores are logged to."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gilot_plugin.artifacts.typed import Record
from gilot_plugin.reports.html.notebook import samples_page
from gilot_plugin.reports.tables import COLUMNS, sample_rows, summary_numbers

if TYPE_CHECKING:
    from gilot_plugin.harness.state.run import EvaluationRun

_LOGGER = logging.getLogger(__name__)

#: Names of the table and of the page with heat maps.
TABLE, HEAT_MAPS = "gilot/attributions", "gilot/heat_maps"


def log_after_results(
    original: Callable[..., Any], runs: Sequence[EvaluationRun], log: Callable[[Any, dict[str, Any]], None]
) -> Callable[..., Any]:
    """Wrap a logger's ``log_eval_result`` to log the newest run's attributions after the scores.

    Whatever fails there is said and stops nothing.

    Args:
        original: The method.
        runs: The attachment's runs.
        log: Logs a mapping with the logger.
    """

    @functools.wraps(original)
    def call(logger: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(logger, *args, **kwargs)
        try:
            records = [Record.from_json(record) for record in runs[-1].records] if runs else []
            if records:
                log(logger, {**summary_numbers(records)})
                log(logger, {TABLE: _table(logger, sample_rows(records))})
                log(logger, {HEAT_MAPS: _library(logger).Html(samples_page(records), inject=False)})
        except Exception as error:
            _LOGGER.error("attributions are not logged with %s: %r", type(logger).__name__, error)
        return result

    return call


def log_to_wandb(logger: Any, values: dict[str, Any]) -> None:
    """Log with lm-eval's ``WandbLogger``."""
    logger.run.log(values, step=logger.step)


def log_to_trackio(logger: Any, values: dict[str, Any]) -> None:
    """Log with lm-eval's ``TrackioLogger``."""
    logger._trackio.log(values, step=logger.step)


def _table(logger: Any, rows: list[list[Any]]) -> Any:
    if hasattr(logger, "_trackio"):
        import pandas

        return logger._trackio.Table(dataframe=pandas.DataFrame(rows, columns=list(COLUMNS)))
    return _library(logger).Table(columns=list(COLUMNS), data=rows)


def _library(logger: Any) -> Any:
    """The module that makes what the logger logs."""
    if hasattr(logger, "_trackio"):
        return logger._trackio
    import wandb

    return wandb
