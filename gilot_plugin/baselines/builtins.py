"""Built-in plugin: attribution methods to compare with, those of captum where it is installed."""

from __future__ import annotations

from importlib.util import find_spec

from gilot_plugin.attribution.methods import AttributionMethod, PromptMethod
from gilot_plugin.deferred import Deferred
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
        ("lime", "captum's LIME: linear model of the answer's log-probability, random words absent", False),
        ("kernel_shap", "captum's kernel SHAP: Shapley values by regression", True),
        ("shapley_sampling", "captum's Shapley values over random orders of the units", True),
        ("feature_ablation", "captum's ablation of single units; equals logprob", True),
    )
    differentiating = (
        (
            "integrated_gradients",
            "captum's integrated gradients by embeddings, from end-of-sequence tokens",
        ),
        ("input_x_gradient", "captum's embedding times gradient"),
    )
    return (
        *(
            PromptMethod(
                name,
                summary + note,
                Deferred(f"gilot_plugin.baselines.perturbation:{name}"),
                unavailable=why,
                needs_answer=of_single_units,
            )
            for name, summary, of_single_units in perturbing
        ),
        *(
            PromptMethod(
                name,
                summary + note,
                Deferred(f"gilot_plugin.baselines.gradients:{name}"),
                Deferred("gilot_plugin.baselines.gradients:refuses_gradients"),
                why,
            )
            for name, summary in differentiating
        ),
        PromptMethod(
            "attention_rollout",
            "attention followed through the layers to each unit",
            Deferred("gilot_plugin.baselines.rollout:attention_rollout"),
            Deferred("gilot_plugin.baselines.rollout:refuses_rollout"),
        ),
        PromptMethod(
            "random",
            "random numbers, the same for the same prompt and seed",
            Deferred("gilot_plugin.baselines.chance:random_scores"),
        ),
    )
