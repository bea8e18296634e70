"""The distances that come with the package; what computes them is imported when it is first called."""

from __future__ import annotations

from gilot_plugin.attribution.methods import Distance
from gilot_plugin.deferred import Deferred

BUILTIN_METHODS: tuple[Distance, ...] = (
    Distance(
        "ot",
        "GiLOT: optimal transport between the outcome distributions, embeddings as ground cost",
        Deferred("gilot_plugin.attribution.distances:optimal_transport"),
        transports=True,
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
    Distance(
        "logprob",
        "leave-one-out: drop in log-probability of the model's own answer, in nats",
        Deferred("gilot_plugin.attribution.distances:answer_logprob_drop"),
        needs_answer=True,
    ),
)

#: Comes by itself with choices of which some are right and some are not.
MARGIN = Distance(
    "margin",
    "drop of the gold choice's margin over the strongest other choice, in nats",
    Deferred("gilot_plugin.attribution.distances:margin_drop"),
)
