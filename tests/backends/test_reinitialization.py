from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gilot_plugin.backends.reinitialization import reinitialized
from gilot_plugin.errors import UnsupportedModelError

IDS = torch.arange(10, 16)[None]


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def unchanged(model: Any, before: dict[str, torch.Tensor]) -> bool:
    after = model.state_dict()
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


@torch.no_grad()
def test_weights_are_drawn_by_seed_and_come_back(make_tiny_model: Callable[..., Any]) -> None:
    for family in ("llama", "gpt2", "bloom"):
        model = make_tiny_model(family)
        before, said, state = weights(model), model(IDS).logits, torch.get_rng_state()
        places = {name: value.data_ptr() for name, value in model.named_parameters()}
        drawn = []
        for seed in (3, 3, 4):
            with reinitialized(model, seed):
                drawn.append(model(IDS).logits)
                # All but what is constant at the start, such as norms and biases.
                moved = [value for name, value in model.named_parameters() if value.dim() > 1]
                assert not any(torch.equal(value, before[name]) for name, value in _named(model, moved))
        assert torch.equal(drawn[0], drawn[1])
        assert not torch.allclose(drawn[0], drawn[2])
        assert not torch.allclose(drawn[0], said)
        assert unchanged(model, before)
        assert torch.equal(model(IDS).logits, said)
        assert torch.equal(torch.get_rng_state(), state)
        assert places == {name: value.data_ptr() for name, value in model.named_parameters()}


def _named(model: Any, wanted: list[torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
    return [(name, one) for name, one in model.named_parameters() if any(one is other for other in wanted)]


def test_the_new_weights_scatter_as_the_family_has_it(make_tiny_model: Callable[..., Any]) -> None:
    model = make_tiny_model("llama", initializer_range=0.1)
    with reinitialized(model, 0):
        drawn = model.get_input_embeddings().weight.detach()
        assert float(drawn.std()) == pytest.approx(0.1, rel=0.05)


def test_weights_come_back_after_an_error(make_tiny_model: Callable[..., Any]) -> None:
    model = make_tiny_model("llama")
    before = weights(model)
    with pytest.raises(KeyboardInterrupt), reinitialized(model, 0):
        raise KeyboardInterrupt
    assert unchanged(model, before)


def test_half_precision_and_adapters_stay_as_they_are(make_tiny_model: Callable[..., Any]) -> None:
    peft = pytest.importorskip("peft")
    model = make_tiny_model("llama").to(torch.bfloat16)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"]))
    before = weights(adapted)
    with reinitialized(adapted, 1):  # the tiny model's own weights are drawn with seed 0
        assert {value.dtype for value in adapted.parameters()} == {
            value.dtype for name, value in before.items() if "inv_freq" not in name
        }
        name = "base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight"
        assert not torch.equal(adapted.state_dict()[name], before[name])
        assert torch.isfinite(adapted(IDS).logits).all()
    assert unchanged(adapted, before)


def test_quantised_weights_are_refused(make_tiny_model: Callable[..., Any]) -> None:
    model = make_tiny_model("llama")
    weight = model.lm_head.weight.data.to(torch.int8)
    model.lm_head.weight = torch.nn.Parameter(weight, requires_grad=False)
    reason = r"lm_head\.weight cannot be drawn at random"
    with pytest.raises(UnsupportedModelError, match=reason), reinitialized(model, 0):
        pass


def test_weights_that_the_family_does_not_make_are_refused_and_come_back(
    make_tiny_model: Callable[..., Any],
) -> None:
    model = make_tiny_model("llama")
    model.config.intermediate_size += 1
    before = weights(model)
    with pytest.raises(UnsupportedModelError, match="its family makes"), reinitialized(model, 0):
        pass
    assert unchanged(model, before)
