"""Load a model as lm-eval does, without an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lm_eval.api.registry

from gilot_plugin.backends.scorer import Scorer
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.errors import ConfigError, UnsupportedModelError
from gilot_plugin.harness.entry.engines import engine_scorer, telling_engines
from gilot_plugin.harness.state.model_arguments import parse_model_args
from gilot_plugin.harness.state.model_classes import is_engine

#: The model that attaches this package to another one, which its argument ``base`` names.
_ATTACHED, _BASE = "gilot", "base"

#: Where ``lm_eval run`` puts a model: on a CPU where there is no such GPU.
_DEVICE = "cuda:0"


@dataclass(frozen=True)
class ModelSource:
    """What lm-eval needs to load a model.

    Attributes:
        model: Name of lm-eval's model class.
        arguments: For it, e.g. ``{"pretrained": "gpt2"}``.
        device: For it.
        batch_size: For it; None for its default. Attributions find their own.
    """

    model: str
    arguments: Mapping[str, Any]
    device: str
    batch_size: str | int | None = None

    @property
    def arguments_text(self) -> str:
        """The arguments as ``--model_args`` takes them."""
        return ",".join(f"{name}={value}" for name, value in self.arguments.items())


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model, and what attributions need of it.

    Attributes:
        lm: lm-eval's model object.
        backend: Around the model.
    """

    lm: Any
    backend: TransformersBackend

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        return self.lm.tokenizer

    @property
    def model(self) -> Any:
        """The module itself."""
        return self.lm._model

    @property
    def empty_prompt_id(self) -> int | None:
        """Token that lm-eval feeds where a context is empty."""
        found: int | None = self.lm.prefix_token_id
        return found

    def new_backend(self) -> TransformersBackend:
        """A backend that remembers nothing of the model's weights."""
        return backend_of(self.lm)


def model_source(
    recorded: Mapping[str, Any],
    *,
    model: str | None = None,
    model_args: str | None = None,
    device: str | None = None,
    batch_size: str | None = None,
) -> ModelSource:
    """Find out which model to load.

    Args:
        recorded: What an evaluation was called with (``config`` of lm-eval's results); empty if unknown.
        model: Name of lm-eval's model class, instead.
        model_args: Arguments instead, as ``key=value,...``.
        device: Device instead.
        batch_size: Batch size instead.

    Raises:
        ConfigError: There is nothing that says what to load, or it is malformed.
    """
    name = model or str(recorded.get("model") or "hf")
    if model_args is not None:
        arguments = parse_model_args(model_args)
    else:
        given = recorded.get("model_args")
        arguments = dict(given) if isinstance(given, Mapping) else parse_model_args(str(given or ""))
    if name == _ATTACHED:
        name = str(arguments.get(_BASE, "hf"))
        arguments = {
            key: value
            for key, value in arguments.items()
            if key not in (_BASE, _ATTACHED) and not key.startswith(f"{_ATTACHED}.")
        }
    if not arguments:
        raise ConfigError(
            "which model to load is not known: give --model_args pretrained=NAME_OR_PATH, as for lm-eval"
        )
    try:
        lm_eval.api.registry.get_model(name)
    except (ValueError, KeyError) as error:
        raise ConfigError(f"--model {name}: {error}") from None
    except ImportError as error:
        if model is not None:  # what scored the samples need not be there to explain them by another class
            raise ConfigError(f"--model {name}: {error}") from None
    found = batch_size or _batch_size(recorded)
    return ModelSource(name, arguments, device or recorded.get("device") or _DEVICE, found)


def _batch_size(recorded: Mapping[str, Any]) -> str | int | None:
    """The evaluation's batch size: where it was searched for, the smallest that was found.

    That is the one of the longest requests. Answers of other batches may differ in their last digits.
    """
    given = recorded.get("batch_size")
    if str(given).isdigit():
        return given
    found = recorded.get("batch_sizes")
    sizes = [size for size in found if isinstance(size, int) and size > 0] if isinstance(found, list) else []
    return min(sizes, default=None) if str(given).startswith("auto") else None


def load_model(source: ModelSource) -> LoadedModel:
    """Load a model that is to be attributed, and looked into.

    Raises:
        UnsupportedModelError: It cannot be attributed, or is not in this process.
        ConfigError: lm-eval cannot load it.
    """
    if source.model == "vllm":
        raise UnsupportedModelError(
            "--model vllm: its engine explains samples (gilot run, gilot explain), and the model itself is "
            "needed here: give --model hf --model_args pretrained=NAME_OR_PATH"
        )
    lm = load_lm(source)
    return LoadedModel(lm, backend_of(lm))


def load_explained(source: ModelSource) -> Any:
    """Load a model whose samples are to be explained.

    Returns:
        lm-eval's model object.

    Raises:
        UnsupportedModelError: It cannot be attributed.
        ConfigError: lm-eval cannot load it.
    """
    lm = load_lm(source)
    scorer_of(lm)
    return lm


def load_lm(source: ModelSource) -> Any:
    """Load a model through lm-eval's own class, so that all of its arguments work.

    Returns:
        lm-eval's model object, of any class.

    Raises:
        ConfigError: lm-eval cannot load it.
    """
    found = lm_eval.api.registry.get_model(source.model)
    further = {"device": source.device, "batch_size": source.batch_size}
    try:
        with telling_engines(source.model, {}):
            return found.create_from_arg_obj(dict(source.arguments), further)
    except (ValueError, TypeError, OSError, RuntimeError, AssertionError) as error:
        # The last two are torch's, of a device that is not there or too small.
        raise ConfigError(
            f"--model {source.model} --model_args {source.arguments_text}: lm-eval cannot load it: {error}"
        ) from error


def scorer_of(lm: Any) -> Scorer:
    """The runtime around lm-eval's model object.

    Raises:
        UnsupportedModelError: It cannot be attributed.
    """
    if is_engine(lm) and not getattr(lm, "MULTIMODAL", False):
        return engine_scorer(lm)
    return backend_of(lm)


def backend_of(lm: Any) -> TransformersBackend:
    """The backend around the model of lm-eval's model object, where that is a module in this process.

    Raises:
        UnsupportedModelError: It cannot be attributed.
    """
    model = getattr(lm, "_model", None)
    if model is None or getattr(lm, "tokenizer", None) is None:
        raise UnsupportedModelError(
            f"lm-eval's model {type(lm).__name__!r} cannot be attributed: GiLOT needs the next-token "
            "distributions and the token embeddings, which models of type 'hf' and 'vllm' have; evaluate "
            "with --log_samples, and have `gilot explain` explain the samples with a checkpoint of the model"
        )
    if getattr(lm, "MULTIMODAL", False):
        raise UnsupportedModelError(
            f"lm-eval's model {type(lm).__name__!r} cannot be attributed: GiLOT takes words away, and part "
            "of what this model reads are images or sounds"
        )
    return TransformersBackend(model, getattr(lm, "mixed_precision_dtype", None))
