"""Models in half precision against the serial computation in the same type, and in single precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

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
    # Logits of size 8 are off by 8 units of round-off at most, and so are the logarithms that KL sums, twice;
    # probabilities are off by a share of that.
    unit = torch.finfo(dtype).eps
    for name, tolerance in (("ot", 2 * unit), ("l2", 2 * unit), ("kl", 16 * unit)):
        values = [getattr(scores, name) for scores in expected]
        np.testing.assert_allclose(attribution.scores[name], values, rtol=0, atol=tolerance, err_msg=name)
    single = engine_calls.generation(tiny_model(family), PROMPT, EVERY_TOKEN, **SIZES)
    for name, values in single.scores.items():
        correlation = spearmanr(attribution.scores[name], values).statistic
        assert correlation > LEAST_CORRELATION[dtype], (name, correlation)
        assert attribution.scores[name] != values


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_numbers_are_single_precision(make_tiny_model, dtype):
    model = make_tiny_model("gemma2").to(dtype)
    backend = TransformersBackend(model)
    rows = backend.embeddings(torch.tensor([3, 5]))
    assert rows.dtype == torch.float32
    # Gemma scales what it looks up, which angles do not mind.
    scaled = model.get_input_embeddings()(torch.tensor([3, 5])).float()
    assert torch.equal(rows, scaled.detach())
    assert backend.row_bytes(10, 1) - backend.row_bytes(0, 1) == 10 * 2 * 2 * 2 * 8 * 2
