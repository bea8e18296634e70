"""A tiny model as lm-eval takes it: a folder, or a model object of its own."""

from __future__ import annotations

import copy
import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import lm_eval.evaluator
import pytest
from lm_eval.models.huggingface import HFLM
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from gilot_plugin.plugins.manager import manager


@pytest.fixture(autouse=True)
def _no_environment_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval asks pip and the system about themselves, which takes most of the time of a tiny evaluation."""
    monkeypatch.setattr(lm_eval.evaluator, "add_env_info", lambda results: None)


@pytest.fixture(scope="session")
def tokenizer(tiny_tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The tiny tokenizer; puts the beginning of sequence first unless told not to."""
    made = copy.deepcopy(tiny_tokenizer)
    bos = made.bos_token
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, made.bos_token_id)]
    )
    return made


@pytest.fixture(scope="session")
def build_model(make_tiny_model: Callable[..., Any]) -> Callable[..., Any]:
    """Builds a new tiny Llama with room for few-shot prompts."""
    return lambda **settings: make_tiny_model("llama", **{"max_position_embeddings": 512, **settings})


@pytest.fixture(scope="session")
def model_dir(
    tmp_path_factory: pytest.TempPathFactory,
    build_model: Callable[..., Any],
    tokenizer: PreTrainedTokenizerFast,
) -> Path:
    """Folder with model and tokenizer, for ``model="hf"`` and ``pretrained=...``."""
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    build_model().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def shared_model(build_model: Callable[..., Any]) -> Any:
    """A model that no test changes."""
    return build_model()


@pytest.fixture
def make_lm(shared_model: Any, tokenizer: PreTrainedTokenizerFast) -> Callable[..., HFLM]:
    """Builds lm-eval's model object: ``make_lm(batch_size=2, max_length=32)``, around ``model`` if given."""

    def make(model: Any = None, **settings: Any) -> HFLM:
        pretrained = shared_model if model is None else model
        return HFLM(
            pretrained=pretrained, tokenizer=copy.deepcopy(tokenizer), **{"batch_size": 2, **settings}
        )

    return make


@pytest.fixture(scope="session")
def forked() -> BaseContext:
    """Starts processes that have imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.harness.processes"])
    return context


@pytest.fixture
def plugged() -> Iterator[Callable[[Any], Any]]:
    """Registers plugins for the time of the test."""
    registered: list[Any] = []

    def plug(plugin: Any) -> Any:
        manager().register(plugin)
        registered.append(plugin)
        return plugin

    yield plug
    for plugin in registered:
        manager().unregister(plugin)
