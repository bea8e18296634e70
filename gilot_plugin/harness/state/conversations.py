"""Where the messages of a conversation stand in the text that a chat template made of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from gilot_plugin.attribution.types import TEMPLATE_SEGMENT, Segment

Message = dict[str, str]

#: Stands for the content of message number n; the characters are of Unicode's private use area.
_MARK = "\ue000{}\ue001"
_MARKS = re.compile("\ue000([0-9]+)\ue001")


class Layout(NamedTuple):
    """What a template writes around the contents of messages.

    Attributes:
        texts: The template's own pieces, one more than there are contents.
        order: For each content in the text, the number of its message. Templates may leave messages out,
            repeat them, or put the system's last.
    """

    texts: tuple[str, ...]
    order: tuple[int, ...]


def layout_of(render: Callable[[list[Message]], str], messages: Sequence[Message]) -> Layout:
    """Find a template's own text by rendering marks instead of contents.

    Args:
        render: The template.
        messages: With the roles of the conversation; their contents do not matter.

    Returns:
        The layout, the same for all conversations of these roles.
    """
    marked = [{**message, "content": _MARK.format(number)} for number, message in enumerate(messages)]
    pieces = _MARKS.split(render(marked))
    return Layout(tuple(pieces[::2]), tuple(map(int, pieces[1::2])))


def message_segments(
    text: str,
    messages: Sequence[Message],
    layout: Layout | None,
    parts: Sequence[Sequence[Segment]] | None = None,
) -> tuple[Segment, ...]:
    """Cut a rendered conversation into the contents of its messages and template text.

    White space around a content counts as template, because many templates strip it.

    Args:
        text: The rendered conversation.
        messages: What was rendered.
        layout: Of the template for these roles, None if it is not known.
        parts: For each message, the named parts of its content; None to name contents by their roles.

    Returns:
        Segments without gaps, in order. A template that rewrites contents has them where they are found
        first.
    """
    spans = _follow(text, messages, layout) if layout is not None else None
    if spans is None:
        spans = list(_search(text, messages))
    segments: list[Segment] = []
    end = 0
    for start, stop, number in spans:
        segments.append(Segment(end, start, TEMPLATE_SEGMENT))
        if parts is None:
            segments.append(Segment(start, stop, messages[number]["role"]))
        else:
            content = str(messages[number]["content"])
            first = start - (len(content) - len(content.lstrip()))
            segments.extend(
                Segment(max(start, first + part.start), min(stop, first + part.end), part.name)
                for part in parts[number]
            )
        end = stop
    segments.append(Segment(end, len(text), TEMPLATE_SEGMENT))
    return tuple(segment for segment in segments if segment.start < segment.end)


#: First and last character of a content without the white space around it, and the number of its message.
_Span = tuple[int, int, int]


def _follow(text: str, messages: Sequence[Message], layout: Layout) -> list[_Span] | None:
    """Walk through the text along the layout; None where the text is not laid out like that."""
    spans: list[_Span] = []
    first, *others = layout.texts
    if not text.startswith(first):
        return None
    position = len(first)
    for number, after in zip(layout.order, others, strict=True):
        content = str(messages[number]["content"])
        possible = (content, content.strip(), content.lstrip(), content.rstrip())
        written = next((way for way in possible if text.startswith(way + after, position)), None)
        if written is None:
            return None
        start = position + len(written) - len(written.lstrip())
        spans.append((start, max(start, position + len(written.rstrip())), number))
        position += len(written) + len(after)
    return spans if position == len(text) else None


def _search(text: str, messages: Sequence[Message]) -> Iterator[_Span]:
    end = 0
    for number, message in enumerate(messages):
        content = str(message["content"]).strip()
        start = text.find(content, end) if content else -1
        if start >= 0:
            end = start + len(content)
            yield start, end, number
