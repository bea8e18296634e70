"""Which process explains which samples."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from gilot_plugin.attribution.prompt.windows import START
from gilot_plugin.extension.samples import Sample
from gilot_plugin.settings.config import GilotConfig
from gilot_plugin.settings.fields import AUTO_UNITS, DEFAULT_UNIT_BUDGET

#: Characters of usual text that make up a unit. They only have to tell long prompts from short ones.
_CHARACTERS_A_TOKEN = 4
_CHARACTERS_A_UNIT = {"token": _CHARACTERS_A_TOKEN, "word": 6, "line": 60, "sentence": 100, "segment": 400}


def share_out(costs: Sequence[float], shares: int) -> list[list[int]]:
    """Share pieces of work out by their cost, so that all shares take about as long.

    The dearest piece first, each to the share that has least so far (longest processing time first, Graham
    1969): the longest share takes at most 4/3 of the best possible one. The same costs give the same shares.

    Args:
        costs: Of each piece.
        shares: Their number.

    Returns:
        Numbers of the pieces of each share, in order.
    """
    loads = [(0.0, share) for share in range(shares)]
    found: list[list[int]] = [[] for _ in range(shares)]
    for piece in sorted(range(len(costs)), key=lambda piece: (-costs[piece], piece)):
        load, share = heapq.heappop(loads)
        found[share].append(piece)
        heapq.heappush(loads, (load + costs[piece], share))
    return [sorted(pieces) for pieces in found]


def estimated_cost(sample: Sample, config: GilotConfig, explain: str | Mapping[str, str] = START) -> float:
    """About how many tokens the model has to read to explain a sample.

    Each unit costs the part of the prompt behind it, which is half of it on average, and the continuations.
    """
    characters = max((len(str(arguments[0])) for arguments in sample.arguments), default=0)
    said = 0
    if explain != START and sample.identity.request_type == "generate_until":
        # What the model said before what is explained is read again behind each unit.
        said = max((len(str(response[0])) for response in sample.responses), default=0)
    tokens = (characters + said) / _CHARACTERS_A_TOKEN
    if config.units == AUTO_UNITS:
        return min(tokens * tokens, config.unit_budget or DEFAULT_UNIT_BUDGET)
    width = _CHARACTERS_A_UNIT.get(config.units, 6) if isinstance(config.units, str) else 6
    beams = 1 if config.hypotheses == "response" else config.num_beams
    continuations = beams * config.max_new_tokens
    behind = (characters / 2 + said) / _CHARACTERS_A_TOKEN
    return (characters / width + 1) * (behind + continuations)
