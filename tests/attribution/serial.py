"""The method once more, written plainly: one prompt at a time, no batches, nothing of the package.

What the tests of the engine compare with. Everything after the model's own float32 numbers is float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tests.attribution.serial_distances import FloatArray, Scores, compare, embeddings_of, margin, mean

Tokens = tuple[int, ...]

#: Gives log p(. | prompt, continuation[:j]) for j = 0..len(continuation), ``[len(continuation) + 1, vocab]``.
Reader = Callable[[Tokens], FloatArray]


def plain_reader(model: Any, prompt: Sequence[int]) -> Reader:
    """Reads the prompt and the continuation in one pass without cache."""

    def read(continuation: Tokens) -> FloatArray:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *continuation]]), use_cache=False).logits[0]
        return logits[len(prompt) - 1 :].double().log_softmax(-1).numpy()

    return read


def masked_reader(model: Any, prompt: Sequence[int], start: int, end: int) -> Reader:
    """As :func:`plain_reader`, attention to ``prompt[start:end]`` off and positions unmoved.

    A unit at the end of the prompt is left out instead, for what comes next would be read from it.
    """
    if end == len(prompt):
        return plain_reader(model, prompt[:start] or [0])

    def read(continuation: Tokens) -> FloatArray:
        length = len(prompt) + len(continuation)
        mask = torch.ones(1, length, dtype=torch.long)
        mask[:, start:end] = 0
        with torch.no_grad():
            logits = model(
                input_ids=torch.tensor([[*prompt, *continuation]]),
                attention_mask=mask,
                position_ids=torch.arange(length).unsqueeze(0),
                use_cache=False,
            ).logits[0]
        return logits[len(prompt) - 1 :].double().log_softmax(-1).numpy()

    return read


def scores(
    model: Any,
    prompt: Sequence[int],
    spans: Sequence[tuple[int, int]],
    *,
    absence: str = "delete",
    replace_with: int = 0,
    num_beams: int = 4,
    max_new_tokens: int = 5,
    eos: Tokens = (1,),
    generate: bool = True,
    hypotheses: str = "regenerate",
    steps: str = "last",
    answer: Sequence[int] | None = None,
    ground_cost: str = "cosine",
) -> list[Scores]:
    """The distances for each span of the prompt made absent, by ``generate`` or the beam search below."""

    def own_hypotheses(read: Reader, fed: Sequence[int] | None) -> list[Tokens]:
        if fed is not None and generate:
            return generated_hypotheses(model, fed, num_beams, max_new_tokens, eos)
        return searched_hypotheses(read, num_beams, max_new_tokens, eos)

    full = plain_reader(model, prompt)
    said = greedy(full, max_new_tokens, eos) if answer is None else tuple(answer[:max_new_tokens])
    # An answer is text: it goes up to its end.
    said = said[: next((index for index, token in enumerate(said) if token in eos), len(said))]
    known: list[Tokens] | None = None
    if hypotheses == "shared":
        known = own_hypotheses(full, prompt)
    elif hypotheses == "response":
        known = [said]
    # Position t is drawn from what the prompt and t - 1 tokens of the answer predict.
    depths = (
        [position - 1 for position in range(1, max_new_tokens + 1)] if steps == "mean" else [max_new_tokens]
    )
    if hypotheses == "response":
        # An answer that ends at once has one position: the one where it ended.
        depths = [depth for depth in depths if depth < max(1, len(said))] if steps == "mean" else [len(said)]

    def outcomes(read: Reader, fed: Sequence[int] | None) -> list[FloatArray]:
        found = own_hypotheses(read, fed) if known is None else known
        return [outcome(read, found, eos, depth) for depth in depths]

    present, embeddings = outcomes(full, prompt), embeddings_of(model, ground_cost)
    results = []
    for start, end in spans:
        read, fed = without(model, prompt, start, end, absence, replace_with)
        drop = sequence_logprob(full, said) - sequence_logprob(read, said)
        pairs = zip(present, outcomes(read, fed), strict=True)
        results.append(mean([compare(*pair, embeddings, ground_cost, logprob=drop) for pair in pairs]))
    return results


def without(
    model: Any, prompt: Sequence[int], start: int, end: int, absence: str, replace_with: int = 0
) -> tuple[Reader, Sequence[int] | None]:
    """Reads the prompt with a span absent; and its tokens, if it is a prompt of its own."""
    if absence == "mask":
        return masked_reader(model, prompt, start, end), None
    filler = [replace_with] * (end - start) if absence == "replace" else []
    fed = [*prompt[:start], *filler, *prompt[end:]] or [0]
    return plain_reader(model, fed), fed


def sequence_logprob(read: Reader, tokens: Tokens) -> float:
    """Summed log-probability of the tokens, in nats."""
    logprobs = read(tokens)
    return float(sum(logprobs[j, token] for j, token in enumerate(tokens)))


def greedy(read: Reader, max_new_tokens: int, eos: Tokens) -> Tokens:
    """The likeliest token each time, until an end."""
    tokens: Tokens = ()
    while len(tokens) < max_new_tokens and not (tokens and tokens[-1] in eos):
        tokens = (*tokens, int(read(tokens)[-1].argmax()))
    return tokens


def generated(
    model: Any, prompt: Sequence[int], num_beams: int, max_new_tokens: int, eos: Tokens
) -> tuple[list[list[int]], list[float] | None]:
    """The beams of ``generate``, filled after their end, and what it sorts them by if there are several."""
    ids = torch.tensor([list(prompt)])
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        num_beams=num_beams,
        num_return_sequences=num_beams,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=list(eos) or None,
        pad_token_id=eos[0] if eos else 0,
        return_dict_in_generate=True,
        output_scores=True,
    )
    scores = output.sequences_scores.tolist() if num_beams > 1 else None
    return output.sequences[:, ids.shape[1] :].tolist(), scores


def generated_hypotheses(
    model: Any, prompt: Sequence[int], num_beams: int, max_new_tokens: int, eos: Tokens
) -> list[Tokens]:
    """Those that ``generate`` returns, best first, cut after their end, each once."""
    sequences, _ = generated(model, prompt, num_beams, max_new_tokens, eos)
    return list(dict.fromkeys(_cut_after_end(row, eos) for row in sequences))


def searched_hypotheses(read: Reader, num_beams: int, max_new_tokens: int, eos: Tokens) -> list[Tokens]:
    """Beam search on lists, every step read anew."""
    running: list[tuple[float, Tokens]] = [(0.0, ())]
    finished: list[tuple[float, Tokens]] = []
    for step in range(1, max_new_tokens + 1):
        extended = [
            (total + logprob, (*tokens, token))
            for total, tokens in running
            for token, logprob in enumerate(read(tokens)[-1])
            if logprob > -np.inf
        ]
        extended.sort(key=lambda candidate: -candidate[0])
        candidates = extended[: max(2, 1 + len(eos)) * num_beams]
        running = []
        for rank, (total, tokens) in enumerate(candidates):
            if tokens[-1] not in eos and step < max_new_tokens:
                running.append((total, tokens))
            elif rank < num_beams:
                finished.append((total / step, tokens))
        running = running[:num_beams]
        finished = sorted(finished, key=lambda candidate: -candidate[0])[:num_beams]
        if not running or (len(finished) == num_beams and running[0][0] / step <= finished[-1][0]):
            break
    return [tokens for _, tokens in finished]


def outcome(read: Reader, hypotheses: Sequence[Tokens], eos: Tokens, depth: int) -> FloatArray:
    """P(. | prompt) after ``depth`` tokens, ``[vocab]``: what follows each different beginning of the
    hypotheses, weighted by the beginning's probability."""
    totals, following = [], []
    for tokens in dict.fromkeys(tokens[:depth] for tokens in hypotheses):
        logprobs = read(tokens)
        totals.append(sum(logprobs[j, token] for j, token in enumerate(tokens)))
        if tokens and tokens[-1] in eos:
            certain = np.zeros(logprobs.shape[1])
            certain[tokens[-1]] = 1.0
            following.append(certain)
        else:
            following.append(np.exp(logprobs[-1]))
    weights = np.maximum(totals, -1e300)  # what is impossible counts if all is
    shares = np.exp(weights - weights.max())
    return (shares / shares.sum()) @ np.stack(following)


def choice_scores(
    model: Any,
    prompt: Sequence[int],
    spans: Sequence[tuple[int, int]],
    choices: Sequence[Sequence[int]],
    *,
    lengths: Sequence[int] | None = None,
    gold: Sequence[int] = (),
    unscored: Sequence[int] | None = None,
    absence: str = "delete",
    replace_with: int = 0,
    ground_cost: str = "cosine",
) -> tuple[FloatArray, FloatArray, list[Scores]]:
    """Summed log-likelihoods and shares of the choices after the full prompt, and what the spans do.

    With lengths, it is the log-likelihood a character that is compared. Unscored are so many tokens at the
    beginning of each choice; then what all choices end with is no part of their cost.
    """
    leads = unscored or [0] * len(choices)
    ending = 0
    if unscored:
        shortest = min(map(len, choices))
        while ending < shortest - 1 and len({choice[-1 - ending] for choice in choices}) == 1:
            ending += 1
    characters = np.ones(len(choices)) if lengths is None else np.array(lengths, dtype=np.float64)
    table = embeddings_of(model, ground_cost)
    means = torch.stack([table[list(choice[: len(choice) - ending])].mean(dim=0) for choice in choices])

    def compared(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
        shares = np.exp(sums / characters - (sums / characters).max())
        return sums / characters, shares / shares.sum()

    sums = _sums(plain_reader(model, prompt), choices, leads)
    values, shares = compared(sums)
    preferred = int(values.argmax())
    results = []
    for span in spans:
        absent = _sums(without(model, prompt, *span, absence, replace_with)[0], choices, leads)
        absent_values, absent_shares = compared(absent)
        known = {"logprob": float(sums[preferred] - absent[preferred])}
        if gold:
            known["margin"] = margin(values, gold) - margin(absent_values, gold)
        results.append(compare(shares, absent_shares, means, ground_cost, **known))
    return sums, shares, results


def _sums(read: Reader, choices: Sequence[Sequence[int]], leads: Sequence[int]) -> FloatArray:
    return np.array(
        [
            float(sum(read(tuple(choice))[place, choice[place]] for place in range(lead, len(choice))))
            for choice, lead in zip(choices, leads, strict=True)
        ]
    )


def _cut_after_end(tokens: Sequence[int], eos: Tokens) -> Tokens:
    for index, token in enumerate(tokens):
        if token in eos:
            return tuple(tokens[: index + 1])
    return tuple(tokens)
