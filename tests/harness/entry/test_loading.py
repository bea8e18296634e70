"""The model that a command loads: lm-eval's, with the same arguments and on the same device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gilot_plugin.errors import ConfigError, UnsupportedModelError
from gilot_plugin.harness.entry.loading import ModelSource, load_model, model_source
from gilot_plugin.harness.state.model_arguments import arguments_of_model, model_arguments


@pytest.mark.parametrize(
    ("recorded", "given", "model", "arguments"),
    [
        ({"model": "hf", "model_args": "pretrained=a,dtype=float32"}, {}, "hf", "pretrained=a,dtype=float32"),
        ({"model": "hf", "model_args": {"pretrained": "a"}}, {}, "hf", "pretrained=a"),
        (
            {"model": "gilot", "model_args": "base=hf,pretrained=a,gilot.num_beams=2,gilot=f.yaml"},
            {},
            "hf",
            "pretrained=a",
        ),
        ({"model": "hf", "model_args": "pretrained=a"}, {"model_args": "pretrained=b"}, "hf", "pretrained=b"),
    ],
)
def test_the_model_is_that_of_the_run_unless_another_is_given(
    recorded: dict[str, object], given: dict[str, str], model: str, arguments: str
) -> None:
    source = model_source(recorded, **given)  # type: ignore[arg-type]
    assert (source.model, source.arguments_text) == (model, arguments)


def test_the_batch_size_is_that_of_the_run_also_where_it_was_searched_for() -> None:
    arguments = {"pretrained": "a"}
    assert model_source({"model_args": arguments, "batch_size": "auto"}).batch_size is None
    searched = {"model_args": arguments, "batch_size": "auto:4", "batch_sizes": [16, 64, 64]}
    assert model_source(searched).batch_size == 16
    assert model_source({**searched, "batch_sizes": []}).batch_size is None
    assert model_source({**searched, "batch_sizes": ["many", 0, None]}).batch_size is None
    assert model_source(searched, batch_size="auto").batch_size == "auto"
    assert model_source({"model_args": arguments, "batch_size": 4}).batch_size == 4
    assert model_source({"model_args": arguments, "batch_size": 4}, batch_size="2").batch_size == "2"


def test_the_device_is_the_one_that_lm_eval_would_take(model_dir: Path) -> None:
    """A GPU where there is one: without any, its model class asks for one all the same."""
    arguments = f"pretrained={model_dir}"
    loaded = load_model(model_source({}, model_args=arguments))
    assert loaded.model.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert model_source({"model_args": arguments, "device": "cpu"}).device == "cpu"
    assert model_source({"model_args": arguments, "device": "cpu"}, device="cuda:1").device == "cuda:1"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_told(model_dir: Path) -> None:
    source = model_source({}, model_args=f"pretrained={model_dir}", device="cuda")
    with pytest.raises(ConfigError, match=f"pretrained={model_dir}: lm-eval cannot load it: .*CUDA"):
        load_model(source)


def test_what_makes_a_model_this_model_is_kept_and_what_opens_doors_is_not() -> None:
    call = {"model": "hf", "model_args": "pretrained=a,peft=b,revision=c,dtype=float16,token=secret"}
    found = model_arguments(call)
    assert found is not None
    assert found.model == "hf"
    assert found.arguments == {"pretrained": "a", "peft": "b", "revision": "c", "dtype": "float16"}
    typed = model_arguments({"model": "hf", "model_args": {"pretrained": "a", "dtype": torch.float16}})
    assert typed is not None
    assert typed.arguments == {"pretrained": "a", "dtype": "float16"}


@pytest.mark.parametrize(
    "call", [{}, {"model": object()}, {"model": "hf", "model_args": {"pretrained": object()}}]
)
def test_a_model_that_no_arguments_can_load_has_none(call: dict[str, object]) -> None:
    assert model_arguments(call) is None


def test_a_model_that_was_loaded_before_says_what_it_is(model_dir: Path) -> None:
    source = model_source({}, model_args=f"pretrained={model_dir},dtype=bfloat16", device="cpu")
    found = arguments_of_model(load_model(source).lm)
    assert found is not None
    assert found.arguments == {"pretrained": str(model_dir), "revision": "main", "dtype": "bfloat16"}
    assert arguments_of_model(object()) is None


def test_what_scored_the_samples_need_not_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_model(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("lm_eval.api.registry.get_model", get_model)
    arguments = {"model": "vllm", "model_args": {"pretrained": "tiny"}}
    assert model_source(arguments).model == "vllm"
    with pytest.raises(ConfigError, match="--model vllm: No module named 'vllm'"):
        model_source(arguments, model="vllm")


def test_what_looks_into_the_model_takes_no_engine() -> None:
    with pytest.raises(UnsupportedModelError, match="give --model hf"):
        load_model(ModelSource("vllm", {"pretrained": "tiny"}, "cpu"))
