"""Tasks whose answer depends, by construction, on known tokens of the prompt only.

A task is a rule: what the answer is, whatever is left of the prompt. A token is a cause if the answer changes
when it alone is deleted, masked or replaced, and the tasks are such that all three agree on the causes: the
template, which is never taken away, holds what would otherwise move when a token is deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]
Mask = NDArray[np.bool_]

BOS, EOS, PAD, ASK, FILLER, UNKNOWN = "<s>", "</s>", "<pad>", "?", "_", "unknown"

#: Tokens by their part in the tasks; ids count through the groups.
_GROUPS: dict[str, tuple[str, ...]] = {
    "template": (BOS, EOS, PAD, ASK, *(f"[{slot}]" for slot in range(1, 9))),
    "filler": (FILLER,),
    "verdict": (UNKNOWN, "yes", "no"),
    "value": ("1", "2", "3", "4"),
    "key": ("red", "green", "blue", "gold"),
    "pair": tuple(f"{key}={value}" for key in ("red", "green", "blue", "gold") for value in range(1, 5)),
    "praise": ("good", "great", "fine", "lovely"),
    "blame": ("bad", "awful", "dull", "poor"),
    "negation": ("not",),
    "cue": ("plus", "minus"),
    "word": (
        *("apple", "boat", "cloud", "door", "eagle", "field", "glass", "house"),
        *("island", "jacket", "kite", "lamp", "moon", "needle", "ocean", "paper"),
    ),
}

VOCABULARY = tuple(text for group in _GROUPS.values() for text in group)
IDS = {text: token_id for token_id, text in enumerate(VOCABULARY)}
TEMPLATE = _GROUPS["template"]

_YES, _NO, _UNKNOWN = IDS["yes"], IDS["no"], IDS[UNKNOWN]


def _ids(group: str) -> Tokens:
    return np.array([IDS[text] for text in _GROUPS[group]])


class Prompts(NamedTuple):
    """Prompts of a task, all equally long.

    Attributes:
        token_ids: ``[prompts, length]``, the template included.
        causes: ``[prompts, length]``, the tokens on which the answer depends.
    """

    token_ids: Tokens
    causes: Mask


@dataclass(frozen=True, slots=True)
class Task:
    """A rule from prompts to answers, and prompts that it decides.

    Attributes:
        name: One word.
        summary: The rule, for readers.
        answers: Token ids that the answer may be.
        draw: ``(generator, n) -> Prompts``.
        rule: Token ids ``[prompts, length]``, of which some may have been deleted (padding to the left) or
            replaced, to the answer's token id, ``[prompts]``.
        redundant: Whether no cause changes the answer alone, because another one says the same.
        ends: Whether the answer is one token, after which the text ends; else it is said again and again.
    """

    name: str
    summary: str
    answers: Tokens
    draw: Callable[[np.random.Generator, int], Prompts]
    rule: Callable[[Tokens], Tokens]
    redundant: bool = False
    ends: bool = False


def is_content(token_ids: Tokens) -> Mask:
    """Which tokens can be taken away: those that are not of the template."""
    return ~np.isin(token_ids, _ids("template"))


_SLOTS, _COPIED = len(TEMPLATE) - 4, 3


def _draw_slots(generator: np.random.Generator, n: int) -> Prompts:
    token_ids = np.full((n, 2 * _SLOTS + 2), IDS[BOS])
    token_ids[:, 1:-1:2] = [IDS[f"[{slot}]"] for slot in range(1, _SLOTS + 1)]
    token_ids[:, 2:-1:2] = generator.choice(_ids("word"), (n, _SLOTS))
    token_ids[:, -1] = IDS[ASK]
    causes = np.zeros(token_ids.shape, dtype=bool)
    causes[:, 2 * _COPIED] = True
    return Prompts(token_ids, causes)


def _copy(token_ids: Tokens) -> Tokens:
    slot = (token_ids == IDS[f"[{_COPIED}]"]).argmax(axis=1)
    follower = token_ids[np.arange(len(token_ids)), slot + 1]
    return np.where(np.isin(follower, _ids("word")), follower, _UNKNOWN)


def _draw_pairs(generator: np.random.Generator, n: int) -> Prompts:
    pairs = _ids("pair").reshape(len(_ids("key")), -1)
    keys = np.arange(len(pairs))
    offered = pairs[keys, generator.integers(pairs.shape[1], size=(n, len(keys)))]
    asked = generator.integers(len(keys), size=n)
    prompts = _scattered(generator, offered, keys == asked[:, None], words=5)
    query = _ids("key")[asked][:, None]
    return Prompts(
        np.insert(prompts.token_ids, [-1], query, axis=1), np.insert(prompts.causes, [-1], True, axis=1)
    )


def _look_up(token_ids: Tokens) -> Tokens:
    pairs, values = _ids("pair"), _ids("value")
    place = token_ids - pairs[0]
    matches = np.isin(token_ids, pairs) & (place // len(values) == (token_ids[:, -2:-1] - _ids("key")[0]))
    found = values[np.where(matches, place % len(values), 0).max(axis=1)]
    return np.where(matches.any(axis=1), found, _UNKNOWN)


def _draw_negated(generator: np.random.Generator, n: int) -> Prompts:
    opinion = generator.choice(np.concatenate((_ids("praise"), _ids("blame"))), n)
    causes = np.stack((opinion, np.full(n, IDS["not"])), axis=1)
    return _scattered(generator, causes, np.array([True, True]), words=8)


def _judge(token_ids: Tokens) -> Tokens:
    """The opinion, turned round by a negation."""
    praised, blamed = _any(token_ids, _ids("praise")), _any(token_ids, _ids("blame"))
    negated = _any(token_ids, _ids("negation"))
    return np.where(praised | blamed, np.where(praised ^ negated, _YES, _NO), _UNKNOWN)


def _draw_cued(generator: np.random.Generator, n: int) -> Prompts:
    return _with_cues(generator, n, cues=1)


def _draw_cued_twice(generator: np.random.Generator, n: int) -> Prompts:
    return _with_cues(generator, n, cues=2)


def _with_cues(generator: np.random.Generator, n: int, cues: int) -> Prompts:
    """Opinions with a cue that says the opposite: were it to agree, the answer would have two causes."""
    cue = generator.choice(_ids("cue"), n)
    opinion = np.where(
        cue == IDS["plus"], generator.choice(_ids("blame"), n), generator.choice(_ids("praise"), n)
    )
    tokens = np.stack((opinion, *[cue] * cues), axis=1)
    return _scattered(generator, tokens, np.array([False, *[True] * cues]), words=9 - cues)


def _take_cue(token_ids: Tokens) -> Tokens:
    """What a cue says, or else the opinion."""
    cued = [_any(token_ids, np.array([IDS[cue]])) for cue in ("plus", "minus")]
    opinions = [_any(token_ids, _ids(group)) for group in ("praise", "blame")]
    return np.select((*cued, *opinions), (_YES, _NO, _YES, _NO), _UNKNOWN)


def _any(token_ids: Tokens, sought: Tokens) -> Mask:
    return np.isin(token_ids, sought).any(axis=1)


def _scattered(generator: np.random.Generator, tokens: Tokens, causes: Mask, words: int) -> Prompts:
    """Tokens ``[prompts, k]`` at random places among words without a meaning, within the template."""
    n = len(tokens)
    content = np.concatenate((tokens, generator.choice(_ids("word"), (n, words))), axis=1)
    is_cause = np.zeros(content.shape, dtype=bool)
    is_cause[:, : tokens.shape[1]] = causes
    order = generator.permuted(np.tile(np.arange(content.shape[1]), (n, 1)), axis=1)
    content, is_cause = (np.take_along_axis(array, order, axis=1) for array in (content, is_cause))
    framed = np.pad(content, ((0, 0), (1, 1)))
    framed[:, 0], framed[:, -1] = IDS[BOS], IDS[ASK]
    return Prompts(framed, np.pad(is_cause, ((0, 0), (1, 1))))


_VERDICTS = _ids("verdict")

_LONG_TASKS = (
    Task(
        "copy",
        f"the word in slot {_COPIED} of {_SLOTS}",
        np.append(_ids("word"), _UNKNOWN),
        _draw_slots,
        _copy,
    ),
    Task(
        "key",
        "the value of the pair whose key matches the query",
        np.append(_ids("value"), _UNKNOWN),
        _draw_pairs,
        _look_up,
    ),
    Task(
        "negation",
        "yes to praise and no to blame, turned round by 'not'",
        _VERDICTS,
        _draw_negated,
        _judge,
    ),
    Task("shortcut", "what a cue says, whatever the opinion", _VERDICTS, _draw_cued, _take_cue),
    Task(
        "redundant",
        "the same, with the cue given twice",
        _VERDICTS,
        _draw_cued_twice,
        _take_cue,
        redundant=True,
    ),
)

#: Each rule once more with an answer of one token: only the prompt's own prediction shows its causes.
_SHORT_TASKS = tuple(
    replace(task, name=f"{task.name}_once", summary=f"{task.summary}, said once", ends=True)
    for task in _LONG_TASKS
    if not task.redundant
)

TASKS = (*_LONG_TASKS, *_SHORT_TASKS)
