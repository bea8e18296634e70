"""Methods that take sets of units away, from captum: how the log-probability of the answer depends on them.

A positive score says that the unit makes the model's answer likelier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from math import ceil, comb
from typing import Any

import torch

from gilot_plugin.attribution.methods import MethodContext, OutcomeMethod
from gilot_plugin.attribution.schemes.readings import usual_coalitions
from gilot_plugin.baselines.chance import torch_draws

#: Gives the worth of each coalition, ``[coalitions]``, from which units are there, ``[coalitions, units]``.
Worth = Callable[[torch.Tensor], torch.Tensor]

#: Width of the kernel of LIME, in cosine distances; that of LIME's own explainer of texts
#: (Ribeiro et al. 2016; ``lime_text.py`` has 25 for distances times 100).
_KERNEL_WIDTH = 0.25

#: Weight that holds the sum of the attributions to what all units do together, as captum's KernelShap has it.
_HELD = 1e6


def feature_ablation(context: MethodContext) -> list[float]:
    """What the answer's log-probability loses without each unit, in nats."""
    from captum.attr import FeatureAblation

    everybody, nobody = _ends(context)
    return _attributed(
        context,
        lambda worth: FeatureAblation(worth).attribute(
            everybody, nobody, perturbations_per_eval=len(context.units)
        ),
    )


def lime(
    context: MethodContext, samples: int | None = None, measure: OutcomeMethod | None = None
) -> list[float]:
    """Coefficients of a ridge regression on random coalitions, weighted by their likeness to the full prompt.

    Each unit is there with probability 1/2; a coalition's weight falls with its cosine distance (Ribeiro et
    al. 2016, section 3.3).

    Args:
        context: The prompt and its units.
        samples: Coalitions; None for :func:`usual_coalitions`.
        measure: See :func:`gilot_plugin.baselines.games.played`.
    """
    if len(context.units) == 1:  # the kernel gives the only other coalition next to no weight
        return _attributed(context, lambda worth: -worth(torch.zeros(1, 1)), measure)
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import Lime
    from captum.attr._core.lime import get_exp_kernel_similarity_function

    everybody, nobody = _ends(context)
    count = samples or usual_coalitions(len(context.units))
    return _attributed(
        context,
        lambda worth: Lime(
            worth, SkLearnRidge(alpha=1.0), get_exp_kernel_similarity_function("cosine", _KERNEL_WIDTH)
        ).attribute(everybody, nobody, n_samples=count, perturbations_per_eval=count),
        measure,
    )


def kernel_shap(context: MethodContext, samples: int | None = None) -> list[float]:
    """Shapley values by weighted regression (Lundberg and Lee 2017, theorem 2).

    Where there are no more coalitions than would be drawn, all of them are read and the values are exact.

    Args:
        context: The prompt and its units.
        samples: Coalitions; None for :func:`usual_coalitions`.
    """
    from captum.attr import KernelShap

    everybody, nobody = _ends(context)
    count = samples or usual_coalitions(len(context.units))
    if 2 ** len(context.units) <= count:
        return _attributed(context, lambda worth: _exact_shap(worth, everybody, nobody))
    return _attributed(
        context,
        lambda worth: KernelShap(worth).attribute(
            everybody, nobody, n_samples=count, perturbations_per_eval=count
        ),
    )


def shapley_sampling(context: MethodContext, permutations: int | None = None) -> list[float]:
    """Shapley values over random orders in which the units come (Castro et al. 2009).

    Args:
        context: The prompt and its units.
        permutations: Orders; None for as many as ask for about :func:`usual_coalitions` coalitions.
    """
    from captum.attr import ShapleyValueSampling

    everybody, nobody = _ends(context)
    units = len(context.units)
    count = permutations or ceil(usual_coalitions(units) / units)

    def attribute(worth: Worth) -> torch.Tensor:
        method = ShapleyValueSampling(worth)
        orders = list(method.permutation_generator(units, count))
        method.permutation_generator = lambda *_: orders
        # It asks for one order after the other; all at once, they go through the model in full batches.
        worth(torch.cat([torch.eye(units)[order].cumsum(dim=0) for order in orders]))
        found: torch.Tensor = method.attribute(
            everybody, nobody, n_samples=count, perturbations_per_eval=units
        )
        return found

    return _attributed(context, attribute)


def _attributed(
    context: MethodContext, attribute: Callable[[Worth], torch.Tensor], measure: OutcomeMethod | None = None
) -> list[float]:
    """Let a method of captum ask the prompt's game, with random numbers of its own.

    A coalition is worth what it keeps: 0 with all units, less by as much as the measure rises without some.

    Args:
        context: The prompt and its units.
        attribute: The method; it may ask as often as it likes.
        measure: What is measured; None for the log-probability of the model's answer.

    Returns:
        What the method gives, as a flat list.
    """
    game = context.game
    of = game.target.answer_measure if measure is None else measure

    def worth(present: torch.Tensor) -> torch.Tensor:
        # In double precision, so that differences keep their digits where libraries go on in single.
        return -torch.tensor(game.values(~present.bool(), [of]).means(of.name), dtype=torch.float64)

    with torch_draws(context):
        found: list[float] = attribute(worth).flatten().tolist()
    return found


def _ends(context: MethodContext) -> tuple[torch.Tensor, torch.Tensor]:
    """All units and none, ``[1, units]`` each."""
    everybody = torch.ones(1, len(context.units))
    return everybody, torch.zeros_like(everybody)


def _exact_shap(worth: Worth, everybody: torch.Tensor, nobody: torch.Tensor) -> torch.Tensor:
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
    found: torch.Tensor = Lime(worth, SkLearnLinearRegression(), weight, every_coalition).attribute(
        everybody, nobody, n_samples=count, perturbations_per_eval=count
    )
    return found
