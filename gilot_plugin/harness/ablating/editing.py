"""A task whose prompts are built by lm-eval's own code, with an arm's change made where they come from.

lm-eval's ``fewshot_context`` takes the system instruction as an argument, the description from the task's
settings, the examples from its sampler, and makes a turn of each example and of the question by
``build_qa_turn``, before anything is joined or goes through a chat template. Changes are made there, on a
copy of the task, so that what is taken away leaves no trace of the template's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import regex

from gilot_plugin.harness.ablating.choices import common_end, without_choices, without_stem
from gilot_plugin.harness.watching.parts import literal_end
from gilot_plugin.settings.ablation import Arm

#: Changes the text of a part: ``(text, doc, part) -> text``.
Rewrite = Callable[[str, Any, str], str]

#: The turn of one example.
Turn = Sequence[Any]

#: Documents that tell how a task's questions end, where its template does not.
_ALIKE = 8


def snapshot(task: Any) -> Any:
    """A copy of a task that draws the examples that the task is about to draw, and leaves it alone."""
    twin = copy.copy(task)
    twin._instances = None
    if hasattr(task, "_config"):
        twin._config = copy.copy(task._config)
    for name, owner in (("fewshot_rnd", twin), ("sampler", twin)):
        found = getattr(task, name, None)
        if isinstance(found, Random):
            setattr(owner, name, _same_state(found))
        elif found is not None:
            drawing = copy.copy(found)
            if isinstance(getattr(found, "rnd", None), Random):
                drawing.rnd = _same_state(found.rnd)
            setattr(owner, name, drawing)
    return twin


def _same_state(generator: Random) -> Random:
    made = Random()
    made.setstate(generator.getstate())
    return made


def makes_turns(task: Any) -> bool:
    """Whether a task builds its prompts as lm-eval's configured tasks do."""
    return hasattr(task, "build_qa_turn") and hasattr(task, "resolve_field")


class Editing:
    """The change of one arm, on a copy of a task.

    Args:
        task: See :func:`snapshot`; it is changed.
        arm: What is changed.
        seed: Of the order of shots.
        rewrite: What the arm's pattern or function makes of a text; None for other arms.
        lent: For arms with another task's shots, those of each document in turn.
    """

    def __init__(
        self,
        task: Any,
        arm: Arm,
        *,
        seed: int = 0,
        rewrite: Rewrite | None = None,
        lent: Callable[[int], Sequence[Turn]] | None = None,
    ) -> None:
        self._arm, self._rewrite, self._lent = arm, rewrite, lent
        self._task = task
        self._end = literal_end(task)
        self._doc: Any = None
        self._shots = 0
        self._others: Sequence[Turn] = ()
        self._order = Random(f"gilot {seed}")  # apart from any that lm-eval uses
        self._drawn: list[Any] | None = None
        self._missed = self._keeps = False
        #: Most examples that a prompt had before the change.
        self.most_shots = 0
        self._build = task.fewshot_context
        task.fewshot_context = self._context
        if makes_turns(task):
            self._turn, self._resolve = task.build_qa_turn, task.resolve_field
            task.build_qa_turn, task.resolve_field = self._edited_turn, self._edited_field
            if getattr(task, "sampler", None) is not None:
                self._sample = task.sampler.sample
                if arm.kind == "shot_order":
                    task.sampler.sample = self._reordered
                elif arm.part == "all_choices":
                    task.sampler.sample = self._drawn_once
            if arm.part == "stem" and not self._end:
                self._end = _observed_end(task)

    def _context(self, doc: Any, *args: Any, **kwargs: Any) -> Any:
        self._doc, self._shots, self._drawn, self._missed = doc, 0, None, False
        if self._lent is not None:
            self._others = self._lent(int(kwargs.get("num_fewshot") or 0))
        if self._takes("system"):
            kwargs["system_instruction"] = None
        elif self._rewrite is not None and kwargs.get("system_instruction"):
            kwargs["system_instruction"] = self._rewrite(kwargs["system_instruction"], doc, "system")
        made = self._build(doc, *args, **kwargs)
        if self._missed:  # a prompt that lists choices here and there would be none of the task's
            self._shots, self._keeps = 0, True
            made = self._build(doc, *args, **kwargs)
            self._keeps = False
        self.most_shots = max(self.most_shots, self._shots)
        if self._rewrite is not None and not makes_turns(self._task):
            return self._rewrite(made, doc, "content") if isinstance(made, str) else made
        return made

    def _takes(self, part: str) -> bool:
        """Whether the arm takes a part away."""
        others = ("system", "description", "shots")
        return self._arm.part == part or (self._arm.kind == "only_question" and part in others)

    def _edited_field(self, doc: Any, field: Any = None) -> Any:
        found = self._resolve(doc, field)
        if field is None or field != self._task.config.description:
            return found
        if self._takes("description"):
            return ""
        return self._rewrite(found, doc, "description") if self._rewrite is not None and found else found

    def _reordered(self, *args: Any, **kwargs: Any) -> Any:
        drawn = list(self._sample(*args, **kwargs))
        if len(drawn) < 2:
            return drawn
        order = list(range(len(drawn)))
        while order == sorted(order):
            self._order.shuffle(order)
        return [drawn[place] for place in order]

    def _drawn_once(self, *args: Any, **kwargs: Any) -> Any:
        if self._drawn is None:
            self._drawn = list(self._sample(*args, **kwargs))
        return self._drawn

    def _edited_turn(self, **given: Any) -> Any:
        messages = list(self._turn(**given))
        if "a" in given:
            self._shots += 1
            return self._edited_shot(messages, self._shots, given.get("c"))
        return self._edited_question(messages, given.get("c"))

    def _edited_shot(self, messages: list[Any], number: int, choices: Sequence[str] | None) -> Any:
        part = f"shot_{number}"
        if self._takes("shots") or self._takes(part):
            return []
        if self._lent is not None:
            return list(self._others[number - 1]) if number <= len(self._others) else []
        if self._takes("all_choices"):
            return self._without_choices(messages, choices)
        return self._rewritten(messages, part)

    def _edited_question(self, messages: list[Any], choices: Sequence[str] | None) -> Any:
        question, *begun = messages
        lead_in = self._end if question.content.endswith(self._end) else ""
        text = question.content.removesuffix(lead_in)
        if self._takes("question"):
            return [replace(question, content=lead_in.lstrip()), *begun]
        if self._takes("lead_in"):
            return [replace(question, content=text, _delimiter="")]
        if self._takes("stem"):
            left = without_stem(question.content, choices, lead_in)
            return messages if left is None else [replace(question, content=left), *begun]
        if self._takes("choices") or self._takes("all_choices"):
            return self._without_choices(messages, choices)
        return self._rewritten(messages, "question")

    def _without_choices(self, messages: list[Any], choices: Sequence[str] | None) -> list[Any]:
        question, *others = messages
        lead_in = self._end if question.content.endswith(self._end) else ""
        left = without_choices(question.content.removesuffix(lead_in), choices)
        if left is not None:
            left += lead_in
        else:  # a template may end with the list
            left = without_choices(question.content, choices)
        self._missed = self._missed or (left is None and self._takes("all_choices"))
        return messages if left is None or self._keeps else [replace(question, content=left), *others]

    def _rewritten(self, messages: list[Any], part: str) -> list[Any]:
        if self._rewrite is None:
            return messages
        return [
            replace(message, content=self._rewrite(message.content, self._doc, part)) for message in messages
        ]


def _observed_end(task: Any) -> str:
    """What the first questions of a task have in common at their end."""
    docs = task.eval_docs
    return common_end(str(task.doc_to_text(docs[number])) for number in range(min(_ALIKE, len(docs))))


def pattern_rewrite(pattern: str) -> Rewrite:
    """Takes away what a pattern matches, in each part by itself."""
    compiled = regex.compile(pattern)
    return lambda text, doc, part: str(compiled.sub("", text))


def function_rewrite(function: Callable[..., Any], place: str) -> Rewrite:
    """Keeps what a function of the user returns.

    Raises:
        TypeError: It returned something else than a text.
    """

    def rewrite(text: str, doc: Any, part: str) -> str:
        left = function(text, doc, part)
        if not isinstance(left, str):
            raise TypeError(f"{place} returned {type(left).__name__}, and not the text that is left")
        return left

    return rewrite


def lender(task: Any, arguments: Mapping[str, Any]) -> Callable[[int], Sequence[Turn]]:
    """Examples of another task, drawn and worded by its own code, for one document after the other.

    Args:
        task: The other task, see :func:`snapshot`; it is changed.
        arguments: Of its ``fewshot_context``, beside the document and the number of examples.
    """
    turns: list[Turn] = []
    build = task.build_qa_turn

    def collect(**given: Any) -> Any:
        messages = build(**given)
        if "a" in given:
            turns.append(tuple(messages))
        return messages

    task.build_qa_turn = collect
    docs = task.eval_docs
    asked = 0

    def lend(number: int) -> Sequence[Turn]:
        nonlocal asked
        turns.clear()
        task.fewshot_context(docs[asked % len(docs)], num_fewshot=number, **arguments)
        asked += 1
        return tuple(turns)

    return lend
