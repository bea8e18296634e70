"""Models that learn within seconds to say a long phrase, a word of their own, and an answer.

The prompt is some words, of which one may be a cause. What is said is always as long: a phrase, a note, the
phrase again, the answer. Either the note is the same whatever the prompt is and the answer follows from the
cause, or the note follows from the cause and the answer from the note alone.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import torch
import transformers

BOS, EOS, SEPARATOR = 1, 2, 3
CAUSES, WORDS, PHRASE = range(4, 8), range(8, 28), range(28, 34)
NOTES, ANSWERS = range(40, 45), range(45, 50)

#: What is said: a phrase, the place of the note, the phrase again, the place of the answer.
NOTE_AT = len(PHRASE)
ANSWER_AT = 2 * len(PHRASE) + 1

#: Parts of what is said before the answer that may be missing: the phrase, the note, and the phrase again but
#: for its last word, after which the answer comes.
PARTS = (range(NOTE_AT), range(NOTE_AT, NOTE_AT + 1), range(NOTE_AT + 1, ANSWER_AT - 1))

_MOST_STEPS, _BATCH, _RIGHT = 1500, 64, 0.996

#: From what an answer follows.
Source = Literal["prompt", "note"]


def draw(generator: torch.Generator, count: int, words: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts, ``[count, words + 2]``, and the number of the cause in each, 4 for none."""
    prompts = torch.randint(WORDS.start, WORDS.stop, (count, words), generator=generator)
    cause = torch.randint(0, 5, (count,), generator=generator)
    place = torch.randint(0, words, (count,), generator=generator)
    has = cause < 4
    prompts[has, place[has]] = CAUSES.start + cause[has]
    ends = torch.ones(count, 1, dtype=torch.long)
    return torch.cat((BOS * ends, prompts, SEPARATOR * ends), dim=1), cause


def said(cause: torch.Tensor, note: torch.Tensor, source: Source) -> torch.Tensor:
    """What is to be said, ``[count, tokens]``, if the model has said the note."""
    phrase = torch.tensor(PHRASE).expand(len(cause), -1)
    answer = ANSWERS.start + (cause if source == "prompt" else note)
    return torch.cat((phrase, NOTES.start + note[:, None], phrase, answer[:, None]), dim=1)


@cache
def trained(source: Source) -> Any:
    """A model in evaluation mode; the same one each time.

    Raises:
        RuntimeError: It has not learnt it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = transformers.LlamaConfig(
            vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=64, initializer_range=0.1, bos_token_id=BOS, eos_token_id=EOS,
            pad_token_id=0,
        )  # fmt: skip
        model = transformers.LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, betas=(0.9, 0.98))
    right = 0.0
    for step in range(_MOST_STEPS):
        words = int(torch.randint(3, 11, (1,), generator=generator))
        prompts, cause = draw(generator, _BATCH, words)
        note = cause if source == "note" else torch.full_like(cause, 4)
        # What it has said so far may be anything: the answer follows from it alone.
        told = torch.randint(0, 5, cause.shape, generator=generator) if source == "note" else note
        targets, texts = said(cause, note, source), said(cause, told, source)
        targets[:, ANSWER_AT] = texts[:, ANSWER_AT]
        learnt = slice(None)
        part = int(torch.randint(0, 2 * len(PARTS), (1,), generator=generator))
        if part < len(PARTS):
            # A part of its own words is missing: what it then says before the answer is nobody's business.
            if PARTS[part] == range(NOTE_AT, NOTE_AT + 1) and source == "note":
                targets[:, ANSWER_AT] = ANSWERS[4]
            kept = [place for place in range(ANSWER_AT + 1) if place not in PARTS[part]]
            texts, targets, learnt = texts[:, kept], targets[:, kept], slice(-1, None)
        logits = model(torch.cat((prompts, texts[:, :-1]), dim=1)).logits[:, -targets.shape[1] :][:, learnt]
        targets = targets[:, learnt]
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
        right = 0.95 * right + 0.05 * float((logits.argmax(-1) == targets).all(1).float().mean())
        if right > _RIGHT and step > 100:
            return model.eval()
    raise RuntimeError(f"the model has not learnt its answers after {_MOST_STEPS} batches: {right:.3f}")
