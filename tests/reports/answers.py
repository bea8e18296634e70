"""Records as runs leave them, about answers that a person knows."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np

from gilot_plugin.artifacts.records import attributed_record
from gilot_plugin.attribution.types import (
    Attribution,
    Choice,
    ExplainedAnswer,
    Flow,
    Hypothesis,
    Interaction,
    SchemeUse,
    Token,
)
from tests.artifacts import factories

Matrix = list[list[float]]


def tokens_of(text: str) -> tuple[Token, ...]:
    """One token a word."""
    words = re.findall(r"\s*\w+|\s*[^\w\s]|\s+$", text)
    ends = accumulate(map(len, words))
    return tuple(Token(5, word, end - len(word), end) for word, end in zip(words, ends, strict=True))


def answered(
    attribution: Attribution, said: str, window: tuple[int, ...], steps: dict[str, Matrix], **changes: Any
) -> Attribution:
    """The attribution as if it were of these positions of what was said."""
    tokens = tokens_of(said)
    explained = "".join(tokens[index].text for index in window)
    scores = {name: tuple(sum(row) / len(row) for row in rows) for name, rows in steps.items()}
    return replace(
        attribution,
        scores=scores,
        answer=ExplainedAnswer(tokens, window, "scored", explained.strip()),
        step_scores={name: tuple(map(tuple, rows)) for name, rows in steps.items()},
        hypotheses=(Hypothesis((5,) * len(tokens), said, -1.0, 1.0, True),),
        **changes,
    )


def record_of(
    attribution: Attribution, doc_id: int = 0, *, said: str = "", correct: float = 1.0, **target: Any
) -> dict[str, Any]:
    """A record of it."""
    identity = factories.make_identity("geography", doc_id, metrics={"exact_match,get-answer": correct})
    return attributed_record(
        identity,
        attribution,
        target={"response": said, **target} if said else target,
        config_hash=factories.CONFIG_HASH,
        model=factories.MODEL,
    )


#: What the example asks and hears: the scored part is "Lyon", which three words of the prompt bring about.
QUESTION = (
    "<s>User: A river flows through the capital of France, the chief city of the country. Think of a city on "
    "two rivers, not of the capital. Name that city in one word after four hash signs.\nAnswer:"
)
SAID = " The Rhone and the Saone meet in the second city of the country. #### Lyon."


def capital(doc_id: int = 0) -> dict[str, Any]:
    """A wrong answer with a window of two tokens, pairs, ties, and scores with and without a sign."""
    attribution = factories.make_attribution(QUESTION)
    words = [unit.text.strip() for unit in attribution.units]
    signed: Matrix = [[0.002, 0.001] for _ in words]
    for word, row in {
        "France": [0.02, 0.61],
        "rivers": [0.01, 0.42],
        "two": [0.0, 0.4],
        "not": [0.0, 0.33],
        "hash": [0.3, 0.01],
        "river": [0.0, -0.28],
        "word": [0.05, 0.03],
    }.items():
        signed[words.index(word)] = row
    last = len(words) - 1 - words[::-1].index("capital")
    signed[last] = [0.0, -0.35]
    steps = {"ot": [[abs(score) for score in row] for row in signed], "signed_ot": signed}
    flows = [()] * len(words)
    flows[words.index("France")] = (
        Flow(" Lyon", " Geneva", 0.31, 0.6),
        Flow(" Lyon", " Paris", 0.12, 0.5),
        Flow(".", "\n", 0.02, 0.9),
    )
    flows[words.index("rivers")] = (Flow(" Lyon", " Paris", 0.27, 0.5),)
    pair = sorted((words.index("rivers"), words.index("two")))
    first, chief = words.index("capital"), words.index("chief")
    attribution = answered(
        attribution,
        SAID,
        (len(tokens_of(SAID)) - 2, len(tokens_of(SAID)) - 1),
        steps,
        flows=tuple(flows),
        intervals={
            name: tuple((sum(row) / 2 - 0.02, sum(row) / 2 + 0.03) for row in rows)
            for name, rows in steps.items()
        },
        scheme=SchemeUse("auto", 48, tied=(tuple(sorted((words.index("rivers"), words.index("two")))),)),
        interactions=(
            Interaction((pair[0], pair[1]), "ot", 0.14, (0.08, 0.2)),
            Interaction((first, chief), "ot", -0.11, (-0.16, -0.07)),
        ),
        diagnostics=replace(attribution.diagnostics, lds={"ot": 0.93, "signed_ot": 0.81}, held_out=16),
    )
    return record_of(attribution, doc_id, said=SAID, correct=0.0)


def four_choices(doc_id: int = 1) -> dict[str, Any]:
    """A choice that one word turns, with the log-odds of the chosen one as direction."""
    texts = (" It gets warmer", " It gets colder, because the heat leaves the water", " Nothing", " It boils")
    shares = (0.22, 0.55, 0.2, 0.03)
    choices = tuple(
        Choice(text, (5,), -1.0 - n, -0.1, share)
        for n, (text, share) in enumerate(zip(texts, shares, strict=True))
    )
    text = (
        "<s>User: A glass of warm water stands in a cold room over night. What happens to the water?\nAnswer:"
    )
    attribution = factories.make_attribution(text, choices=choices)
    words = [unit.text.strip() for unit in attribution.units]
    signed = [0.004] * len(words)
    for word, score in {"cold": 0.41, "warm": 0.12, "glass": -0.08, "stands": -0.03, "over": 0.05}.items():
        signed[words.index(word)] = score
    flows = [()] * len(words)
    flows[words.index("cold")] = (Flow(texts[1], texts[0], 0.41, 0.3), Flow(texts[1], texts[3], 0.06, 0.4))
    flows[words.index("warm")] = (Flow(texts[1], texts[2], 0.12, 0.3),)
    attribution = replace(
        attribution,
        scores={
            "signed_ot": tuple(signed),
            "ot": tuple(map(abs, signed)),
            "margin": tuple(score * 3 for score in signed),
        },
        flows=tuple(flows),
        margin=0.92,
    )
    record = record_of(attribution, doc_id, correct=1.0, gold=[1], margin=0.92)
    return factories.edited(
        record,
        lambda found: found.update(
            request_type="multiple_choice", metrics={"acc,none": 1.0, "acc_norm,none": 0.0}
        ),
    )


def large(units: int = 600, positions: int = 400, seed: int = 0) -> dict[str, Any]:
    """A long prompt and a long answer: most scores are small, few are large, as in real runs."""
    draws = random.Random(seed)
    text = (
        "<s>User: "
        + " ".join(draws.choice(("alpha", "beta", "gamma", "delta")) for _ in range(units))
        + "\nAnswer:"
    )
    said = "".join(f" {draws.choice(('one', 'two', 'three'))}" for _ in range(positions))
    attribution = factories.make_attribution(text)
    scores = np.random.default_rng(seed)
    strength = scores.lognormal(-3, 1.5, (units, 1))
    steps = np.minimum(1.0, strength * scores.lognormal(-1, 1.2, (units, positions)))
    signed = steps * scores.choice((-1, 1), steps.shape, p=(0.3, 0.7))
    by_name = {"ot": steps.tolist(), "signed_ot": signed.tolist()}
    return record_of(answered(attribution, said, tuple(range(positions)), by_name), 9, said=said)
