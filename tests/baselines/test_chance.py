"""Random scores belong to a prompt and a seed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from gilot_plugin.baselines.chance import random_scores
from tests.attribution.engine_calls import PROMPT
from tests.baselines.contexts import context_of


def test_same_prompt_and_seed_have_the_same_scores(tiny_model):
    model, other = tiny_model("llama"), tiny_model("gpt2")
    first = random_scores(context_of(model))
    assert first == random_scores(context_of(model)) == random_scores(context_of(other, batch_size=1))
    assert all(0 <= score < 1 for score in first)


def test_other_prompts_and_seeds_have_other_scores(tiny_model):
    model = tiny_model("llama")
    reversed_prompt = PROMPT[::-1]
    found = [
        random_scores(context_of(model)),
        random_scores(context_of(model, reversed_prompt)),
        random_scores(context_of(model, seed=1)),
    ]
    rankings = {tuple(np.argsort(scores).tolist()) for scores in found}
    assert len(rankings) == 3


def test_another_process_has_the_same_scores(tiny_model):
    code = f"import numpy as np; print(np.random.default_rng([0, *{PROMPT}]).random(5).tolist())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(random_scores(context_of(tiny_model("llama"))))
