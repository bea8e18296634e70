"""The published procedure, written serially: what an attribution costs without this package.

One prompt at a time: beam search with ``generate``, a second forward pass for the probabilities, and IPOT
with 1000 iterations on the support (GiLOT, Li et al. 2024). Shares no code with the package.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one attribution.

    Attributes:
        model: Generation and scoring.
        transport: Solving the transport problems.
    """

    model: float
    transport: float

    @property
    def total(self) -> float:
        """Both together."""
        return self.model + self.transport


def attribute_serially(model: Any, token_ids: list[int], num_beams: int, max_new_tokens: int) -> Cost:
    """Attribute every token of a prompt, one after the other."""
    started = time.perf_counter()
    distributions = [
        _outcome(model, token_ids, absent, num_beams, max_new_tokens)
        for absent in (None, *range(len(token_ids)))
    ]
    searched = time.perf_counter()
    for distribution in distributions[1:]:
        _transport(model, distributions[0], distribution)
    return Cost(searched - started, time.perf_counter() - searched)


@torch.no_grad()
def _outcome(
    model: Any, token_ids: list[int], absent: int | None, num_beams: int, max_new_tokens: int
) -> np.ndarray:
    ids = torch.tensor([token_ids])
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
        position_ids=torch.arange(sequences.shape[1]).expand(num_beams, -1),
    ).logits
    probabilities = logits[:, len(token_ids) - 1 :].softmax(-1)
    weights = probabilities[:, :-1].gather(2, answers.unsqueeze(-1)).squeeze(-1).prod(dim=1, keepdim=True)
    return ((weights * probabilities[:, -1]).sum(0) / weights.sum()).double().numpy()


def _transport(model: Any, source: np.ndarray, target: np.ndarray) -> float:
    kept = []
    for distribution in (source, target):
        order = np.argsort(-distribution)[:1000]
        kept.append(order[: int(np.searchsorted(distribution[order].cumsum(), 0.9999)) + 1])
    support = np.union1d(*kept)
    vectors = torch.nn.functional.normalize(model.get_input_embeddings().weight[support].detach(), dim=1)
    costs = (1 - vectors @ vectors.T).double().numpy()
    mu, nu = (d[support] / d[support].sum() + 1e-4 for d in (source, target))
    plan = np.full(costs.shape, 1 / len(support) ** 2)
    kernel, right = np.exp(-costs / 2), np.full(len(support), 1 / len(support))
    for _ in range(1000):
        scaled = kernel * plan
        left = mu / (scaled @ right)
        right = nu / (scaled.T @ left)
        plan = left[:, None] * scaled * right
    return float((plan * costs).sum())
