"""lm-eval's filters: what they take out of an answer, and where it stands there."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lm_eval.filters import build_filter_ensemble
from lm_eval.filters.extraction import MultiChoiceRegexFilter, RegexFilter, WhitespaceFilter
from lm_eval.filters.selection import MajorityVoteFilter, TakeFirstFilter, TakeKFilter
from lm_eval.filters.transformation import LowercaseFilter, UppercaseFilter

from gilot_plugin.attribution.prompt.windows import Span

#: Filters that choose among answers, and such as leave all of their text.
_KEEPING = (
    *(TakeFirstFilter, TakeKFilter, MajorityVoteFilter),
    *(WhitespaceFilter, LowercaseFilter, UppercaseFilter),
)

#: What stands for an answer that a filter could not read.
_UNREADABLE = object()

#: Texts that a filter is given together: each call may take its time, whatever their number.
_AT_ONCE = 16

#: How often the same may be said in vain.
_MOST_REPEATED = 8

#: Places where an output may stand that are tried.
_MOST_TRIED = 16

#: Characters that filters leave out or put in without a change of meaning.
_UNSPOKEN = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Extracted:
    """What a filter took out of an answer.

    Attributes:
        filter: Name of the filter.
        text: What it took out; None if it found nothing.
        span: Where that stands in the answer; None if that cannot be told.
        reason: Why it was not found, or where it stands cannot be told.
    """

    filter: str
    text: str | None = None
    span: Span | None = None
    reason: str | None = None


class AnswerFilter:
    """One of a task's filters, applied to single answers.

    Args:
        name: Its name.
        steps: Makes its steps, in their order.
    """

    def __init__(self, name: str, steps: Sequence[Callable[[], Any]]) -> None:
        self.name, self._makers = name, tuple(steps)

    @cached_property
    def _steps(self) -> tuple[Any, ...]:
        return tuple(make() for make in self._makers)

    @property
    def takes_out(self) -> bool:
        """Whether it takes a part out of a text, as far as its steps tell."""
        return not all(type(step) in _KEEPING for step in self._steps)

    def outputs(self, texts: Sequence[str], doc: Any) -> list[Any]:
        """What it makes of answers to a document; :data:`_UNREADABLE` where it fails.

        What comes out of a custom filter may be anything.
        """
        found: Any = [[text] for text in texts]
        try:
            for step in self._steps:
                found = step.apply(found, [doc] * len(texts))
            found = list(found)
        except Exception:  # of a custom filter, which never saw such a text
            if len(texts) == 1:
                return [_UNREADABLE]
            return [output for text in texts for output in self.outputs([text], doc)]
        return [_unwrapped(output) for output in found]

    def extracted(self, text: str, doc: Any) -> Extracted:
        """What it takes out of an answer, and where that stands.

        Args:
            text: The answer.
            doc: The document.
        """
        doc = copy.deepcopy(doc)
        output, of_nothing = self.outputs([text, ""], doc)
        if output is _UNREADABLE:
            return self._nothing("failed on the answer")
        if isinstance(output, (list, tuple, Mapping)):
            return self._nothing("gives several values at once")
        shown = str(output)
        if not shown.strip() or (shown not in text and output == of_nothing):
            return self._nothing("found nothing in the answer")
        span = next(self._matched(text, shown), None) or _searched(self, text, output, doc)
        span = None if span is None else _stripped(text, span)
        if span is None:
            return Extracted(
                self.name, shown, reason=f"where the filter {self.name!r} found {shown!r} cannot be told"
            )
        return Extracted(self.name, shown, span)

    def _nothing(self, why: str) -> Extracted:
        return Extracted(self.name, reason=f"the filter {self.name!r} {why}")

    def _matched(self, text: str, output: str) -> Iterator[Span]:
        """Where the pattern of a regular expression has matched, if that is what gave the output.

        lm-eval's own choice of match and group is followed: of the match with its number, the first group
        that is not empty.
        """
        taking = [step for step in self._steps if type(step) not in _KEEPING[:3]]
        if len(taking) != 1 or type(taking[0]) not in (RegexFilter, MultiChoiceRegexFilter):
            return
        found = list(taking[0].regex.finditer(text))
        try:
            match = found[taking[0].group_select]
        except IndexError:
            return
        groups = range(1, match.re.groups + 1) if match.re.groups else (0,)
        group = next((number for number in groups if match.group(number)), None)
        if group is not None and match.group(group).strip() == output:
            yield match.span(group)


def _unwrapped(output: Any) -> Any:
    """The only value of lists of one."""
    while isinstance(output, (list, tuple)) and len(output) == 1:
        (output,) = output
    return output


def _searched(of: AnswerFilter, text: str, output: Any, doc: Any) -> Span | None:
    """The part of a text that gives an output, found by running the filter on parts of it.

    A beginning of the text gives the output that one character less does not: there, it is complete. It
    stands where the text has its characters near there, if others in their place come out in its place.
    Where it has them nowhere, as the filter names things otherwise, it is the shortest end of that beginning
    that gives the output by itself.
    """
    for _ in range(_MOST_REPEATED):
        stop = _completed(of, text, output, doc)
        spans = sorted(_written(text, _spoken(str(output))), key=lambda span: _distance(span, stop))
        spans = spans[:_MOST_TRIED]
        tried = of.outputs([_altered(text, span) for span in spans], doc)
        for span, other in zip(spans, tried, strict=True):
            if _spoken(str(other)) == _spoken(_altered(text, span)[slice(*span)]):
                return span
        by_itself = _shortest_end(of, text, stop, output, doc)
        if by_itself is None:
            return None
        # The same may be said again, and then it is not here that it was taken from.
        rest = _altered(text, by_itself)
        if of.outputs([rest], doc) != [output]:
            return by_itself
        text = rest
    return None


def _distance(span: Span, stop: int) -> int:
    return abs(span[1] - stop)


def _completed(of: AnswerFilter, text: str, output: Any, doc: Any) -> int:
    """Length of a beginning of the text that gives the output, where one character less does not."""

    def gives(lengths: Sequence[int]) -> list[bool]:
        return [bool(one == output) for one in of.outputs([text[:length] for length in lengths], doc)]

    return _edge(0, len(text), gives)


def _shortest_end(of: AnswerFilter, text: str, stop: int, output: Any, doc: Any) -> Span | None:
    """The shortest end of a beginning of the text that gives the output; None if not even all of it does."""

    def gives(lengths: Sequence[int]) -> list[bool]:
        ends = [text[stop - length : stop] for length in lengths]
        return [bool(one == output) for one in of.outputs(ends, doc)]

    start = stop - _edge(0, stop, gives)
    return (start, stop) if gives([stop - start]) == [True] else None


def _edge(fails: int, holds: int, conditions: Callable[[Sequence[int]], Sequence[bool]]) -> int:
    """A number between two for which a condition holds, and does not for the one before."""
    while holds - fails > 1:
        step = max(1, (holds - fails) // _AT_ONCE)
        some = range(fails + step, holds, step)
        for number, is_met in zip(some, conditions(some), strict=True):
            if is_met:
                holds = number
                break
            fails = number
    return holds


def _written(text: str, spoken: str) -> Iterator[Span]:
    """Where whole words of a text have given letters and digits."""
    places = [place for place, character in enumerate(text) if _spoken(character)]
    letters = [_spoken(text[place]) for place in places]
    starts, joined = {}, ""
    for place, letter in zip(places, letters, strict=True):
        starts[len(joined)] = place
        joined += letter
    found = joined.find(spoken) if spoken else -1
    while found >= 0:
        end = found + len(spoken)
        last = max((at for at in starts if at < end), default=found)
        if found in starts and not (_joins(text, starts[found]) or _joins(text, starts[last] + 1)):
            yield starts[found], starts[last] + 1
        found = joined.find(spoken, found + 1)


def _joins(text: str, place: int) -> bool:
    """Whether letters or digits stand on both sides of a place."""
    return 0 < place < len(text) and text[place - 1].isalnum() and text[place].isalnum()


def _spoken(text: str) -> str:
    """Letters and digits, in lower case."""
    return _UNSPOKEN.sub("", text.casefold())


def _altered(text: str, span: Span) -> str:
    """The text with other letters and digits in a span."""
    start, stop = span
    return text[:start] + "".join(map(_other, text[start:stop])) + text[stop:]


def _other(character: str) -> str:
    """Another character of the same kind."""
    if character.isdigit():
        return "7" if character != "7" else "3"
    if character.isalpha():
        other = "B" if character.casefold() != "b" else "D"
        return other if character.isupper() else other.lower()
    return character


def _stripped(text: str, span: Span) -> Span | None:
    """The span without blanks at its ends; None if nothing is left."""
    part = text[span[0] : span[1]]
    start = span[0] + len(part) - len(part.lstrip())
    return (start, start + len(part.strip())) if part.strip() else None


def ensembles_of(task: Any) -> tuple[Any, ...]:
    """lm-eval's filters of a task, in their order.

    Args:
        task: lm-eval's task object; where the task is not installed, what its log says of it.
    """
    ensembles = getattr(task, "_filters", None)
    return tuple(_logged(getattr(task.config, "filter_list", None) or ()) if ensembles is None else ensembles)


def _logged(filter_list: Iterable[Mapping[str, Any]]) -> Iterator[Any]:
    """Filters as a log names them; those whose functions were code are done without."""
    for named in filter_list:
        steps = [dict(step) for step in named["filter"]]
        try:
            yield build_filter_ensemble(named["name"], [[step.pop("function"), step] for step in steps])
        except Exception:  # of lm-eval: a custom filter is a text in a log
            continue
