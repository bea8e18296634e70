"""Explain one prompt from Python, without an evaluation.

    python examples/attribute_prompt.py [MODEL] [PROMPT]

MODEL is a name on the hub or a folder; the default is downloaded on first use.
"""

# %% A model and its tokenizer, as usual. GiLOT runs where the model is.
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import gilot_plugin

name = sys.argv[1] if len(sys.argv) > 1 else "HuggingFaceTB/SmolLM2-135M-Instruct"
prompt = sys.argv[2] if len(sys.argv) > 2 else "The box is red. The ball is blue. The colour of the box is"
tokenizer = AutoTokenizer.from_pretrained(name)
device = "cuda" if torch.cuda.is_available() else "cpu"
model = AutoModelForCausalLM.from_pretrained(name, dtype="auto", device_map=device)

# %% Take each word away and see how far the distribution of what comes next moves.
config = gilot_plugin.GilotConfig(preset="paper", max_new_tokens=3)
attribution = gilot_plugin.attribute(model, tokenizer, prompt, config)

print("What the model would say:")
for hypothesis in attribution.hypotheses:
    print(f"  {hypothesis.probability:.2f}  {hypothesis.text!r}")

# %% Words by importance, each with the largest change that its absence makes.
scores = attribution.scores["ot"]
for index in sorted(range(len(scores)), key=lambda i: -scores[i]):
    unit, flows = attribution.units[index], attribution.flows[index]
    moved = [f"{flow.mass:.2f} from {flow.from_token!r} to {flow.to_token!r}" for flow in flows[:1]]
    print(f"{scores[index]:6.3f}  {unit.text!r:12}", *moved)
