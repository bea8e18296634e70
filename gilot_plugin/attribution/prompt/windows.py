"""Windows: which positions of the answer are explained, and what the model said before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import regex

from gilot_plugin.attribution.types import REASONING_SEGMENT, ExplainedAnswer, Prompt, Token

#: First and last character, the latter exclusive.
Span = tuple[int, int]

#: Values of the setting ``explain`` beside ``{"regex": PATTERN}``: what the metric saw where a task's filter
#: takes that out of a text, the start otherwise; the first tokens; what the metric saw; the last ones; all.
AUTO, START, SCORED, END, ALL = "auto", "start", "scored", "end", "all"
WINDOWS = (AUTO, START, SCORED, END, ALL)

#: Name of the windows that a pattern finds.
REGEX = "regex"


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive positions of an answer.

    Attributes:
        tokens: The answer's tokens; offsets are counted in its decoded text.
        start: Index of the first one that is explained.
        stop: One past the last.
        explain: What was asked for, see :class:`gilot_plugin.attribution.types.ExplainedAnswer`.
        scored_text: The same.
        reason: The same.
    """

    tokens: tuple[Token, ...]
    start: int
    stop: int
    explain: str = START
    scored_text: str | None = None
    reason: str | None = None

    @property
    def is_start(self) -> bool:
        """Whether it is the first tokens, as many as were asked for if there are so many."""
        return self.explain == START or self.reason is not None

    @property
    def before(self) -> tuple[Token, ...]:
        """What the model said before them."""
        return self.tokens[: self.start]

    @property
    def token_ids(self) -> tuple[int, ...]:
        """What is explained."""
        return tuple(token.id for token in self.tokens[self.start : self.stop])

    @property
    def described(self) -> ExplainedAnswer:
        """What a record says of it: the answer as far as it was read."""
        read = self.tokens[: self.stop]
        return ExplainedAnswer(
            read, tuple(range(self.start, self.stop)), self.explain, self.scored_text, self.reason
        )


def start_window(
    tokens: Sequence[Token], length: int, explain: str = START, reason: str | None = None
) -> Window:
    """The first tokens, as many as there are.

    Args:
        tokens: Of the answer.
        length: How many are wanted.
        explain: What was asked for, if that could not be found.
        reason: Why not.
    """
    return Window(tuple(tokens), 0, min(length, len(tokens)), explain, reason=reason)


def span_window(tokens: Sequence[Token], span: Span, explain: str, scored_text: str | None = None) -> Window:
    """The tokens that hold some characters, or a piece of one; at least one.

    Args:
        tokens: Of the answer.
        span: Characters of its text, at least one.
        explain: What was asked for.
        scored_text: What the task's filter took out.
    """
    inside = [place for place, token in enumerate(tokens) if token.start < span[1] and span[0] < token.end]
    return Window(tuple(tokens), inside[0], inside[-1] + 1, explain, scored_text)


def find_window(tokens: Sequence[Token], explain: str | Mapping[str, str], length: int) -> Window:
    """The window of an answer, where nothing but its text is needed to find it.

    Args:
        tokens: Of the answer.
        explain: ``"start"``, ``"end"``, ``"all"`` or ``{"regex": pattern}``. Of a pattern, the first match
            counts, and of that the first group that has matched, where there are groups.
        length: Tokens of ``"start"`` and of ``"end"``.

    Returns:
        The window; that of the start, and why, where the pattern matches nothing.
    """
    if not isinstance(explain, Mapping):
        start = max(0, len(tokens) - length) if explain == END else 0
        stop = min(length, len(tokens)) if explain == START else len(tokens)
        return Window(tuple(tokens), start, stop, explain)
    text = text_of(tokens)
    found = regex.search(explain["regex"], text)
    if found is None:
        return start_window(tokens, length, REGEX, f"nothing in the answer matches {explain['regex']!r}")
    group = next((number for number in range(1, found.re.groups + 1) if found.group(number)), 0)
    if not found.group(group):
        return start_window(tokens, length, REGEX, f"{explain['regex']!r} matches no characters")
    return span_window(tokens, found.span(group), REGEX)


def text_of(tokens: Sequence[Token]) -> str:
    """The text that tokens lie in; pieces of one character share it."""
    parts, reached = [], 0
    for token in tokens:
        if token.end > reached:
            parts.append(token.text)
            reached = token.end
    return "".join(parts)


def continued(prompt: Prompt, said: Sequence[Token]) -> Prompt:
    """The prompt with what the model said after it, which is a part of its own.

    Args:
        prompt: As fed.
        said: Tokens of the answer, from its first one on.
    """
    shift = len(prompt.text)
    moved = (Token(token.id, token.text, token.start + shift, token.end + shift) for token in said)
    return Prompt(
        prompt.text + text_of(said),
        (*prompt.tokens, *moved),
        (*prompt.segments, *(REASONING_SEGMENT,) * len(said)),
    )


def as_fed(prompt: Prompt, said: int) -> Prompt:
    """The prompt without its last tokens, which the model said."""
    if not said:
        return prompt
    tokens = prompt.tokens[:-said]
    return Prompt(prompt.text[: tokens[-1].end], tokens, prompt.segments[:-said])
