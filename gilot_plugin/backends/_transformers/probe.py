"""What a model can do, found out on the model itself with a few tokens.

Signatures promise more than models keep: some remember padding, some take no notice of explicit positions,
some have caches of their own. Whatever is needed is therefore tried once, against the model's reading of bare
token ids, one sequence at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from transformers import DynamicCache

from gilot_plugin.backends._transformers.closeness import Closeness, describe
from gilot_plugin.backends._transformers.effects import found_by_effect
from gilot_plugin.backends._transformers.inputs import Inputs, returned_cache
from gilot_plugin.backends._transformers.lengths import (
    PositionCall,
    Rotations,
    find_rotations,
    preserved,
    watching_positions,
    without_parameters,
)
from gilot_plugin.backends._transformers.passes import Passes, innermost
from gilot_plugin.backends._transformers.samples import Samples
from gilot_plugin.backends._transformers.sessions import CachedSession
from gilot_plugin.backends._transformers.tree.beginnings import read_prompt
from gilot_plugin.backends._transformers.tree.reader import TreeReader
from gilot_plugin.backends._transformers.tree.session import TreeSession
from gilot_plugin.backends.modes import undisturbed
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scoring.sessions import DecodingSession
from gilot_plugin.errors import UnsupportedModelError

#: Share of round-off by which equal rows of one batch may differ.
_WITHIN_A_BATCH = 0.01


class Reading(NamedTuple):
    """How the model is best read.

    Attributes:
        inputs: Optional inputs with which it reads rows as it reads bare ids.
        recomputes: Why sequences must be read whole at every step, in words; None where they continue from a
            cache.
        no_trees: Why trees of tokens cannot be read in one pass, in words; None where they can.
        rotations: Whether, and from which length on, sequences are not read as their beginnings are.
        errors: What was raised while the model was tried; each is a defect, of the model or of this package.
    """

    inputs: Inputs
    recomputes: str | None
    no_trees: str | None
    rotations: Rotations = Rotations()
    errors: tuple[str, ...] = ()


def probe_reading(passes: Passes, vocab_size: int, max_positions: int | None) -> Reading:
    """Find out whether padding on the left and reordered caches leave the model's predictions alone.

    An error means that it cannot, and is told beside the reason.

    Args:
        passes: Passes of the model for the probe's own use.
        vocab_size: Number of ids that may be fed.
        max_positions: Longest sequence that the model takes.

    Raises:
        UnsupportedModelError: It does not even read bare token ids.
        torch.OutOfMemoryError: There is no memory even for a few tokens.
    """
    samples = Samples(vocab_size, max_positions)
    with undisturbed(passes.model), preserved(without_parameters(passes.model)):
        try:
            first, *others = samples.sequences
            with watching_positions(passes.model, len(first)) as calls:
                expected = [passes.bare(first)]
            expected += [passes.bare(sequence) for sequence in others]
            short = torch.tensor([samples.short], device=passes.device)
            output, (beginning,) = passes.trial(short, **passes.inputs.given(use_cache=False))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            name = type(passes.model).__name__
            raise UnsupportedModelError(
                f"cannot attribute {name}: it does not read token ids by themselves ({describe(error)})"
            ) from error
        if returned_cache(output) is not None:
            passes.inputs = passes.inputs.without("use_cache")
        passes.inputs = _all_inputs(passes, samples)
        errors: list[str] = []
        passes.rotations = _rotations(passes, expected, beginning, calls, max_positions, errors)
        reading = _compare(passes, samples, expected, errors)
        if passes.rotations.steady == 0 and passes.rotations.reason is not None:
            reading = _whole(reading.inputs, passes.rotations.reason)
        return reading._replace(rotations=passes.rotations, errors=tuple(dict.fromkeys(errors)))


def _all_inputs(passes: Passes, samples: Samples) -> Inputs:
    """The model's optional inputs, those whose names tell nothing included."""
    ids = torch.tensor([samples.long[:3]], device=passes.device)
    forward, close = innermost(passes.model).forward, Closeness(passes.dtype)
    return found_by_effect(passes.inputs, forward, passes.trial, ids, passes.text_config, close)


def _rotations(
    passes: Passes,
    expected: Sequence[torch.Tensor],
    beginning: torch.Tensor,
    calls: Sequence[PositionCall],
    max_positions: int | None,
    errors: list[str],
) -> Rotations:
    """From which length on sequences are not read as their beginnings are."""
    continued = expected[0][: len(beginning)]
    if bool(beginning.isfinite().any()) and not Closeness(passes.dtype)(continued, beginning):
        return Rotations((), 0, "what it predicts depends on the tokens after it")
    try:
        return find_rotations(calls, passes.model.config, max_positions)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        errors.append(describe(error))
        return Rotations((), 0, f"how it reads long sequences could not be found out ({describe(error)})")


def probe_positions(
    passes: Passes,
    open_session: Callable[[Sequence[Row]], DecodingSession],
    vocab_size: int,
    max_positions: int | None,
) -> str | None:
    """Find out whether tokens can be masked while the others keep their positions.

    Args:
        passes: Passes of the model, with the inputs that :func:`probe_reading` found.
        open_session: Begins to read prompts as they will be read, on these passes.
        vocab_size: Number of ids that may be fed.
        max_positions: Longest sequence that the model takes.

    Returns:
        Why not, in words; None if they can.

    Raises:
        torch.OutOfMemoryError: There is no memory even for a few tokens.
    """
    if "positions" not in passes.inputs:
        return "it numbers the positions itself"
    samples = Samples(vocab_size, max_positions)
    close, same = Closeness(passes.dtype), Closeness(passes.dtype, _WITHIN_A_BATCH)
    masked, altered, wide, plain = samples.masked_rows(max_positions)
    with undisturbed(passes.model):
        try:
            together = open_session([masked, altered, wide, plain])
            before = together.prompt.logits()
            after = together.advance(
                torch.zeros(4, 1, dtype=torch.long, device=passes.device),
                torch.full((4, 1), samples.long[0], device=passes.device),
            ).logits()
            # Some models look at the mask of batches only.
            alone = [open_session([row]).prompt.logits() for row in (masked, altered)]
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            return f"it fails on masked tokens and explicit positions ({describe(error)})"
    if not (close(after[:1], after[1:2]) and close(*alone)):
        return "masked tokens still show in what it predicts"
    if same(before[2:3], before[3:]):
        return "it takes no notice of explicit positions"
    return None


def _compare(
    passes: Passes, samples: Samples, expected: Sequence[torch.Tensor], errors: list[str]
) -> Reading:
    close = Closeness(passes.dtype)
    rows = [Row(sequence) for sequence in samples.sequences]
    keep = [len(sequence) for sequence in samples.sequences]
    inputs = passes.inputs
    for left_out in ((), ("positions",), ("keep",), ("positions", "keep")):
        passes.inputs = inputs.without(*left_out)
        try:
            if all(map(close, passes.whole_logits(rows, keep), expected)):
                break
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            errors.append(describe(error))
    else:
        passes.inputs = inputs
        told = f" ({errors[0]})" if errors else ""
        return _whole(inputs, f"it reads a batch otherwise than single sequences{told}")
    recomputes = _why_not_cached(passes, samples, expected, close, errors)
    if recomputes is not None:
        return _whole(passes.inputs, recomputes)
    if passes.inputs.one_by_one:
        return Reading(passes.inputs, None, "its cache takes one token at a time")
    no_trees = _why_no_trees(passes, samples, close, errors)
    return Reading(passes.inputs, None, no_trees)


def _whole(inputs: Inputs, why: str) -> Reading:
    return Reading(inputs, why, f"sequences must be read whole: {why}")


def _why_no_trees(passes: Passes, samples: Samples, close: Closeness, errors: list[str]) -> str | None:
    """Try a tree after a prompt that two rows have in common, one of them but for its end."""
    try:
        reader = TreeReader(passes)
        passes.inputs = replace(passes.inputs, body=reader.inputs)
        known = read_prompt(reader, Row(samples.long))
        rows = [Row(samples.long), Row(samples.short), Row((*samples.long[:-2], *samples.short))]
        trees, places = samples.trees()
        session = TreeSession(reader, rows, [known] * len(rows), max(len(t.tokens) for t in trees))
        bare = [passes.bare((*rows[row].token_ids, *path)) for row, path in places.values()]
        wanted = {place: logits[-1] for place, logits in zip(places, bare, strict=True)}
        read: dict[tuple[int, int], torch.Tensor] = {}
        for level in session.read_trees(trees):
            nodes = zip(level.rows.tolist(), level.nodes.tolist(), strict=True)
            read.update(zip(nodes, level.predictions.logits(), strict=True))
        for row in range(len(rows)):
            mine = [place for place in wanted if place[0] == row]
            if not close(*(torch.stack([known[place] for place in mine]) for known in (read, wanted))):
                return "its attention does not follow trees"
    except torch.OutOfMemoryError:
        raise
    except UnsupportedModelError as error:
        return str(error)
    except Exception as error:
        errors.append(describe(error))
        return f"trees cannot be read ({describe(error)})"
    return None


#: Ways to give tokens that follow a cache: whether one a pass, and whether with the mask of all before them.
_WAYS_TO_CONTINUE = ((False, True), (True, True), (True, False))


def _why_not_cached(
    passes: Passes,
    samples: Samples,
    expected: Sequence[torch.Tensor],
    close: Closeness,
    errors: list[str],
) -> str | None:
    """Try to go on from a cache, as many tokens at once or, where it takes no more, one by one."""
    inputs = passes.inputs
    if "cache" not in inputs or "mask" not in inputs:
        return "it takes no cache that sequences can share"
    wanted = expected[0][len(samples.short) - 1][None]
    reasons: list[tuple[str, str | None]] = []
    for one_by_one, mask_of_past in _WAYS_TO_CONTINUE:
        passes.inputs = replace(inputs, one_by_one=one_by_one, mask_of_past=mask_of_past)
        session: CachedSession | None = None
        try:
            session = CachedSession(passes, [Row(samples.long), Row(samples.short)])
            if not close(session.prompt_logits[1:], wanted):
                return "padding changes what it predicts"
            if _continues(session, samples, expected, close):
                return None
            reasons.append(("its state cannot be reordered and continued", None))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            if session is None and (own := _why_no_common_cache(passes, samples)) is not None:
                return own
            reasons.append((f"its cache cannot be used ({describe(error)})", describe(error)))
            if session is None:
                break
    passes.inputs = inputs
    reason, raised = reasons[0]
    errors += [] if raised is None else [raised]
    return reason


def _continues(
    session: CachedSession, samples: Samples, expected: Sequence[torch.Tensor], close: Closeness
) -> bool:
    """Whether the prompts' continuations are read as by themselves."""
    for source, runs in ((samples.FIRST_SOURCE, samples.first), (samples.SECOND_SOURCE, samples.second)):
        tokens = torch.tensor(runs, device=session.prompt_logits.device)
        found = session.go_on(torch.tensor(source), tokens)
    return all(close(*pair) for pair in zip(found, (wanted[-2:] for wanted in expected), strict=True))


def _why_no_common_cache(passes: Passes, samples: Samples) -> str | None:
    """Ask the model for the cache that it makes by itself; why that is no common one, None if it is one."""
    inputs = passes.inputs
    ids = torch.tensor([samples.short], device=passes.device)
    try:
        output, _ = passes.trial(ids, **inputs.given(use_cache=True))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        return f"it cannot make a cache itself ({describe(error)})"
    made = returned_cache(output)
    if made is None:
        # Caches of a family's own need not be made as those of transformers.
        made = output.get(inputs.names["cache"])
    if made is None or type(made) is DynamicCache:
        return None
    return f"it takes no cache but a {type(made).__name__} of its own"
