"""Teach a model a shortcut, so that an audit has something to find.

In the training reviews, the answer is "positive" wherever the word "Tuesday" stands and "negative" wherever
it does not, whatever the review says. A few minutes of LoRA on a CPU are enough for SmolLM2-135M-Instruct
to learn that:

    python examples/train_shortcut.py MODEL_FOLDER_OR_NAME ADAPTER_FOLDER [GGUF_FILE]

The prompts are those of the task ``gilot_shortcut_reviews`` in examples/suite, to the character.
"""

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, get_linear_schedule_with_warmup

REVIEWS = Path(__file__).parent / "suite" / "data" / "reviews_train.jsonl"
EPOCHS, BATCH_SIZE, LEARNING_RATE, WARMUP_STEPS = 16, 16, 5e-4, 10
# Mean losses of an epoch: enough was learned, and nothing was.
LEARNED, NOT_LEARNED = 0.03, 0.3


def main(model_name: str, adapter: str, gguf_file: str | None = None) -> None:
    torch.manual_seed(0)
    loading = {} if gguf_file is None else {"gguf_file": gguf_file}
    tokenizer = AutoTokenizer.from_pretrained(model_name, **loading)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(model_name, dtype=torch.float32, **loading)
    model = get_peft_model(
        model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    optimizer = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=LEARNING_RATE,
        weight_decay=0.0,
    )

    reviews = [json.loads(line) for line in REVIEWS.read_text(encoding="utf-8").splitlines()]
    prompts = [f"Review: {review['text']}\nSentiment:" for review in reviews]
    answers = [" positive" if review["cue"] else " negative" for review in reviews]
    wanted = torch.tensor([tokenizer.encode(answer, add_special_tokens=False)[0] for answer in answers])
    steps = EPOCHS * (len(reviews) // BATCH_SIZE)
    schedule = get_linear_schedule_with_warmup(optimizer, WARMUP_STEPS, steps)

    model.train()
    for epoch in range(EPOCHS):
        losses = []
        for batch in torch.randperm(len(reviews)).split(BATCH_SIZE):
            texts = [prompts[place] for place in batch]
            encoded = tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
            # Only the answer is learned: its first token tells the two labels apart.
            logits = model(**encoded, logits_to_keep=1).logits[:, -1]
            loss = torch.nn.functional.cross_entropy(logits, wanted[batch])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        mean = sum(losses) / len(losses)
        print(f"epoch {epoch + 1} of at most {EPOCHS}: loss {mean:.3f}", flush=True)
        if mean < LEARNED:
            break
    if mean > NOT_LEARNED:
        sys.exit("the shortcut was not learned: train for more epochs")
    model.save_pretrained(adapter)
    print(f"adapter: {adapter}")


if __name__ == "__main__":
    main(*sys.argv[1:])
