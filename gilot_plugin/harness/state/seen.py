"""What was seen while the harness built its prompts and called the model."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from gilot_plugin.attribution.types import Segment
from gilot_plugin.extension.feeds import Feed
from gilot_plugin.harness.state.conversations import Layout, Message, message_segments

#: What identifies a fed prompt: the context, and the continuation of a log-likelihood request.
FeedKey = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Rendering:
    """A chat template's output and the messages that went into it.

    Attributes:
        text: The rendered conversation.
        messages: What was rendered.
        layout: Of the template for the roles of these messages, None if it is not known.
    """

    text: str
    messages: tuple[Message, ...]
    layout: Layout | None

    def segments(self, parts: Sequence[Sequence[Segment]] | None = None) -> tuple[Segment, ...]:
        """Contents and template text; see :func:`message_segments`."""
        return message_segments(self.text, self.messages, self.layout, parts)


@dataclass(slots=True)
class Seen:
    """What one process saw.

    Attributes:
        feeds: Prompts as fed.
        generated: Tokens of the first answer that the model generated to each context.
        renderings: Chat templates as rendered, by text.
        parts: Named parts of contexts as the harness built them, by task and context.
        failed_hooks: Names of hooks around the model's calls in which a plugin failed.
    """

    feeds: dict[FeedKey, Feed] = field(default_factory=dict)
    generated: dict[str, array[int]] = field(default_factory=dict)
    renderings: dict[str, Rendering] = field(default_factory=dict)
    parts: dict[tuple[str, str], tuple[Segment, ...]] = field(default_factory=dict)
    failed_hooks: set[str] = field(default_factory=set)

    def about(self, contexts: set[str]) -> Seen:
        """What of it is about some contexts."""
        return Seen(
            {key: feed for key, feed in self.feeds.items() if key[0] in contexts},
            {context: ids for context, ids in self.generated.items() if context in contexts},
            {
                text: rendering
                for text, rendering in self.renderings.items()
                if text in contexts or any(context.startswith(text) for context in contexts)
            },
            {key: parts for key, parts in self.parts.items() if key[1] in contexts},
        )

    def add(self, other: Seen) -> None:
        """Add what another process saw of prompts."""
        self.feeds.update(other.feeds)
        self.generated.update(other.generated)
        self.renderings.update(other.renderings)
        self.parts.update(other.parts)
