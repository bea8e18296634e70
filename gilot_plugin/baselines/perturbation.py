"""Methods that take sets of units away, from captum: how the log-probability of the answer depends on them.

A positive score says that the unit makes the model's answer likelier.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import ceil, comb
from typing import Any

import torch

from gilot_plugin.attribution.methods import MethodContext
from gilot_plugin.baselines.games import Value, Values, answer_logprobs, played

#: Coalitions that are drawn: some for any prompt and more for each unit, so that a linear model is well
#: determined, up to a most; beyond it still twice as many as units.
_DRAWN, _DRAWN_A_UNIT, _MOST_DRAWN, _LEAST_A_UNIT = 64, 8, 2048, 2

#: Width of the kernel of LIME, in cosine distances; that of LIME's own explainer of texts
#: (Ribeiro et al. 2016; ``lime_text.py`` has 25 for distances times 100).
_KERNEL_WIDTH = 0.25

#: Weight that holds the sum of the attributions to what all units do together, as captum's KernelShap has it.
_HELD = 1e6


def drawn(units: int) -> int:
    """Number of coalitions that LIME and kernel SHAP draw, and about as many as Shapley sampling reads."""
    return max(_LEAST_A_UNIT * units, min(_DRAWN + _DRAWN_A_UNIT * units, _MOST_DRAWN))


def feature_ablation(context: MethodContext) -> list[float]:
    """What the answer's log-probability loses without each unit, in nats."""
    from captum.attr import FeatureAblation

    everybody, nobody = _ends(context)
    return played(
        context,
        lambda value: FeatureAblation(value).attribute(
            everybody, nobody, perturbations_per_eval=len(context.units)
        ),
    )


def lime(context: MethodContext, samples: int | None = None, values: Values = answer_logprobs) -> list[float]:
    """Coefficients of a ridge regression on random coalitions, weighted by their likeness to the full prompt.

    Each unit is there with probability 1/2; a coalition's weight falls with its cosine distance (Ribeiro et
    al. 2016, section 3.3).

    Args:
        context: The prompt and its units.
        samples: Coalitions; None for :func:`drawn`.
        values: What coalitions are worth.
    """
    if len(context.units) == 1:  # the kernel gives the only other coalition next to no weight
        return [-worth for worth in values(context, [context.units])]
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import Lime
    from captum.attr._core.lime import get_exp_kernel_similarity_function

    everybody, nobody = _ends(context)
    count = samples or drawn(len(context.units))
    return played(
        context,
        lambda value: Lime(
            value, SkLearnRidge(alpha=1.0), get_exp_kernel_similarity_function("cosine", _KERNEL_WIDTH)
        ).attribute(everybody, nobody, n_samples=count, perturbations_per_eval=count),
        values,
    )


def kernel_shap(context: MethodContext, samples: int | None = None) -> list[float]:
    """Shapley values by weighted regression (Lundberg and Lee 2017, theorem 2).

    Where there are no more coalitions than would be drawn, all of them are read and the values are exact.

    Args:
        context: The prompt and its units.
        samples: Coalitions; None for :func:`drawn`.
    """
    from captum.attr import KernelShap

    everybody, nobody = _ends(context)
    count = samples or drawn(len(context.units))
    if 2 ** len(context.units) <= count:
        return played(context, lambda value: _exact_shap(value, everybody, nobody))
    return played(
        context,
        lambda value: KernelShap(value).attribute(
            everybody, nobody, n_samples=count, perturbations_per_eval=count
        ),
    )


def shapley_sampling(context: MethodContext, permutations: int | None = None) -> list[float]:
    """Shapley values over random orders in which the units come (Castro et al. 2009).

    Args:
        context: The prompt and its units.
        permutations: Orders; None for as many as ask for about :func:`drawn` coalitions.
    """
    from captum.attr import ShapleyValueSampling

    everybody, nobody = _ends(context)
    units = len(context.units)
    count = permutations or ceil(drawn(units) / units)
    return played(
        context,
        lambda value: ShapleyValueSampling(value).attribute(
            everybody, nobody, n_samples=count, perturbations_per_eval=units
        ),
    )


def _ends(context: MethodContext) -> tuple[torch.Tensor, torch.Tensor]:
    """All units and none, ``[1, units]`` each."""
    everybody = torch.ones(1, len(context.units))
    return everybody, torch.zeros_like(everybody)


def _exact_shap(value: Value, everybody: torch.Tensor, nobody: torch.Tensor) -> torch.Tensor:
    """The regression over every coalition once, with the weights that make it exact."""
    from captum._utils.models.linear_model import SkLearnLinearRegression
    from captum.attr import Lime

    units = everybody.shape[1]

    def every_coalition(inputs: torch.Tensor, **_: Any) -> Iterator[torch.Tensor]:
        for present in product((0, 1), repeat=units):
            yield torch.tensor([present])

    def weight(inputs: torch.Tensor, perturbed: torch.Tensor, present: torch.Tensor, **_: Any) -> float:
        size = int(present.sum())
        return _HELD if size in (0, units) else (units - 1) / (comb(units, size) * size * (units - size))

    count = 2**units
    found: torch.Tensor = Lime(value, SkLearnLinearRegression(), weight, every_coalition).attribute(
        everybody, nobody, n_samples=count, perturbations_per_eval=count
    )
    return found
