"""What the same prompt costs with captum and inseq.

Both attribute each token of one given continuation, one number a prompt token and generated token: what
``hypotheses="response"`` asks, which has the distribution after the continuation in their place.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from ours import repeat, token_config
from rich.console import Console
from rich.table import Table
from timing import number, spread, timed, times
from workload import Workload

#: Interpolation steps of integrated gradients.
STEPS = 20


class DifferentError(Exception):
    """A library reads other tokens than the others, or attributes fewer."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One attribution by a neighbour.

    Attributes:
        does: What it does, in words.
        explained: How many of the answer's tokens were attributed.
        seconds: Wall-clock seconds for those.
    """

    does: str
    explained: int
    seconds: float


def report(workload: Workload, repeats: int, sampled: int, console: Console) -> None:
    """Print what the neighbours take beside ``response``, given the same answer."""
    answer = greedy(workload)
    config = token_config(workload, "response")
    ours = [run.seconds for run in repeat(workload, config, repeats, answer)]
    table = Table("", "what it does", "timed, s", "whole answer, s", "ours is times faster")
    does = "each token is deleted; distribution after the answer, transport"
    table.add_row("gilot_plugin, response", does, spread(ours), spread(ours), "1")
    for name, ask in _neighbours(workload, answer, sampled or len(answer)).items():
        try:
            theirs = ask()
        except DifferentError as error:
            console.print(f"{name} is left out: {error}")
            continue
        whole = theirs.seconds * len(answer) / theirs.explained
        cells = (number(theirs.seconds), number(whole), times([whole], ours))
        table.add_row(name, f"{theirs.does}; {theirs.explained} of {len(answer)} tokens", *cells)
    console.print(table)
    console.print(
        f"All of them explain the same {len(answer)} greedy tokens, which are given. The others start anew "
        "for each of them, so they are timed on the first ones and scaled to all."
    )


def greedy(workload: Workload) -> list[int]:
    """The tokens that all of them explain, none of which ends the answer."""
    ids = torch.tensor([workload.token_ids], device=workload.device)
    with torch.no_grad():
        found = workload.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            min_new_tokens=workload.max_new_tokens,
            max_new_tokens=workload.max_new_tokens,
            pad_token_id=0,
        )
    answer: list[int] = found[0, len(workload.token_ids) :].tolist()
    return answer


def _neighbours(workload: Workload, answer: list[int], sampled: int) -> dict[str, Callable[[], Measured]]:
    """What attributes the first tokens of an answer with each of them."""
    # Both leave traces in the model they are given. inseq leaves every token like the one for padding out of
    # what it attributes, and in some chat templates that one ends a turn.
    model, tokenizer = copy.deepcopy(workload.model), copy.deepcopy(workload.tokenizer)
    fed = {*workload.token_ids, *answer}
    unused = next(token_id for token_id in range(len(fed) + 1) if token_id not in fed)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(unused)
    model.config.pad_token_id = unused
    workload = replace(workload, model=model, tokenizer=tokenizer)
    logging.getLogger("inseq").setLevel(logging.ERROR)
    return {
        "captum, FeatureAblation": partial(_captum, workload, answer[:sampled]),
        "inseq, occlusion": partial(_inseq, workload, answer, "occlusion", sampled),
        "inseq, integrated_gradients": partial(_inseq, workload, answer, "integrated_gradients", sampled),
    }


def _captum(workload: Workload, answer: list[int]) -> Measured:
    from captum.attr import FeatureAblation, LLMAttribution, TextTokenInput

    given = TextTokenInput(workload.text, workload.tokenizer)
    _check(given.inp_tensor[0].tolist(), workload.token_ids, "reads the prompt")
    explainer = LLMAttribution(FeatureAblation(workload.model), workload.tokenizer)
    found, seconds = timed(
        lambda: explainer.attribute(given, target=torch.tensor(answer), show_progress=False), workload.device
    )
    _check(list(found.token_attr.shape), [len(answer), len(workload.token_ids)], "attributes")
    does = "each token becomes token 0; log-probability of each answer token"
    return Measured(does, len(answer), seconds)


def _inseq(workload: Workload, answer: list[int], method: str, sampled: int) -> Measured:
    import inseq

    explainer = inseq.load_model(
        workload.model, method, tokenizer=workload.tokenizer, device=str(workload.device)
    )
    options: dict[str, Any] = {"n_steps": STEPS} if method == "integrated_gradients" else {}
    text, start = workload.text, len(workload.token_ids)
    generated = str(workload.tokenizer.decode([*workload.token_ids, *answer]))
    found, seconds = timed(
        lambda: explainer.attribute(
            text, generated, attr_pos_end=start + sampled, show_progress=False, **options
        ),
        workload.device,
    )
    (sequence,) = found.sequence_attributions
    read = [token.id for token in sequence.target]
    _check(read, [*workload.token_ids, *answer], "reads the prompt and answer")
    explained = [*sequence.target_attributions.shape[:2], sequence.attr_pos_start]
    _check(explained, [start + sampled, sampled, start], "attributes")
    if method == "occlusion":
        does = "the embedding of each token becomes 0; probability of each answer token"
    else:
        does = f"gradients at {STEPS} points between nothing and the embeddings"
    return Measured(does, sampled, seconds)


def _check(found: list[int], wanted: list[int], does: str) -> None:
    """Refuse a comparison in which one of the two does less."""
    if found != wanted:
        raise DifferentError(f"it {does} as {found}, not as {wanted}")
