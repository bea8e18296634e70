"""Built-in plugin: remembers the tokens that the model was fed."""

from __future__ import annotations

from gilot_plugin.harness.run import EvaluationRun, Feed
from gilot_plugin.hookspecs import hookimpl


@hookimpl(tryfirst=True)  # pluggy stops at the first plugin that fails
def gilot_tokens_fed(run: EvaluationRun, feed: Feed) -> None:
    """Keep the prompt by the texts that the harness asked for."""
    run.feeds[feed.context, feed.continuation] = feed
