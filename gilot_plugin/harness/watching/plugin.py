"""Built-in plugin: remembers the tokens that the model was fed."""

from __future__ import annotations

from gilot_plugin.extension.feeds import Feed
from gilot_plugin.harness.state.run import EvaluationRun
from gilot_plugin.hookspecs import hookimpl


class FeedWatcher:
    """Remembers them for one run.

    Args:
        run: The run.
    """

    def __init__(self, run: EvaluationRun) -> None:
        self._feeds = run.seen.feeds

    @hookimpl(tryfirst=True)  # pluggy stops at the first plugin that fails
    def gilot_tokens_fed(self, feed: Feed) -> None:
        """Keep the prompt by the texts that the harness asked for."""
        self._feeds[feed.context, feed.continuation] = feed
