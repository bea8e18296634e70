"""The distances that come with the package; what computes them is imported when it is first called."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from gilot_plugin.attribution.methods import (
    AnswerDrop,
    Distance,
    OddsDrop,
    OutcomeMethod,
    PromptMethod,
    TransportDistance,
)
from gilot_plugin.deferred import Deferred

#: Of the model's own answer; comes along wherever the answer is read with the outcomes.
LOGPROB = AnswerDrop("logprob", "leave-one-out: drop in log-probability of the model's own answer, in nats")

#: The same against everything else that could have been said, position by position; no position outweighs the
#: others because it was certain.
LOGODDS = OddsDrop("logodds", "drop in log-odds of what was said, against everything else, in nats")

#: The drop in log-probability where the answer is one of the task's choices: among them, not of its text.
CHOICE = Distance(
    "choice",
    "drop in log-probability of the preferred choice, in nats",
    Deferred("gilot_plugin.attribution.distances:choice_drop"),
)

#: The total path; comes by itself with ``hypotheses: regenerate`` where a filter says what is scored.
FLIP = PromptMethod(
    "flip",
    "whether the filtered answer changes when the model answers anew without the unit (1 or 0)",
    Deferred("gilot_plugin.attribution.prediction.flips:of_game"),
)

BUILTIN_METHODS: tuple[OutcomeMethod, ...] = (
    TransportDistance(
        "ot",
        "GiLOT: optimal transport between the outcome distributions, embeddings as ground cost",
        Deferred("gilot_plugin.attribution.distances:optimal_transport"),
    ),
    Distance(
        "kl",
        "KL divergence of the outcome distribution without the unit from the one with it",
        Deferred("gilot_plugin.attribution.distances:kl_divergence"),
    ),
    Distance(
        "l2",
        "Euclidean distance between the outcome distributions",
        Deferred("gilot_plugin.attribution.distances:l2_norm"),
    ),
    Distance(
        "js",
        "Jensen-Shannon divergence between the outcome distributions, in nats",
        Deferred("gilot_plugin.attribution.distances:jensen_shannon"),
    ),
    Distance(
        "tv",
        "total variation distance between the outcome distributions",
        Deferred("gilot_plugin.attribution.distances:total_variation"),
    ),
    LOGPROB,
    LOGODDS,
)


def margin_drop(gold: Sequence[int]) -> Distance:
    """By how much the absence of a unit lowers the margin of the gold choice, in nats.

    The margin is the log-likelihood of the right choice less that of the strongest other one (of several
    right ones, the strongest). Positive: the unit speaks for the right choice. It comes by itself with
    choices of which some are right and some are not.

    Args:
        gold: Numbers of the right choices.
    """
    return Distance(
        "margin",
        "drop of the gold choice's margin over the strongest other choice, in nats",
        partial(Deferred("gilot_plugin.attribution.distances:margin_drop"), gold),
    )
