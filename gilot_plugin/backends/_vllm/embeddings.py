"""Embeddings from the files of a checkpoint: rows of a mapped file, no second copy of the model."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gilot_plugin.errors import UnsupportedModelError

#: Rows of a table that are in memory at once for their mean, in bytes of float32.
_CHUNK_BYTES = 2**26

#: What files call parameters that transformers gave another name later.
_FORMER = {"lm_head.weight": "embed_out.weight"}

#: What to do where a checkpoint cannot be read.
_WAY_OUT = "`gilot explain` explains the evaluation with --model hf"


class _Names(NamedTuple):
    """Where a model keeps its embeddings.

    Attributes:
        input: Name of the parameter.
        output: The same; None where it has none.
        prefix: What the names of the model without its head lack.
    """

    input: str
    output: str | None
    prefix: str


class CheckpointEmbeddings:
    """The embedding tables of a checkpoint in safetensors files, as an ``EmbeddingTable`` of a scorer.

    What they are called is known from the model's architecture in transformers, which takes no memory.

    Args:
        checkpoint: Folder of the checkpoint, or its name on the hub, from whose local cache it is read.
        revision: Of the name.
        trust_remote_code: Whether code of the checkpoint may be run.
        adapter: Folder of a LoRA adapter that the model is used with; None without.

    Raises:
        UnsupportedModelError: The input embeddings cannot be read, or are not what the model uses.

    Attributes:
        device: Where vectors are given out: the CPU.
    """

    device = torch.device("cpu")

    def __init__(
        self,
        checkpoint: str,
        revision: str | None = None,
        *,
        trust_remote_code: bool = False,
        adapter: str | None = None,
    ) -> None:
        self._folder = _folder_of(checkpoint, revision)
        self._names = _names_in(self._folder, trust_remote_code)
        self._adapter = None if adapter is None else Path(adapter)
        self._input = self._table(self._names.input)

    def input(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Input embeddings of the ids ``[n]``, ``[n, dim]``, float32."""
        return self._input[token_ids.cpu()].float()

    @cached_property
    def mean(self) -> torch.Tensor:
        """Mean of the input embeddings, ``[dim]``, float32; computed once."""
        rows = max(1, _CHUNK_BYTES // (4 * self._input.shape[1]))
        total = sum(part.double().sum(0) for part in torch.split(self._input, rows))
        return (torch.as_tensor(total) / len(self._input)).float()

    def output(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Output embeddings of the ids ``[n]``, ``[n, dim]``, float32.

        Raises:
            UnsupportedModelError: The model has none, or they cannot be read.
        """
        return self._output[token_ids.cpu()].float()

    @cached_property
    def _output(self) -> torch.Tensor:
        if self._names.output is None:
            raise UnsupportedModelError(
                f"ground_cost='output' cannot be used with {self._folder}: it has no output embeddings; "
                "allowed are the other ground costs, such as 'cosine'"
            )
        return self._table(self._names.output)

    def _table(self, name: str) -> torch.Tensor:
        """A matrix, mapped from its file, of which nothing is in memory but what was looked at."""
        module = name.rsplit(".", 2)[-2]
        if self._adapter is not None and module in _adapted(self._adapter):
            raise UnsupportedModelError(
                f"the adapter {self._adapter} changes the embeddings {module!r}: merge it into a checkpoint, "
                f"or {_WAY_OUT}"
            )
        table = _tensor(self._folder, name, self._names.prefix)
        if table.dim() != 2 or not table.is_floating_point() or table.element_size() < 2:
            raise UnsupportedModelError(
                f"{self._folder}: the embeddings {name} are kept as {table.dtype} of the shape "
                f"{list(table.shape)}, which are no vectors; {_WAY_OUT}"
            )
        return table


def _folder_of(checkpoint: str, revision: str | None) -> Path:
    if Path(checkpoint).is_dir():
        return Path(checkpoint)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(checkpoint, revision=revision, local_files_only=True))
    except (OSError, ValueError) as error:  # of names that are none, too
        raise UnsupportedModelError(
            f"pretrained={checkpoint!r} is neither a folder nor in the local cache of the hub, so the token "
            f"embeddings cannot be read: {error}"
        ) from error


def _names_in(folder: Path, trust_remote_code: bool) -> _Names:
    """Names of the embeddings of the checkpoint's architecture, whose weights are nowhere."""
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            make: Callable[..., Any] = AutoModelForCausalLM.from_config  # untyped
            model = make(config, trust_remote_code=trust_remote_code)
        of_input, of_output = model.get_input_embeddings(), model.get_output_embeddings()
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        tied = bool(getattr(config, "tie_word_embeddings", False))
        found = names[id(of_input.weight)]
        output = None if of_output is None else found if tied else names[id(of_output.weight)]
    except (OSError, ValueError, KeyError, AttributeError, NotImplementedError, ImportError) as error:
        raise UnsupportedModelError(
            f"{folder}: where this model keeps its embeddings is not known ({error!r}); {_WAY_OUT}"
        ) from error
    return _Names(found, output, str(model.base_model_prefix))


def _tensor(folder: Path, name: str, prefix: str) -> torch.Tensor:
    """A tensor of a checkpoint, by the name that a model with or without its head has for it."""
    from safetensors import safe_open

    bare = name.removeprefix(f"{prefix}.")
    names = (name, bare, _FORMER.get(name, name))
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - the file itself is not iterable
                if key in names or key.endswith(f".{bare}"):
                    found.setdefault(key, file.get_tensor(key))
    for key in names:
        if key in found:
            return found[key]
    if len(found) == 1:  # beneath the parts of a model of several modalities
        return next(iter(found.values()))
    raise UnsupportedModelError(f"{folder}: no file *.safetensors has the embeddings {name}; {_WAY_OUT}")


def _adapted(adapter: Path) -> set[str]:
    """Modules of which an adapter has weights, by the last parts of their names."""
    from safetensors import safe_open

    weights = adapter / "adapter_model.safetensors"
    if weights.exists():
        with safe_open(weights, framework="pt") as file:
            return {part for key in file.keys() for part in key.split(".")}  # noqa: SIM118 - as above
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    targets = (settings.get("target_modules"), settings.get("modules_to_save"))
    return {part for some in targets if isinstance(some, list) for name in some for part in name.split(".")}
