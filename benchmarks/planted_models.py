"""Tiny models that learn a planted task within seconds, and the tokenizer of its words."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from numpy.typing import NDArray
from planted_tasks import BOS, EOS, FILLER, IDS, PAD, TEMPLATE, VOCABULARY, Mask, Task, Tokens, is_content
from tokenizers import Tokenizer, models, pre_tokenizers

ARCHITECTURES = ("llama", "gpt2")

#: Tokens that a model answers, all of them the answer: more than hypotheses look ahead by default.
_ANSWER_LENGTH = 6

#: Shares of right answers to full prompts, and to prompts that tokens are taken from, at which training ends.
ACCURACY, ABLATED_ACCURACY = 0.9995, 0.998

_BATCH, _CHECKED, _CHECK_EVERY, _MOST_STEPS = 64, 1000, 50, 1000
_LEARNING_RATE, _WARM_UP = 3e-3, 30

_SIZES = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    # Attention to the right token starts several times sooner than with weights of the usual scale.
    "initializer_range": 0.1,
    "bos_token_id": IDS[BOS],
    "eos_token_id": IDS[EOS],
    "pad_token_id": IDS[PAD],
}
_SETTINGS: dict[str, dict[str, Any]] = {
    "llama": {"intermediate_size": 128},
    "gpt2": {"n_inner": 128, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
}


class Ablated(NamedTuple):
    """Prompts as fed.

    Attributes:
        token_ids: ``[prompts, length]``.
        attended: Which tokens the others see, ``[prompts, length]``.
        positions: ``[prompts, length]``.
        answers: Token id of the right answer, ``[prompts]``.
    """

    token_ids: Tokens
    attended: Mask
    positions: Tokens
    answers: Tokens


class Trained(NamedTuple):
    """A model that solves a task.

    Attributes:
        model: In evaluation mode.
        steps: Batches that it took.
        accuracy: Share of right answers to full prompts, over all tokens of the answers.
        ablated_accuracy: The same of prompts that tokens are taken from.
    """

    model: Any
    steps: int
    accuracy: float
    ablated_accuracy: float


def make_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Words between spaces; the template's tokens are control tokens, which are not units."""
    words = Tokenizer(models.WordLevel(IDS, FILLER))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    controls = [text for text in TEMPLATE if text not in (BOS, EOS, PAD)]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=controls,
    )


def train(task: Task, architecture: str, seed: int = 0) -> Trained:
    """Train a model until it solves the task; the same one whenever the seed is the same.

    Args:
        task: What it learns.
        architecture: One of :data:`ARCHITECTURES`.
        seed: Of its weights and of the prompts.

    Returns:
        The model, with how well it does on prompts that it has not seen.

    Raises:
        RuntimeError: It has not learnt the task after 1000 batches; try another seed.
    """
    config = transformers.AutoConfig.for_model(architecture, **_SIZES, **_SETTINGS[architecture])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    generator, fresh = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2))
    optimizer = torch.optim.AdamW(model.parameters(), _LEARNING_RATE, betas=(0.9, 0.98))
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / _WARM_UP, total_iters=_WARM_UP)
    for step in range(1, _MOST_STEPS + 1):
        full = generator.random(_BATCH) < 0.3
        batch = ablated(task, generator, np.where(full, 0.0, generator.random(_BATCH) ** 2))
        targets = said(task, batch.answers).flatten()
        F.cross_entropy(answer_logits(model, task, batch, generator).flatten(0, 1), targets).backward()
        optimizer.step()
        warm_up.step()
        optimizer.zero_grad()
        if step % _CHECK_EVERY == 0:
            right = accuracy(model, task, ablated(task, fresh, np.zeros(_CHECKED)), fresh)
            if right > ACCURACY:
                rates = fresh.random(_CHECKED) ** 2
                ablated_right = accuracy(model, task, ablated(task, fresh, rates), fresh)
                if ablated_right > ABLATED_ACCURACY:
                    return Trained(model.eval(), step, right, ablated_right)
    raise RuntimeError(
        f"{architecture} has not learnt {task.name!r} in {_MOST_STEPS} batches: try another seed"
    )


def ablated(task: Task, generator: np.random.Generator, rates: NDArray[np.float64]) -> Ablated:
    """Draw prompts and take tokens away: in turn deleted, masked and replaced.

    Args:
        task: Whose prompts.
        generator: Of the prompts and of what is taken away.
        rates: How likely each of a prompt's tokens is taken away, ``[prompts]``.

    Returns:
        The prompts, with what the rule answers to what is left of them.
    """
    token_ids = task.draw(generator, len(rates)).token_ids
    absent = is_content(token_ids) & (generator.random(token_ids.shape) < rates[:, None])
    # Deleted: what is left closes up, behind padding.
    order = np.argsort(~absent, axis=1, kind="stable")
    left = np.take_along_axis(np.where(absent, IDS[PAD], token_ids), order, axis=1)
    replaced = np.where(absent, IDS[FILLER], token_ids)
    in_place = np.broadcast_to(np.arange(token_ids.shape[1]), token_ids.shape)
    way = generator.integers(3, size=(len(rates), 1))
    kept = left != IDS[PAD]
    return Ablated(
        np.select((way == 0, way == 1), (left, token_ids), replaced),
        np.select((way == 0, way == 1), (kept, ~absent), True),
        np.where(way == 0, np.maximum(kept.cumsum(axis=1) - 1, 0), in_place),
        np.where(way[:, 0] == 2, task.rule(replaced), task.rule(left)),
    )


def said(task: Task, answers: Tokens) -> torch.Tensor:
    """What a model says for each answer, ``[prompts, tokens]``."""
    repeated = torch.from_numpy(answers)[:, None]
    if task.ends:
        return torch.cat((repeated, torch.full_like(repeated, IDS[EOS])), dim=1)
    return repeated.expand(-1, _ANSWER_LENGTH)


def answer_logits(model: Any, task: Task, batch: Ablated, generator: np.random.Generator) -> torch.Tensor:
    """Logits of each token that is said, ``[prompts, tokens, vocab]``.

    What the model is told to have answered so far is drawn at random: it has to learn that the answer depends
    on nothing but the prompt. Otherwise it would copy its own answer, and a hypothesis would hold its ground
    without the cause.
    """
    length = said(task, batch.answers).shape[1]
    told = generator.choice(task.answers, (len(batch.token_ids), length - 1))
    token_ids = np.concatenate((batch.token_ids, told), axis=1)
    attended = np.pad(batch.attended, ((0, 0), (0, told.shape[1])), constant_values=True)
    later = batch.positions[:, -1:] + np.arange(1, length)
    positions = np.concatenate((batch.positions, later), axis=1)
    output = model(
        input_ids=torch.from_numpy(token_ids),
        attention_mask=torch.from_numpy(attended.astype(np.int64)),
        position_ids=torch.from_numpy(positions),
        logits_to_keep=length,
        use_cache=False,
    )
    logits: torch.Tensor = output.logits
    return logits


@torch.no_grad()
def accuracy(model: Any, task: Task, batch: Ablated, generator: np.random.Generator) -> float:
    """Share of right tokens in the answers."""
    predicted = answer_logits(model, task, batch, generator).argmax(dim=-1)
    return float((predicted == said(task, batch.answers)).float().mean())
