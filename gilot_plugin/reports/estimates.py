"""What reports say of scores beyond their numbers: order, direction, quality, pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from gilot_plugin.artifacts.typed import Record
from gilot_plugin.attribution.types import Interaction

#: Prefix of distances that have a direction.
_SIGNED_PREFIX = "signed_"

#: Methods whose numbers are above 0 where the answer is likelier with the unit than without it.
_OF_THE_ANSWER = frozenset(
    {
        *("logprob", "logodds", "lime", "kernel_shap", "shapley_sampling", "feature_ablation"),
        *("integrated_gradients", "input_x_gradient"),
    }
)

_DOUBTFUL = 0.4
#: The least rank correlation, and how well scores that reach it predict.
_QUALITIES = (
    (0.9, "almost in their true order"),
    (0.7, "mostly in their true order"),
    (_DOUBTFUL, "only roughly in their true order"),
    (-1.0, "hardly better than chance would, so do not build on these scores"),
)


def speaks_for(record: Record, method: str) -> str | None:
    """What units with a score above 0 speak for; None where scores have no direction.

    Args:
        record: One whose status is ok.
        method: Any.

    Returns:
        Words such as ``"what the model said"``.
    """
    if method == "margin":
        return "the right choice"
    if method.startswith(_SIGNED_PREFIX) or method in _OF_THE_ANSWER:
        choices = record.target is not None and record.target.choices
        return "the model's choice" if choices else "what the model said"
    return None


def rank_words(record: Record, method: str) -> tuple[str, ...]:
    """The place of each unit, the largest absolute score first, e.g. ``"1"``, or ``"2-4"`` where it is tied.

    Args:
        record: One whose status is ok.
        method: One that the record has scores by.

    Returns:
        For each unit, in prompt order. Units whose order the coalitions do not settle share their places.
    """
    scores, tied = record.scores[method], tied_units(record, method)
    ordered = sorted(range(len(scores)), key=lambda index: -abs(scores[index]))
    places = {unit: place for place, unit in enumerate(ordered, start=1)}
    words = {unit: str(place) for unit, place in places.items()}
    for group in tied:
        shared = sorted(places[unit] for unit in group)
        words |= dict.fromkeys(group, f"{shared[0]}-{shared[-1]}")
    return tuple(words[unit] for unit in range(len(scores)))


def tied_units(record: Record, method: str) -> tuple[tuple[int, ...], ...]:
    """Groups of units whose order by a method is not settled.

    A scheme judges the order by its first measure; a distance and the same with a direction have one order.
    """
    first = next(iter(record.intervals), None) or next(iter(record.scores), "")
    if record.scheme is None or method.removeprefix(_SIGNED_PREFIX) != first.removeprefix(_SIGNED_PREFIX):
        return ()
    return tuple(group for group in record.scheme.tied if len(group) > 1)


def quality_words(record: Record, method: str) -> str:
    """How well a method's scores predict what they were not made from; empty where that was not tested."""
    correlation = record.diagnostics.get("lds", {}).get(method)
    if correlation is None:
        return ""
    held_out = record.diagnostics.get("held_out", 0)
    words = next(words for least, words in _QUALITIES if correlation >= least)
    return (
        f"Tested on {held_out} sets of absent units that were not used for these scores: {method} puts them "
        f"{words} (rank correlation {correlation:.2f}; 1 is perfect, 0 is chance)."
    )


def qualities_words(records: Iterable[Record], method: str) -> str:
    """The same over the samples of a run; empty where none was tested."""
    found = [
        record.diagnostics["lds"][method] for record in records if method in record.diagnostics.get("lds", {})
    ]
    if not found:
        return ""
    doubtful = sum(correlation < _DOUBTFUL for correlation in found)
    less = (
        f"; in {doubtful} it is below {_DOUBTFUL:g}, where scores should not be built on" if doubtful else ""
    )
    return (
        f"How well scores by {method} predict sets of absent units that were not used for them, in "
        f"{len(found)} samples: the median rank correlation is {median(found):.2f}{less}."
    )


def pairs_of(record: Record, method: str) -> tuple[Interaction, ...]:
    """Pairs of units by a method, strongest first; where it has none, those by the first that has.

    A record tells the pairs of one measure after the other, so the same two may be there by several.
    """
    measures = [pair.measure for pair in record.interactions]
    measure = method if method in measures else next(iter(measures), "")
    return tuple(pair for pair in record.interactions if pair.measure == measure)


def is_sure(pair: Interaction) -> bool:
    """Whether the pair's interval leaves out 0."""
    lower, upper = pair.interval
    return lower > 0 or upper < 0


def pair_words(pair: Interaction) -> str:
    """What two units are to each other, said of both."""
    if not is_sure(pair):
        return "may have to do with each other; that is not sure"
    if pair.value < 0:
        return "stand in for each other: where one is absent, the other still says it"
    return "work only together: where one is absent, the other says little"


def pair_numbers(pair: Interaction) -> str:
    """The numbers of a pair, e.g. ``ot -0.2, between -0.25 and -0.1``."""
    lower, upper = pair.interval
    return f"{pair.measure} {pair.value:.2g}, between {lower:.2g} and {upper:.2g}"


def redundancy_words(pairs: Sequence[Interaction]) -> str:
    """What follows from units that stand in for each other; empty where none do."""
    if not any(is_sure(pair) and pair.value < 0 for pair in pairs):
        return ""
    return "Taking one unit away at a time would have missed units that stand in for each other."
