"""Which families of models are read how, and that what is read is what plain forward passes say.

Every family with a causal language model's class in the installed transformers is built with tiny random
weights, windows switched on, and read with prompts longer than windows and chunks.
"""

from __future__ import annotations

import argparse
import inspect
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from family_models import REACH, VOCAB_SIZE, families, tiny_model

from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scoring.sessions import TokenTree
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.errors import UnsupportedModelError

#: Largest difference of log-probabilities from those of plain passes, in nats.
CLOSE = 1e-4

#: Tokens of the prompts, and of the passes that they are read in.
PROMPT_TOKENS, CHUNKS = 2 * REACH + 8, (8, 512)

#: A tree whose branches part at once and later.
TREE = TokenTree((15, 16, 17, 18), (-1, -1, 0, 2))

#: Seconds that building and plainly reading a family's model may take.
_PATIENCE = 120


class Outcome(NamedTuple):
    """How a family is read.

    Attributes:
        family: Model type, with what was changed in its settings.
        reading: ``trees``, ``cache``, ``whole``, ``refused``, or ``-`` if transformers does not build it.
        masks: Whether tokens can be masked while the others keep their positions.
        reason: Why it is read no better, or why tokens cannot be masked, in words.
        error: Largest difference from plain passes, in nats; None where nothing was read.
        defects: How many errors came up while the model was tried out.
    """

    family: str
    reading: str
    masks: bool
    reason: str
    error: float | None
    defects: int = 0


def measure(family: str, build: Any) -> Outcome:
    """Build a model of a family and compare how it is read with plain passes."""
    try:
        with _patience():
            model = build()
    except Exception as error:
        return Outcome(family, "-", False, f"not built: {_line(error)}", None)
    try:
        backends = [TransformersBackend(model, pass_tokens=chunk) for chunk in CHUNKS]
        backend = backends[0]
        with _patience():
            used = backend.cache_use
    except UnsupportedModelError as error:
        return Outcome(family, "refused", False, str(error), None)
    way = "trees" if used.prefix_trees else "cache" if used.key_value_cache else "whole"
    tokens = PROMPT_TOKENS + len(TREE.tokens)
    if backend.recomputes is None and backend.recomputes_at(tokens) is not None:
        way += ", then whole"
    defects = [f"defect: {error}" for error in used.errors]
    reasons = [backend.recomputes_at(tokens) or used.reason, backend.refuses_positions, *defects]
    error = max(errors(each, model) for each in backends)
    reason = "; ".join(filter(None, dict.fromkeys(reasons)))
    return Outcome(family, way, backend.takes_positions, reason, error, len(defects))


def errors(backend: TransformersBackend, model: Any) -> float:
    """Largest difference of log-probabilities between a backend and plain passes, in nats."""
    prompt = prompt_of(PROMPT_TOKENS)
    gap = REACH + 5
    rows = [
        Row(prompt),
        Row((*prompt[:gap], *prompt[gap + 1 :])),
        Row((*prompt[: gap + 9], 9, *prompt[gap + 10 :])),
    ]
    if backend.takes_positions:
        rows.append(Row(prompt, None, tuple(place not in (gap, gap + 1) for place in range(len(prompt)))))
    expected: dict[Row, torch.Tensor] = {}

    def difference(row: Row, logits: torch.Tensor) -> float:
        if row not in expected:
            expected[row] = plain_logprobs(model, row)
        return float((logits.float().log_softmax(-1) - expected[row]).abs().nan_to_num(0.0, 0.0, 0.0).max())

    worst = [0.0]
    # Rows of one length, and of several.
    for together in (rows, rows[1:2]):
        beside = [rows[0]] * len(together)
        for level in backend.prefill(together, len(TREE.tokens), beside).read_trees([TREE] * len(together)):
            places = zip(level.rows.tolist(), level.nodes.tolist(), strict=True)
            for (row, node), logits in zip(places, level.predictions.logits(), strict=True):
                worst.append(difference(together[row].continued(_path(node)), logits))
        session, sequences = backend.prefill(together, 8, beside), [[row] for row in together]
        for parents, tokens in (([0, 0], [15, 16]), ([1, 0], [17, 18])):
            steps = torch.tensor([parents] * len(together)), torch.tensor([tokens] * len(together))
            logits = session.advance(*steps).logits()
            pairs = list(zip(parents, tokens, strict=True))
            sequences = [
                [known[parent].continued((token,)) for parent, token in pairs] for known in sequences
            ]
            flat = [row for known in sequences for row in known]
            worst += map(difference, flat, logits)
    return max(worst)


def plain_logprobs(model: Any, row: Row) -> torch.Tensor:
    """What follows a context by one plain forward pass, ``[vocab]``."""
    plain = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
    inputs: dict[str, Any] = {"input_ids": torch.tensor([row.token_ids]), **plain}
    if row.attended is not None:
        inputs["attention_mask"] = torch.tensor([row.attended]).long()
        inputs["position_ids"] = torch.arange(len(row.token_ids))[None]
    with torch.no_grad():
        # Dynamic scaling of rotary embeddings remembers the longest sequence until a short one comes.
        model(input_ids=torch.tensor([[15, 16, 17]]), **plain)
        return model(**inputs).logits[0, -1].float().log_softmax(-1)


def prompt_of(tokens: int) -> tuple[int, ...]:
    """A prompt without special tokens, nor repetitions that a model would copy."""
    return tuple(8 + (37 * place + place // 7 + 5) % (VOCAB_SIZE - 20) for place in range(tokens))


def every_family() -> Iterator[tuple[str, Any]]:
    """What is measured: names of families, and what builds their models."""
    for model_type, class_name in families():
        yield model_type, lambda of=(model_type, class_name): tiny_model(*of)
    known = dict(families())
    for family, rope, settings in SCALED:
        name = f"{family}, {rope['rope_type']}"
        parameters = {"rope_theta": 10000.0, **rope}
        yield (
            name,
            lambda of=family, to=parameters, more=settings: tiny_model(
                of, known[of], rope_parameters=to, **more
            ),
        )


_FACTORS = {"short_factor": [1.0] * 4, "long_factor": [1.5, 3.0, 5.0, 8.0]}
_LONGROPE = {"rope_type": "longrope", **_FACTORS, "original_max_position_embeddings": 32}

#: Scalings of rotary embeddings, with an original length that prompts exceed.
SCALED: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("llama", {"rope_type": "linear", "factor": 2.0}, {}),
    ("llama", {"rope_type": "dynamic", "factor": 4.0}, {"max_position_embeddings": 32}),
    ("llama", {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}, {}),
    ("llama", _LONGROPE, {}),
    (
        "llama",
        {
            "rope_type": "llama3",
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
        {},
    ),
    ("phi3", _LONGROPE, {"original_max_position_embeddings": 32}),
)


def table(outcomes: Sequence[Outcome]) -> str:
    """The document."""
    lines = [
        "# Families of models",
        "",
        f"Written by `python benchmarks/families.py` with transformers {transformers.__version__}.",
        "",
        "Every family with a causal language model's class in transformers, built from its default settings",
        f"with tiny random weights, windows and selections cut to {REACH} tokens, and read with prompts of",
        f"{PROMPT_TOKENS} tokens in passes of {' and of '.join(map(str, CHUNKS))} tokens.",
        f"What is read equals plain forward passes on the whole sequence to {CLOSE:g} nats in every",
        "log-probability, or the reason says why it is not read. Your model is tried out when it is first",
        "used; its settings may differ from those here.",
        "",
        "- *trees*: what prompts have in common is read once, and continuations as trees",
        "- *cache*: each prompt is read by itself and continued from its cache",
        "- *whole*: every sequence is read anew for every token, which is slow",
        "- *refused*: it is not attributed",
        "- *masks*: whether `absence: mask` can be used; `delete` and `replace` always can",
        "",
        "| family | reading | masks | reason |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one.family} | {one.reading} | {'yes' if one.masks else 'no'} | {one.reason.replace('|', '/')} |"
        for one in outcomes
    ]
    return "\n".join(lines) + "\n"


@contextmanager
def _patience() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError(f"it takes more than {_PATIENCE} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _path(node: int) -> tuple[int, ...]:
    return () if node < 0 else (*_path(TREE.parents[node]), TREE.tokens[node])


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"


def main() -> int:
    """Measure every family, or those named; write the table if all were."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", help="measure and print these only")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs" / "families.md")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    outcomes = []
    for family, build in every_family():
        if not arguments.families or family in arguments.families:
            outcomes.append(measure(family, build))
            print(*outcomes[-1], sep="\t", flush=True)
    if not arguments.families:
        arguments.output.parent.mkdir(exist_ok=True)
        arguments.output.write_text(table(outcomes), encoding="utf-8")
    wrong = [one.family for one in outcomes if one.error is not None and not one.error <= CLOSE]
    if wrong:
        print("other than plain passes:", *wrong)
    failed = [one.family for one in outcomes if one.defects or one.reading == "-"]
    if failed:
        print("errors came up, or not built:", *failed)
    return 1 if wrong or failed else 0


if __name__ == "__main__":
    sys.exit(main())
