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

from gilot_plugin.backends.inputs import Inputs
from gilot_plugin.backends.lengths import (
    PositionCall,
    Rotations,
    find_rotations,
    preserved,
    watching_positions,
    without_parameters,
)
from gilot_plugin.backends.modes import undisturbed
from gilot_plugin.backends.passes import Passes
from gilot_plugin.backends.protocol import Batch, DecodingSession, Row, TokenTree
from gilot_plugin.backends.sessions import CachedSession
from gilot_plugin.backends.tree.prompts import read_prompt
from gilot_plugin.backends.tree.reader import TreeReader
from gilot_plugin.backends.tree.session import TreeSession
from gilot_plugin.errors import UnsupportedModelError

#: Round-off between two readings of one sequence, in spreads of its logits: how far those of one token lie
#: apart typically. A reading that sees padding or another sequence's past is off by a good part of a spread.
_ROUND_OFF = {torch.float16: 0.02, torch.bfloat16: 0.1}
_ROUND_OFF_OF_SINGLE_PRECISION = 1e-4

#: How much farther single tokens may lie apart.
_OUTLIER = 4.0

#: Share of that by which equal rows of one batch may differ.
_WITHIN_A_BATCH = 0.01

#: Tokens whose logits are in memory at once.
PROBE_TOKENS = 200

#: Longest sequence that is tried: beyond the reach of the usual short convolutions, 4 tokens.
_LONGEST = 13

#: Distance between explicit positions: not 1, so that all tokens move, whatever window they are seen in.
_STRIDE = 2


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
        torch.OutOfMemoryError: There is no memory even for a few tokens.
    """
    samples = _Samples(vocab_size, max_positions)
    with undisturbed(passes.model), preserved(without_parameters(passes.model)):
        try:
            first, *others = samples.sequences
            with watching_positions(passes.model, len(first)) as calls:
                expected = [passes.bare(first)]
            expected += [passes.bare(sequence) for sequence in others]
            beginning = passes.bare(samples.short)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            why = f"it could not be tried out ({describe(error)})"
            return _whole(passes.inputs, why)._replace(errors=(describe(error),))
        errors: list[str] = []
        passes.rotations = _rotations(passes, expected, beginning, calls, max_positions, errors)
        reading = _compare(passes, samples, expected, errors)
        if passes.rotations.steady == 0 and passes.rotations.reason is not None:
            reading = _whole(reading.inputs, passes.rotations.reason)
        return reading._replace(rotations=passes.rotations, errors=tuple(dict.fromkeys(errors)))


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
    if "position_ids" not in passes.inputs:
        return "it numbers the positions itself"
    samples = _Samples(vocab_size, max_positions)
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


class _Samples:
    """Sequences to try: a long prompt and a short one, and continuations of both.

    Attributes:
        long: The long prompt.
        short: The short one, padded to the long one's length in a batch.
        sequences: What the two become: the short one continued in two ways, and the long one.
    """

    #: Of the prompts ``(long, short)``, those that the three continuations start from, and of these
    #: continuations, those that the second step goes on from: none stays in its place.
    FIRST_SOURCE = (1, 0, 1)
    SECOND_SOURCE = (2, 0, 1)

    def __init__(self, vocab_size: int, max_positions: int | None) -> None:
        longest = max(min(_LONGEST, max_positions or _LONGEST), 6)
        # Spread over the vocabulary, for special tokens are at its ends.
        ids = [(2 * index + 1) * vocab_size // 64 for index in range(32)]
        self.long = tuple(ids[: longest - 3])
        self.short = tuple(ids[longest : longest + max(1, len(self.long) // 3)])
        self.first = [(ids[-1],), (ids[-2],), (ids[-3],)]
        self.second = [(ids[-4], ids[-5]), (ids[-6], ids[-7]), (ids[-8], ids[-9])]
        prompts = (self.long, self.short)
        started = [
            (*prompts[source], *run) for source, run in zip(self.FIRST_SOURCE, self.first, strict=True)
        ]
        self.sequences = [
            (*started[source], *run) for source, run in zip(self.SECOND_SOURCE, self.second, strict=True)
        ]

    def trees(self) -> tuple[list[TokenTree], dict[tuple[int, int], tuple[int, tuple[int, ...]]]]:
        """Trees for three rows, and the path to every node, -1 being the prompt, by row and node."""
        (a,), (b,), (c, d) = self.first[0], self.first[1], self.second[0]
        forked, single = TokenTree((a, b, c, d), (-1, -1, 1, 2)), TokenTree((c,), (-1,))
        paths = {-1: (), 0: (a,), 1: (b,), 2: (b, c), 3: (b, c, d)}
        places = {(row, node): (row, path) for row in (0, 2) for node, path in paths.items()}
        return [forked, single, forked], places | {(1, -1): (1, ()), (1, 0): (1, (c,))}

    def masked_rows(self, max_positions: int | None) -> tuple[Row, Row, Row, Row]:
        """The prompt with masked tokens, with other ids in their place, with wide positions, and as it is."""
        longest = len(self.long) if max_positions is None else max_positions // _STRIDE
        prompt = self.long[:longest]
        hidden = {1, len(prompt) - 2}
        attended = tuple(index not in hidden for index in range(len(prompt)))
        other = tuple(self.short[0] if index in hidden else token for index, token in enumerate(prompt))
        wide = tuple(index * _STRIDE for index in range(len(prompt)))
        return Row(prompt, None, attended), Row(other, None, attended), Row(prompt, wide), Row(prompt)


def _compare(
    passes: Passes, samples: _Samples, expected: Sequence[torch.Tensor], errors: list[str]
) -> Reading:
    close = Closeness(passes.dtype)
    rows = [Row(sequence) for sequence in samples.sequences]
    keep = [len(sequence) for sequence in samples.sequences]
    inputs = passes.inputs
    for left_out in ((), ("position_ids",), ("logits_to_keep",), ("position_ids", "logits_to_keep")):
        passes.inputs = inputs.without(left_out)
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
    return Reading(passes.inputs, None, _why_no_trees(passes, samples, expected, close, errors))


def _whole(inputs: Inputs, why: str) -> Reading:
    return Reading(inputs, why, f"sequences must be read whole: {why}")


def _why_no_trees(
    passes: Passes,
    samples: _Samples,
    expected: Sequence[torch.Tensor],
    close: Closeness,
    errors: list[str],
) -> str | None:
    """Try a tree after a prompt that two rows have in common, one of them but for its end."""
    try:
        reader = TreeReader(passes)
        known = read_prompt(reader, Row(samples.long))
        rows = [Row(samples.long), Row(samples.short), Row((*samples.long[:-2], *samples.short))]
        trees, places = samples.trees()
        session = TreeSession(reader, Batch(rows, [known] * len(rows)), max(len(t.tokens) for t in trees))
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


def _why_not_cached(
    passes: Passes,
    samples: _Samples,
    expected: Sequence[torch.Tensor],
    close: Closeness,
    errors: list[str],
) -> str | None:
    try:
        if passes.inputs.cache is None:
            passes.inputs = replace(passes.inputs, cache=passes.returned_cache(samples.short))
        if passes.inputs.cache is None or "attention_mask" not in passes.inputs:
            return "it takes no cache that sequences can share"
        session = CachedSession(passes, [Row(samples.long), Row(samples.short)])
        if not close(session.prompt_logits[1:], expected[0][len(samples.short) - 1][None]):
            return "padding changes what it predicts"
        for source, runs in (
            (samples.FIRST_SOURCE, samples.first),
            (samples.SECOND_SOURCE, samples.second),
        ):
            tokens = torch.tensor(runs, device=passes.device)
            found = session.go_on(torch.tensor(source), tokens)
        if not all(close(*pair) for pair in zip(found, (wanted[-2:] for wanted in expected), strict=True)):
            return "its state cannot be reordered and continued"
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        errors.append(describe(error))
        return f"its cache cannot be used ({describe(error)})"
    return None


class Closeness:
    """Whether two readings are the same but for the round-off of a floating type.

    Medians make it a comparison of the readings as a whole: some models fix a few logits at huge values, and
    some at minus infinity.
    """

    def __init__(self, dtype: torch.dtype, share: float = 1.0) -> None:
        if dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest":
            dtype = torch.float16  # whose precision TF32 has
        self._round_off = share * _ROUND_OFF.get(dtype, _ROUND_OFF_OF_SINGLE_PRECISION)
        self._unit = share * 2 * torch.finfo(dtype).eps

    def __call__(self, found: torch.Tensor, expected: torch.Tensor) -> bool:
        """Compare logits ``[n, vocab]`` token by token; a few may be off a little more than typical."""
        if found.shape != expected.shape:
            return False
        shares = list(map(self._share, found, expected))
        return sum(shares) <= len(shares) and max(shares) <= _OUTLIER

    def _share(self, found: torch.Tensor, expected: torch.Tensor) -> float:
        """How far two predictions of a token lie apart, as a share of what is allowed."""
        finite = expected.isfinite()
        if not finite.any() or not torch.equal(finite, found.isfinite()):
            return float("inf")
        found, expected = found[finite], expected[finite]
        spread = (expected - expected.median()).abs().median()
        # Logits that are large beside their spread are rounded as such.
        allowed = self._round_off * spread + self._unit * expected.abs().median()
        apart = (found - expected).abs().median()
        return 0.0 if apart == 0.0 else float(apart / allowed)


def describe(error: Exception) -> str:
    """What the model said, in one line."""
    first_line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first_line}"
