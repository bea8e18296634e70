"""Models that answer by rules that a person can follow, and tasks for them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from lm_eval.api.model import LM

from tests.harness.evaluations import choices_task, generation_task

#: Documents enough to tell a shortcut from guessing.
COUNT = 40


class ReadingLM(LM):
    """Prefers the choice that shares most words with its context, then the one that calls itself true.

    What it generates is the last word of the context.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Any, ...]] = []

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        self.asked += [request.args for request in requests]
        return [(_likelihood(*request.args[:2]), False) for request in requests]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        self.asked += [request.args for request in requests]
        return [request.args[0].split()[-1] for request in requests]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        return [-float(len(request.args[0])) for request in requests]

    def apply_chat_template(self, chat_history: Sequence[Any], add_generation_prompt: bool = True) -> str:
        turns = "".join(f"[{one['role']}]{one['content']}[end]" for one in chat_history)
        return turns + ("[assistant]" if add_generation_prompt else "")

    @property
    def tokenizer_name(self) -> str:
        return "none"

    def chat_template(self, chat_template: Any = False) -> str:
        return "by hand"


class LongestLM(ReadingLM):
    """Prefers the longest choice, whatever it is asked."""

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return [(float(len(request.args[1])), False) for request in requests]


class CountingLM(ReadingLM):
    """Prefers the choice that its context names most often."""

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return [
            (10.0 * context.count(choice.strip()) - _by_chance(context, choice), False)
            for context, choice in (request.args[:2] for request in requests)
        ]


def _likelihood(context: str, continuation: str) -> float:
    words = set(continuation.split())
    shared = len(words & set(context.split()))
    return 10.0 * shared + 5.0 * ("truly" in words) - _by_chance(context, continuation)


def _by_chance(context: str, continuation: str) -> float:
    """What breaks ties, always alike."""
    return hashlib.sha256((context + continuation).encode()).digest()[0] / 256


def _names(number: int) -> tuple[str, str]:
    return f"red{number}", f"blue{number}"


#: The right choice is the one whose name the question has.
READ = choices_task(
    "read",
    [
        (f"Which of them is it? It is {_names(number)[0]} . So:", [f" {name}" for name in _names(number)])
        for number in range(COUNT)
    ],
)

#: The right choice says so itself.
GIVEN_AWAY = choices_task(
    "given_away",
    [
        (f"Which of them is number {number}? So:", [f" truly one{number}", f" other two{number}"])
        for number in range(COUNT)
    ],
)

#: The right choice, which is the longest one, is named in the question; all choices are listed.
LISTED = choices_task(
    "listed",
    [
        (f"Which of them is it? It is red{number}long .", [f" red{number}long", f" blue{number}"])
        for number in range(COUNT)
    ],
    doc_to_text="{{text}}\n- {{options[0].strip()}}\n- {{options[1].strip()}}\nAnswer:",
    metric_list=[{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
)

#: Free answers: the last word of the question.
ECHO = generation_task("echo", [f"Say word{number}" for number in range(COUNT)], doc_to_target="x")
