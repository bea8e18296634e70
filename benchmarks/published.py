"""The published procedure, written serially: what an attribution costs without this package.

One prompt at a time: beam search with ``generate``, a second forward pass for the probabilities, and IPOT
with 1000 iterations on the support (GiLOT, Li et al. 2024). Shares no code with the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from timing import timed

FloatArray = NDArray[np.float64]


class Problem(NamedTuple):
    """Two outcome distributions on their joint support.

    Attributes:
        source: ``[n]``, sums to 1.
        target: ``[n]``, sums to 1.
        costs: ``[n, n]``, 1 - cosine of the embeddings.
    """

    source: FloatArray
    target: FloatArray
    costs: FloatArray


@dataclass(frozen=True, slots=True)
class SampledCost:
    """Seconds of a serial attribution, from some of its units.

    Attributes:
        units: Units of the whole prompt.
        full: Generation and scoring of the full prompt.
        model: The same for each unit that was timed.
        transport: Solving the transport problem of each unit that was timed.
    """

    units: int
    full: float
    model: tuple[float, ...]
    transport: tuple[float, ...]

    @property
    def model_total(self) -> float:
        """Generation and scoring of all units, had the others taken as long as the timed ones on average."""
        return self.full + self.units * sum(self.model) / len(self.model)

    @property
    def transport_total(self) -> float:
        """Transport of all units, on the same assumption."""
        return self.units * sum(self.transport) / len(self.transport)

    @property
    def totals(self) -> list[float]:
        """Seconds in all if every unit took as long as one of the timed ones, for each of those."""
        return [
            self.full + self.units * (model + transport)
            for model, transport in zip(self.model, self.transport, strict=True)
        ]


def evenly_spaced(units: int, wanted: int) -> list[int]:
    """Indices of so many units, each in the middle of an equal share of them."""
    wanted = min(wanted, units)
    return [(2 * share + 1) * units // (2 * wanted) for share in range(wanted)]


def time_serially(
    model: Any, token_ids: list[int], num_beams: int, max_new_tokens: int, sampled: int
) -> SampledCost:
    """Time the full prompt and an evenly spaced sample of its tokens, one after the other."""
    present, full = timed(lambda: outcome(model, token_ids, None, num_beams, max_new_tokens), model.device)
    searching, solving = [], []
    for absent in evenly_spaced(len(token_ids), sampled):
        distribution, seconds = timed(
            lambda absent=absent: outcome(model, token_ids, absent, num_beams, max_new_tokens), model.device
        )
        searching.append(seconds)
        _, seconds = timed(lambda other=distribution: ipot(problem(model, present, other)), model.device)
        solving.append(seconds)
    return SampledCost(len(token_ids), full, tuple(searching), tuple(solving))


@torch.no_grad()
def outcome(
    model: Any, token_ids: list[int], absent: int | None, num_beams: int, max_new_tokens: int
) -> FloatArray:
    """P(v | x) without one of the tokens, None for the full prompt, ``[vocab]``."""
    ids = torch.tensor([token_ids], device=model.device)
    attended = torch.ones_like(ids)
    if absent is not None:
        ids[0, absent] = attended[0, absent] = 0
    sequences = model.generate(
        ids,
        attention_mask=attended,
        num_beams=num_beams,
        num_return_sequences=num_beams,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        pad_token_id=0,
    )
    answers = sequences[:, len(token_ids) :]
    attended = torch.cat((attended.expand(num_beams, -1), torch.ones_like(answers)), dim=1)
    logits = model(
        torch.cat((ids.expand(num_beams, -1), answers), dim=1),
        attention_mask=attended,
        position_ids=torch.arange(sequences.shape[1], device=model.device).expand(num_beams, -1),
    ).logits
    probabilities = logits[:, len(token_ids) - 1 :].float().softmax(-1)
    weights = probabilities[:, :-1].gather(2, answers.unsqueeze(-1)).squeeze(-1).prod(dim=1, keepdim=True)
    found = (weights * probabilities[:, -1]).sum(0) / weights.sum()
    distribution: FloatArray = found.double().cpu().numpy()
    return distribution


def problem(model: Any, source: FloatArray, target: FloatArray) -> Problem:
    """Both distributions on the union of their supports, at most 1000 tokens each."""
    kept = []
    for distribution in (source, target):
        order = np.argsort(-distribution)[:1000]
        kept.append(order[: int(np.searchsorted(distribution[order].cumsum(), 0.9999)) + 1])
    support = np.union1d(*kept)
    embeddings = model.get_input_embeddings().weight[torch.from_numpy(support).to(model.device)]
    vectors = torch.nn.functional.normalize(embeddings.detach().float(), dim=1)
    costs = (1 - vectors @ vectors.T).double().cpu().numpy()
    return Problem(source[support] / source[support].sum(), target[support] / target[support].sum(), costs)


def ipot(given: Problem) -> float:
    """Transport cost by the inexact proximal point method (Xie et al. 2020), set as in the published code."""
    size = len(given.source)
    mu, nu = given.source + 1e-4, given.target + 1e-4
    plan = np.full((size, size), 1 / size**2)
    kernel, right = np.exp(-given.costs / 2), np.full(size, 1 / size)
    for _ in range(1000):
        scaled = kernel * plan
        left = mu / (scaled @ right)
        right = nu / (scaled.T @ left)
        plan = left[:, None] * scaled * right
    return float((plan * given.costs).sum())
