"""Which methods are offered, when they are refused, and that nothing is imported for them early."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec

import pytest

import gilot_plugin
from gilot_plugin.attribution.methods import PromptMethod
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.baselines import builtins
from gilot_plugin.errors import ConfigError
from gilot_plugin.plugins import offers
from gilot_plugin.resolve import make_recipe
from gilot_plugin.settings.config import GilotConfig

OF_CAPTUM = (
    *("lime", "kernel_shap", "shapley_sampling", "feature_ablation"),
    *("integrated_gradients", "input_x_gradient"),
)
OTHERS = ("attention_rollout", "random")


@pytest.fixture
def without_captum(monkeypatch):
    found = builtins.find_spec

    def find(name: str) -> ModuleSpec | None:
        return None if name == "captum" else found(name)

    monkeypatch.setattr(builtins, "find_spec", find)


def test_all_methods_are_offered():
    offered = offers.attribution_methods()
    unsigned = [name for name in offered if not name.startswith("signed_")]
    assert unsigned[-len(OF_CAPTUM) - len(OTHERS) :] == [*OF_CAPTUM, *OTHERS]
    for name in (*OF_CAPTUM, *OTHERS):
        method = offered[name]
        assert isinstance(method, PromptMethod)
        assert method.unavailable is None
        assert GilotConfig(methods=[name]).methods == (name,)


@pytest.mark.usefixtures("without_captum")
def test_without_captum_its_methods_say_what_they_need():
    offered = offers.attribution_methods()
    for name in OF_CAPTUM:
        assert "pip install 'gilot-plugin[baselines]'" in offered[name].summary
        with pytest.raises(ConfigError, match=f"'{name}' needs the extra baselines: pip install"):
            GilotConfig(methods=["ot", name])
    assert GilotConfig(methods=list(OTHERS)).methods == OTHERS


def test_methods_are_listed_without_what_they_need_later():
    code = (
        "import sys; from gilot_plugin.plugins import offers; offers.attribution_methods(); "
        "print({'captum', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_model_that_a_method_cannot_explain_is_refused_before_anything_is_scored(
    tiny_model, tiny_tokenizer
):
    backend = TransformersBackend(tiny_model("mamba"))
    config = GilotConfig(methods=["ot", "attention_rollout"])
    with pytest.raises(ConfigError, match=r"'attention_rollout' cannot explain this model: .* leave it out"):
        make_recipe(config, backend, tiny_tokenizer)
    assert backend.model_tokens == 0
    others = GilotConfig(methods=["ot", "integrated_gradients", "random"])
    assert len(make_recipe(others, backend, tiny_tokenizer).methods) == 3


def test_every_method_without_gilot(tiny_model, tiny_tokenizer):
    """From the Python interface, alone, without a distance among them."""
    model, names = tiny_model("llama"), [*OF_CAPTUM, *OTHERS]
    settings = {"methods": names, "units": "word", "num_threads": 1, "batch_size": 16}
    found = gilot_plugin.attribute(model, tiny_tokenizer, "A bird can fly; a dog cannot fly.", settings)
    assert list(found.scores) == names
    assert all(len(scores) == len(found.units) > 5 for scores in found.scores.values())
    assert {*names, "total"} <= set(found.diagnostics.seconds)
    assert found.diagnostics.model_tokens > 1000
    # Alone or together, a method says the same.
    alone = gilot_plugin.attribute(
        model, tiny_tokenizer, "A bird can fly; a dog cannot fly.", {**settings, "methods": ["lime"]}
    )
    assert alone.scores["lime"] == pytest.approx(found.scores["lime"], abs=1e-3)


def test_a_training_model_is_explained_without_its_dropout_and_left_training(make_tiny_model, tiny_tokenizer):
    model = make_tiny_model("gpt2", attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5)
    settings = {"methods": ["integrated_gradients", "attention_rollout"], "num_threads": 1}
    expected = gilot_plugin.attribute(model, tiny_tokenizer, "A bird can fly", settings)
    model.train()
    found = gilot_plugin.attribute(model, tiny_tokenizer, "A bird can fly", settings)
    assert model.training
    for name, scores in expected.scores.items():
        assert found.scores[name] == pytest.approx(scores, rel=1e-4, abs=1e-5)
