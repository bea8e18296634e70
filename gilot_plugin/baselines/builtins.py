"""Built-in plugin: attribution methods to compare with, those of captum where it is installed."""

from __future__ import annotations

from importlib.util import find_spec

from gilot_plugin.attribution.methods import AttributionMethod, PromptMethod
from gilot_plugin.baselines.chance import random_scores
from gilot_plugin.baselines.gradients import input_x_gradient, integrated_gradients, refuses_gradients
from gilot_plugin.baselines.perturbation import feature_ablation, kernel_shap, lime, shapley_sampling
from gilot_plugin.baselines.rollout import attention_rollout, refuses_rollout
from gilot_plugin.hookspecs import hookimpl


def missing(package: str) -> str | None:
    """Why methods of a package cannot be used, in words; None if it is installed. Does not import it."""
    if find_spec(package) is not None:
        return None
    return "needs the extra baselines: pip install 'gilot-plugin[baselines]'"


@hookimpl
def gilot_attribution_methods() -> tuple[AttributionMethod, ...]:
    """Methods that explain the log-probability of the model's answer; attention; chance."""
    why = missing("captum")
    note = "" if why is None else f" ({why})"
    perturbing = (
        (
            "lime",
            "captum's LIME: linear model of the answer's log-probability, random words absent",
            lime,
            False,
        ),
        ("kernel_shap", "captum's kernel SHAP: Shapley values by regression", kernel_shap, True),
        (
            "shapley_sampling",
            "captum's Shapley values over random orders of the units",
            shapley_sampling,
            True,
        ),
        ("feature_ablation", "captum's ablation of single units; equals logprob", feature_ablation, True),
    )
    differentiating = (
        (
            "integrated_gradients",
            "captum's integrated gradients by embeddings, from end-of-sequence tokens",
            integrated_gradients,
        ),
        ("input_x_gradient", "captum's embedding times gradient", input_x_gradient),
    )
    return (
        *(
            PromptMethod(name, summary + note, score, unavailable=why, needs_answer=of_single_units)
            for name, summary, score, of_single_units in perturbing
        ),
        *(
            PromptMethod(name, summary + note, score, refuses_gradients, why)
            for name, summary, score in differentiating
        ),
        PromptMethod(
            "attention_rollout",
            "attention followed through the layers to each unit",
            attention_rollout,
            refuses_rollout,
        ),
        PromptMethod("random", "random numbers, the same for the same prompt and seed", random_scores),
    )
