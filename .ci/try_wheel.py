"""Use an installed wheel as a stranger would: help, a run on a tiny model, a report; no repository.

Run by the interpreter of the environment that the wheel was installed into, in an empty folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import gilot_plugin

#: The command as the wheel installs it.
GILOT = Path(sys.executable).parent / "gilot"

TASK = """\
task: stranger
dataset_path: json
dataset_kwargs:
  data_files:
    test: {folder}/questions.jsonl
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  until: ["."]
  do_sample: false
  max_gen_toks: 4
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1
"""

TEXTS = ["What is the capital of France?", "Which animal can fly?", "Say 3."]


def main() -> None:
    """Say what was tried; end with the exit code and the output of the first command that fails."""
    folder = Path.cwd()
    if (folder / "pyproject.toml").exists() or any(folder.iterdir()):
        sys.exit(f"{folder} is not empty")
    home = Path(gilot_plugin.__file__).parent
    if Path(sys.prefix).resolve() not in home.resolve().parents:
        sys.exit(f"gilot_plugin was imported from {home}, not from the wheel")
    print(f"gilot-plugin {version('gilot-plugin')} in {home}")
    for arguments in (["--help"], ["--version"], ["run", "--help"], ["methods"], ["plugins"]):
        gilot(*arguments)
    (folder / "questions.jsonl").write_text(
        "".join(json.dumps({"question": text, "answer": "x"}) + "\n" for text in TEXTS), encoding="utf-8"
    )
    (folder / "tasks").mkdir()
    (folder / "tasks" / "stranger.yaml").write_text(TASK.format(folder=folder.as_posix()), encoding="utf-8")
    save_tiny_model(folder / "model")
    gilot(
        *("run", "--model", "hf", "--model_args", f"pretrained={folder / 'model'}", "--device", "cpu"),
        *("--tasks", "stranger", "--include_path", str(folder / "tasks"), "--log_samples"),
        *("--output_path", "results", "--gilot_args", "select.n=2,max_new_tokens=2"),
    )
    for arguments in (["validate", "results"], ["show", "results", "--list"], ["report", "results"]):
        gilot(*arguments)
    (report,) = (folder / "results").rglob("report_*.html")
    if report.stat().st_size < 10_000:
        sys.exit(f"{report} is hardly a report")
    records = gilot_plugin.load_run("results").records
    if [record.status for record in records] != ["ok", "ok"]:
        sys.exit(f"not explained: {[record.reason for record in records]}")


def gilot(*arguments: str) -> None:
    """Run a command of ``gilot``; what it prints is shown where it fails."""
    done = subprocess.run([GILOT, *arguments], capture_output=True, text=True)
    print(f"gilot {' '.join(arguments)}: {done.returncode}")
    if done.returncode:
        sys.exit(f"{done.stdout}\n{done.stderr}")


def save_tiny_model(folder: Path) -> None:
    """A random model of a few thousand weights with a tokenizer of bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


if __name__ == "__main__":
    main()
