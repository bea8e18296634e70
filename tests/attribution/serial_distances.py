"""The distances once more, written plainly in float64 and with nothing of the package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import ot
import torch
from numpy.typing import NDArray
from scipy.special import entr

FloatArray = NDArray[np.float64]


class Scores(NamedTuple):
    """What the absence of a unit does: the distances, and the size of the largest transport problem."""

    ot: float
    kl: float
    l2: float
    js: float
    tv: float
    support: int
    logprob: float = float("nan")
    margin: float = float("nan")


def compare(
    present: FloatArray,
    absent: FloatArray,
    embeddings: torch.Tensor,
    ground_cost: str = "cosine",
    **known: float,
) -> Scores:
    """The distances, with the default support: 0.9999 of the mass, at most 1000 outcomes."""
    chosen = sorted(_likeliest(present) | _likeliest(absent))
    a, b = present[chosen] / present[chosen].sum(), absent[chosen] / absent[chosen].sum()
    least = float(np.finfo(np.float32).tiny)
    logs = np.log(np.maximum(present, least)) - np.log(np.maximum(absent, least))
    return Scores(
        ot=float(ot.emd2(a, b, ground_costs(embeddings[chosen], ground_cost), numItermax=1_000_000)),
        kl=float((present * logs).sum()),
        l2=float(np.sqrt(((present - absent) ** 2).sum())),
        js=float((entr((present + absent) / 2) - entr(present) / 2 - entr(absent) / 2).sum()),
        tv=float(np.maximum(present - absent, 0.0).sum()),
        support=len(chosen),
        **known,
    )


def cosine_costs(embeddings: torch.Tensor) -> FloatArray:
    """1 - cos between each two rows."""
    vectors = embeddings.detach().double().numpy()
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.where(norms > 0, norms, 1.0)  # padding embeddings may be 0: orthogonal to all
    costs: FloatArray = 1.0 - vectors @ vectors.T
    np.fill_diagonal(costs, 0.0)
    return costs


def ground_costs(embeddings: torch.Tensor, name: str) -> FloatArray:
    """Costs between each two rows; which embeddings they are is the caller's business."""
    costs = cosine_costs(embeddings)
    if name == "angular":
        return np.arccos(np.clip(1.0 - costs, -1.0, 1.0)) / np.pi
    return np.minimum(costs, 0.5) if name == "truncated" else costs


def embeddings_of(model: Any, ground_cost: str) -> torch.Tensor:
    """The model's table of embeddings that a ground cost is made of, ``[vocab, dim]``, float64."""
    layer = model.get_output_embeddings() if ground_cost == "output" else model.get_input_embeddings()
    table = layer.weight.detach().double()
    return table - table.mean(dim=0) if ground_cost == "centered" else table


def mean(steps: Sequence[Scores]) -> Scores:
    """Average over steps; the size is that of the largest problem."""
    averages: dict[str, Any] = {
        name: float(np.mean([getattr(step, name) for step in steps])) for name in Scores._fields
    }
    return Scores(**{**averages, "support": max(step.support for step in steps)})


def margin(log_likelihoods: FloatArray, gold: Sequence[int]) -> float:
    """Log-likelihood of the best right choice less that of the best wrong one."""
    wrong = [value for number, value in enumerate(log_likelihoods) if number not in gold]
    return float(max(log_likelihoods[number] for number in gold) - max(wrong))


def _likeliest(probabilities: FloatArray) -> set[int]:
    chosen: set[int] = set()
    mass = 0.0
    for token in np.argsort(-probabilities, kind="stable")[:1000]:
        chosen.add(int(token))
        mass += probabilities[token]
        if mass >= 0.9999:
            break
    return chosen
