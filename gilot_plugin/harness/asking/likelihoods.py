"""What the harness already knows about the choices of a sample: their log-likelihoods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gilot_plugin.extension.samples import Sample
from gilot_plugin.harness.state.run import TaskInfo


def own_requests(arguments: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
    """Drop the requests without context that ``acc_mutual_info`` adds after the task's own."""
    half = len(arguments) // 2
    own, added = arguments[:half], arguments[half:]
    without_context = bool(half) and not any(context for context, _ in added)
    # Where the choices are in the contexts, those that are added have other continuations.
    if without_context and (
        any(context for context, _ in own) or [argument[1] for argument in own] == [a[1] for a in added]
    ):
        return own
    return arguments


def choice_lengths(task: TaskInfo, sample: Sample, texts: Sequence[str], in_context: bool) -> list[int]:
    """Characters of each choice, without the delimiter before it, as ``acc_norm`` counts them.

    Args:
        task: The task.
        sample: The sample.
        texts: What is scored for each choice.
        in_context: Whether the choices stand in the contexts.
    """
    choices = [] if task.choices_of is None else task.choices_of(sample.doc)
    pairs = list(zip(texts, map(str, choices), strict=False))
    if len(pairs) == len(texts) and (in_context or all(text.endswith(choice) for text, choice in pairs)):
        return [len(choice) for _, choice in pairs]
    return [len(text.strip()) for text in texts]


def choice_scores(task: TaskInfo, sample: Sample) -> list[float]:
    """By what the choices are compared: log-likelihoods, by the character with ``choice_scoring: norm``.

    They are those that the harness had from the model; it is not asked again.

    Raises:
        ValueError: The sample has no choices.
    """
    if task.output_type != "multiple_choice":
        raise ValueError(f"a {task.output_type!r} sample has no choices")
    requests = own_requests(sample.arguments)
    sums = [float(response[0][0]) for response in sample.responses[: len(requests)]]
    if task.config.choice_scoring == "sum":
        return sums
    in_context = len({context for context, _ in requests}) > 1
    lengths = choice_lengths(task, sample, [str(text) for _, text in requests], in_context)
    return [value / length if length else -math.inf for value, length in zip(sums, lengths, strict=True)]


def entropy(scores: Sequence[float]) -> float:
    """Entropy of the softmax of the scores, in nats."""
    top = max(scores)
    shares = [math.exp(score - top) for score in scores]
    total = sum(shares)
    return -sum(share / total * math.log(share / total) for share in shares if share > 0)
