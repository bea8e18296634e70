"""Which part of a prompt is what, seen while the harness builds it.

lm-eval's ``fewshot_context`` joins the system instruction, the description, the few-shot examples and the
question to one string. Each example and the question pass through ``build_qa_turn``, so watching both tells
the parts without rendering or drawing anything again. What was seen counts only where it adds up to the very
text that came out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import lm_eval.utils
from jinja2.nodes import Output, TemplateData

from gilot_plugin.attribution.types import (
    CONTENT_SEGMENT,
    DESCRIPTION_SEGMENT,
    LEAD_IN_SEGMENT,
    QUESTION_SEGMENT,
    SHOT_PREFIX,
    SYSTEM_SEGMENT,
    Segment,
)
from gilot_plugin.harness.state.conversations import Message
from gilot_plugin.harness.state.run import EvaluationRun
from gilot_plugin.harness.watching.wrapping import Method, wrapped

_LOGGER = logging.getLogger(__name__)

#: Marks right after a variable, as in "{{question}}?\nAnswer:", close what the variable holds.
_CLOSING_MARKS = "?!.,;)]}'\"\u2019\u201d*`"


class _Piece(NamedTuple):
    text: str
    name: str


class _Named(NamedTuple):
    """One of the harness's messages.

    Attributes:
        content: Its content, cut into named pieces.
        delimiter: What follows it where messages are joined to one text.
    """

    content: tuple[_Piece, ...]
    delimiter: _Piece


class _Opening(NamedTuple):
    """What a task's prompts begin with.

    Attributes:
        instruction: The system instruction, empty if there is none.
        delimiter: Between it and the description.
        described: Whether the task has a description.
    """

    instruction: str
    delimiter: str
    described: bool

    def pieces(self, text: str, otherwise: str) -> list[_Piece]:
        """Cut what stands before the first example.

        Args:
            text: All of it.
            otherwise: Name of what is neither instruction nor description.
        """
        if not text.startswith(self.instruction):
            return [_Piece(text, otherwise)]
        rest = text[len(self.instruction) :]
        if self.instruction:
            rest = rest.removeprefix(self.delimiter).lstrip()
        return [
            _Piece(text[: len(text) - len(rest)], SYSTEM_SEGMENT),
            _Piece(rest, DESCRIPTION_SEGMENT if self.described else otherwise),
        ]


@contextmanager
def watched_parts(
    run: EvaluationRun, tasks: Mapping[str, Any], system_instruction: str | None
) -> Iterator[None]:
    """Record the parts of the contexts that tasks build inside the block in ``run.seen.parts``.

    Contexts from lm-eval's cache of requests, and those of tasks that build them in their own way, are left
    out.

    Args:
        run: The run.
        tasks: lm-eval's task objects by name.
        system_instruction: As given to lm-eval's ``evaluate``.
    """
    with ExitStack() as stack:
        if run.unsupported is None:
            for name, task in tasks.items():
                turns: list[Sequence[Any]] = []
                opening = _opening(task, system_instruction)
                watch = _watch_contexts(run, name, turns, opening, literal_end(task))
                stack.enter_context(wrapped(task, "build_qa_turn", _watch_turns(turns)))
                stack.enter_context(wrapped(task, "fewshot_context", watch))
        yield


def _watch_turns(turns: list[Sequence[Any]]) -> Callable[[Method], Method]:
    def wrap(method: Method) -> Method:
        def call(*args: Any, **kwargs: Any) -> Any:
            messages = method(*args, **kwargs)
            turns.append(messages)
            return messages

        return call

    return wrap


def _watch_contexts(
    run: EvaluationRun, task: str, turns: list[Sequence[Any]], opening: _Opening, literal_end: str
) -> Callable[[Method], Method]:
    def wrap(method: Method) -> Method:
        def call(*args: Any, **kwargs: Any) -> Any:
            turns.clear()
            context = method(*args, **kwargs)
            # Where the choices are in the contexts, each has a turn of its own after the examples.
            contexts = [context] if isinstance(context, str) else context
            try:
                shots = turns[: len(turns) - len(contexts)]
                for text, turn in zip(contexts, turns[len(shots) :], strict=True):
                    run.seen.parts[task, text] = _parts(
                        run, text, _named([*shots, turn], literal_end), opening
                    )
            except Exception as error:  # tasks may return anything, and their evaluation must go on
                _LOGGER.debug("parts of a prompt of task %s are not known: %r", task, error)
            return context

        return call

    return wrap


def _parts(
    run: EvaluationRun, context: str, messages: Sequence[_Named], opening: _Opening
) -> tuple[Segment, ...]:
    """Parts of a context, empty if the messages do not add up to it."""
    rendering = run.seen.renderings.get(context)
    if rendering is None:
        return _spans(_ending_with(messages, context, opening, CONTENT_SEGMENT))
    contents = _contents(rendering.messages, messages, opening)
    return rendering.segments([_spans(pieces) for pieces in contents]) if contents else ()


def _contents(
    conversation: Sequence[Message], messages: Sequence[_Named], opening: _Opening
) -> list[Sequence[_Piece]]:
    """Pieces of each message of a conversation, none if they are not those that were seen.

    With ``fewshot_as_multiturn`` the messages are those of the harness, without it all but an answer that is
    begun for the model are joined in the first.
    """
    contents: list[Sequence[_Piece]] = []
    if conversation and conversation[0]["role"] == "system":
        contents.append(opening.pieces(conversation[0]["content"], SYSTEM_SEGMENT))
        conversation = conversation[1:]
    joined = len(messages) - len(conversation) + 1
    if not conversation or joined < 1:
        return []
    first, *others = conversation
    contents.append(_ending_with(messages[:joined], first["content"], opening, first["role"]))
    contents.extend(message.content for message in messages[joined:])
    written = [_text(pieces) for pieces in contents[-len(conversation) :]]
    return contents if written == [message["content"] for message in (first, *others)] else []


def _ending_with(
    messages: Sequence[_Named], text: str, opening: _Opening, otherwise: str
) -> Sequence[_Piece]:
    """Pieces of a text that ends with messages, none if it does not; nothing follows the last one."""
    pieces = [piece for message in messages for piece in (*message.content, message.delimiter)][:-1]
    seen = _text(pieces)
    if not text.endswith(seen):
        return []
    return [*opening.pieces(text[: len(text) - len(seen)], otherwise), *pieces]


def _named(turns: Iterable[Sequence[Any]], literal_end: str) -> list[_Named]:
    """Name the messages: the last turn is the question, those before it are the few-shot examples."""
    *shots, (question, *begun) = turns
    named = [
        _Named((_Piece(message.content, name),), _Piece(_delimiter(message), name))
        for number, shot in enumerate(shots, 1)
        for name in [f"{SHOT_PREFIX}{number}"]
        for message in shot
    ]
    lead_in = literal_end if question.content.endswith(literal_end) else ""
    pieces = [_Piece(question.content.removesuffix(lead_in), QUESTION_SEGMENT)]
    if lead_in:
        pieces.append(_Piece(lead_in, LEAD_IN_SEGMENT))
    named.append(_Named(tuple(pieces), _Piece(_delimiter(question), pieces[-1].name)))
    for message in begun:
        named.append(
            _Named((_Piece(message.content, LEAD_IN_SEGMENT),), _Piece(_delimiter(message), LEAD_IN_SEGMENT))
        )
    return named


def _delimiter(message: Any) -> str:
    return str(message.to_text().removeprefix(message.content))


def _text(pieces: Iterable[_Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def _spans(pieces: Iterable[_Piece]) -> tuple[Segment, ...]:
    spans: list[Segment] = []
    end = 0
    for text, name in pieces:
        start, end = end, end + len(text)
        if text:
            spans.append(Segment(start, end, name))
    return tuple(spans)


def _opening(task: Any, system_instruction: str | None) -> _Opening:
    config = getattr(task, "config", None)
    delimiter = getattr(config, "fewshot_delimiter", None)
    return _Opening(
        system_instruction or "",
        delimiter if isinstance(delimiter, str) else "",
        bool(getattr(config, "description", None)),
    )


def literal_end(task: Any) -> str:
    """What a task writes after the last variable of its question, as in "Answer:"; empty if it is not known.

    White space alone leads to nothing and belongs to the question, and so do marks that close it.
    """
    template = getattr(getattr(task, "config", None), "doc_to_text", None)
    environment = getattr(lm_eval.utils, "env", None)
    replaced = getattr(task, "prompt", None) is not None  # by one of promptsource's
    if not isinstance(template, str) or environment is None or replaced:
        return ""
    try:
        body = environment.parse(template).body
    except Exception:  # whatever is wrong with it, lm-eval says so
        return ""
    if not body or not isinstance(body[-1], Output):
        return ""
    last = body[-1].nodes
    literals: list[str] = []
    for node in reversed(last):
        if not isinstance(node, TemplateData):
            break
        literals.append(node.data)
    if len(literals) == len(last) and len(body) == 1:  # no variable, as in a field's name
        return ""
    lead_in = "".join(reversed(literals)).lstrip(_CLOSING_MARKS)
    return lead_in if lead_in.strip() else ""
