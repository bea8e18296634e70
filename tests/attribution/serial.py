"""The method once more, written plainly: one prompt at a time, no batches, nothing of the package.

What the tests of the engine compare with. Everything after the model's own float32 numbers is float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import ot
import torch
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Tokens = tuple[int, ...]

#: Gives log p(. | prompt, continuation[:j]) for j = 0..len(continuation), ``[len(continuation) + 1, vocab]``.
Reader = Callable[[Tokens], FloatArray]


class Scores(NamedTuple):
    """What the absence of a unit does: the three distances, and the size of the transport problem."""

    ot: float
    kl: float
    l2: float
    support: int


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
) -> list[Scores]:
    """The distances for each span of the prompt made absent, by ``generate`` or the beam search below."""

    def distribution(read: Reader, fed: Sequence[int] | None) -> FloatArray:
        if fed is not None and generate:
            found = generated_hypotheses(model, fed, num_beams, max_new_tokens, eos)
        else:
            found = searched_hypotheses(read, num_beams, max_new_tokens, eos)
        return outcome(read, found, eos)

    present = distribution(plain_reader(model, prompt), prompt)
    embeddings = model.get_input_embeddings().weight
    results = []
    for start, end in spans:
        if absence == "mask":
            absent = distribution(masked_reader(model, prompt, start, end), None)
        else:
            filler = [replace_with] * (end - start) if absence == "replace" else []
            without = [*prompt[:start], *filler, *prompt[end:]] or [0]
            absent = distribution(plain_reader(model, without), without)
        results.append(compare(present, absent, embeddings))
    return results


def generated_hypotheses(
    model: Any, prompt: Sequence[int], num_beams: int, max_new_tokens: int, eos: Tokens
) -> list[Tokens]:
    """Those that transformers' ``generate`` returns, best first, cut after their end, each once."""
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
    )
    cut = [_cut_after_end(row, eos) for row in output.sequences[:, ids.shape[1] :].tolist()]
    return list(dict.fromkeys(cut))


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


def outcome(read: Reader, hypotheses: Sequence[Tokens], eos: Tokens) -> FloatArray:
    """P(. | prompt), ``[vocab]``: what follows each hypothesis, weighted by the hypothesis's probability."""
    weights, following = [], []
    for tokens in hypotheses:
        logprobs = read(tokens)
        weights.append(sum(logprobs[j, token] for j, token in enumerate(tokens)))
        if tokens[-1] in eos:
            certain = np.zeros(logprobs.shape[1])
            certain[tokens[-1]] = 1.0
            following.append(certain)
        else:
            following.append(np.exp(logprobs[-1]))
    shares = np.exp(np.array(weights) - max(weights))
    return (shares / shares.sum()) @ np.stack(following)


def compare(present: FloatArray, absent: FloatArray, embeddings: torch.Tensor) -> Scores:
    """The three distances, with the default support: 0.9999 of the mass, at most 1000 tokens."""
    chosen = sorted(_likeliest(present) | _likeliest(absent))
    a, b = present[chosen] / present[chosen].sum(), absent[chosen] / absent[chosen].sum()
    vectors = embeddings.detach()[chosen].double().numpy()
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.where(norms > 0, norms, 1.0)  # padding embeddings may be 0: orthogonal to all
    costs = 1.0 - vectors @ vectors.T
    np.fill_diagonal(costs, 0.0)
    least = float(np.finfo(np.float32).tiny)
    logs = np.log(np.maximum(present, least)) - np.log(np.maximum(absent, least))
    return Scores(
        float(ot.emd2(a, b, costs, numItermax=1_000_000)),
        float((present * logs).sum()),
        float(np.sqrt(((present - absent) ** 2).sum())),
        len(chosen),
    )


def choice_logprobs(model: Any, prompt: Sequence[int], choices: Sequence[Sequence[int]]) -> FloatArray:
    """Summed log-likelihood of each choice, ``[choices]``."""
    sums = []
    for choice in choices:
        logprobs = plain_reader(model, prompt)(tuple(choice))
        sums.append(sum(logprobs[j, token] for j, token in enumerate(choice)))
    return np.array(sums)


def _cut_after_end(tokens: Sequence[int], eos: Tokens) -> Tokens:
    for index, token in enumerate(tokens):
        if token in eos:
            return tuple(tokens[: index + 1])
    return tuple(tokens)


def _likeliest(probabilities: FloatArray) -> set[int]:
    chosen: set[int] = set()
    mass = 0.0
    for token in np.argsort(-probabilities, kind="stable")[:1000]:
        chosen.add(int(token))
        mass += probabilities[token]
        if mass >= 0.9999:
            break
    return chosen
