"""Models in half precision against the serial computation in the same type, and in single precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from gilot_plugin.backends.scoring.sessions import Load
from gilot_plugin.backends.transformers import TransformersBackend
from tests.attribution import engine_calls, serial
from tests.attribution.engine_calls import EVERY_TOKEN, PROMPT

#: With fewer beams, the scores of these flat distributions hang on which of two hypotheses that are all but
#: equally likely is kept, which round-off decides.
SIZES = {"num_beams": 8, "max_new_tokens": 5}

#: Least rank correlation with single precision over the 14 tokens.
LEAST_CORRELATION = {torch.bfloat16: 0.85, torch.float16: 0.95}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_scores(make_tiny_model, tiny_model, family, dtype):
    model = make_tiny_model(family).to(dtype)
    attribution = engine_calls.generation(model, PROMPT, EVERY_TOKEN, **SIZES)
    expected = serial.scores(model, PROMPT, EVERY_TOKEN, **SIZES)
    single = engine_calls.generation(tiny_model(family), PROMPT, EVERY_TOKEN, **SIZES)
    for name, values in single.scores.items():
        plain = np.subtract([getattr(scores, name) for scores in expected], values)
        ours = np.subtract(attribution.scores[name], values)
        # As far off as the model is itself, typically; beams that tie but for round-off may fall otherwise.
        assert np.median(np.abs(ours)) < 2 * np.median(np.abs(plain)), name
        correlation = spearmanr(attribution.scores[name], values).statistic
        assert correlation > LEAST_CORRELATION[dtype], (name, correlation)
        assert attribution.scores[name] != values


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_numbers_are_single_precision(make_tiny_model, tiny_model, dtype):
    model = make_tiny_model("gemma2").to(dtype)
    backend, single = TransformersBackend(model), TransformersBackend(tiny_model("gemma2"))
    rows = backend.embeddings.input(torch.tensor([3, 5]))
    assert rows.dtype == torch.float32
    # Gemma scales what it looks up, which angles do not mind.
    scaled = model.get_input_embeddings()(torch.tensor([3, 5])).float()
    assert torch.equal(rows, scaled.detach())
    assert backend.memory(Load(0, 10, 0, 1, 1)).row < single.memory(Load(0, 10, 0, 1, 1)).row
