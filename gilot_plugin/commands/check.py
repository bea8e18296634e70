"""``gilot check``: how a model would be read, before a run."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gilot_plugin.commands.shared import DONE, FAILED, Subcommands, say

if TYPE_CHECKING:
    from gilot_plugin.backends.transformers import TransformersBackend

#: The example that costs are told of: tokens of the prompt, and of the answer after it.
_PROMPT_TOKENS, _ANSWER_TOKENS = 32, 5


def add_parser(commands: Subcommands) -> None:
    """Add the command's options."""
    parser = commands.add_parser(
        "check",
        help="load a model as a run would: is it read at full speed, may its tokens be masked, and why not",
        description="Loads the model as `gilot run` would and tries it out with a few tokens. Ends with 1 "
        "where that raises an error or the model cannot be attributed.",
    )
    parser.add_argument("--model", help="lm-eval's model class (default: hf)")
    parser.add_argument("--model_args", required=True, help="its arguments, e.g. pretrained=gpt2")
    parser.add_argument("--device", help="where to load the model (default: as lm-eval)")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        0 done, also where the model is read slowly; 1 an error came up while it was tried out.

    Raises:
        ConfigError: An option is wrong, or the model cannot be loaded.
        GilotError: It cannot be attributed, or there is no memory for a few tokens.
    """
    import torch

    from gilot_plugin.errors import GilotError
    from gilot_plugin.harness.entry.loading import load_model, model_source

    source = model_source({}, model=options.model, model_args=options.model_args, device=options.device)
    loaded = load_model(source)
    dtype = getattr(loaded.model, "dtype", None)
    say(f"model: {type(loaded.model).__name__}, {dtype}, on {loaded.backend.embeddings.device}")
    try:
        return _tell(loaded.backend)
    except torch.OutOfMemoryError as error:
        raise GilotError(f"there is no memory even for a few tokens: {error}") from error


def _tell(backend: TransformersBackend) -> int:
    """Print what was found out about a model."""
    used = backend.cache_use
    cached, trees = used.key_value_cache, used.prefix_trees
    say(f"key-value cache: {'used' if cached else f'not used: {used.reason}'}")
    say(f"prefix trees: {'used' if trees else f'not used: {used.reason}'}")
    refused = backend.refuses_positions
    told = "possible" if refused is None else f"not possible: {refused}"
    say(f"absence by masking, with positions kept: {told}")
    if not trees:
        say(_cost(backend))
    example = backend.cache_use
    computed, wanted = example.logits_computed, example.logits_wanted
    if computed > wanted:
        say(
            f"logits: of {computed:,} tokens, where those of {wanted:,} are wanted: the model cannot be told "
            "which are"
        )
    for error in used.errors:
        say(f"defect, of the model or of this package: an error while it was tried out: {error}")
    return FAILED if used.errors else DONE


def _cost(backend: TransformersBackend) -> str:
    """How many tokens are read for an example, and how many prefix trees would read."""
    from gilot_plugin.backends.rows import Row
    from gilot_plugin.backends.scorer import Query, Room
    from gilot_plugin.backends.wanted import FixedHypotheses

    longest = (backend.limits.max_positions or _PROMPT_TOKENS + _ANSWER_TOKENS) - _ANSWER_TOKENS
    length = max(2, min(_PROMPT_TOKENS, longest))
    # Spread over the vocabulary, for special tokens are at its ends.
    ids = tuple((2 * place + 1) * backend.limits.vocab_size // (2 * length) for place in range(length))
    full = Row(ids)
    rows = [Row(ids[:place] + ids[place + 1 :]) for place in range(length)]
    before = backend.cache_use
    # The last token of an answer is predicted only.
    answer = ids[:1] * (_ANSWER_TOKENS + 1)
    for _ in backend.score([Query(full, rows, FixedHypotheses(), (answer,))], Room(len(rows) + 1)):
        pass
    after = backend.cache_use
    read = after.tokens_read - before.tokens_read
    needed = after.tokens_with_trees - before.tokens_with_trees
    return (
        f"cost: {read / needed:.1f} times the tokens that prefix trees would read: {read:,} instead of "
        f"{needed:,} for a prompt of {length} tokens, each absent in turn, with {_ANSWER_TOKENS} of an answer"
    )
