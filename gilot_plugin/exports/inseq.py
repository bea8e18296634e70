"""Attributions as inseq's objects, which its viewer, its aggregations and its files take.

inseq has a column for each generated token; a score here belongs to the explained answer as a whole. So the
answer is one piece, as after inseq's own aggregation of spans.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from gilot_plugin.artifacts.typed import Record
from gilot_plugin.exports.explained import explained_text
from gilot_plugin.reports.heat import heat_pieces

if TYPE_CHECKING:
    from inseq import FeatureAttributionOutput
    from inseq.data import FeatureAttributionSequenceOutput

#: inseq counts pieces of text that are no single token as unknown.
_NO_TOKEN = -1


def to_inseq(records: Sequence[Record], method: str | None = None) -> FeatureAttributionOutput:
    """Convert explained samples of one model.

    Args:
        records: Samples; those without scores by the method are left out.
        method: Whose scores; by default that of the first explained sample.

    Returns:
        For each sample, the pieces of the prompt and the answer, and as ``target_attributions``
        ``[pieces + 1, 1]`` the scores; NaN for pieces that were not taken away, such as a chat template.

    Raises:
        ValueError: No sample has scores by the method.
        ImportError: inseq is not installed.
    """
    from inseq import FeatureAttributionOutput

    method = method or next((record.method for record in records if record.method), None)
    chosen = [record for record in records if method in record.scores and record.units]
    if method is None or not chosen:
        raise ValueError(f"no sample has scores by method {method!r}")
    return FeatureAttributionOutput(
        sequence_attributions=[_sequence(record, record.scores[method]) for record in chosen],
        info={
            "attribution_method": method,
            "model_name": chosen[0].model,
            "input_texts": [record.prompt for record in chosen],
            "generated_texts": [record.prompt + (explained_text(record) or "") for record in chosen],
        },
    )


def _sequence(record: Record, scores: Sequence[float]) -> FeatureAttributionSequenceOutput:
    from inseq.data import FeatureAttributionSequenceOutput
    from inseq.utils.typing import TokenWithId

    pieces = heat_pieces(record)
    column = [max((scores[unit] for unit in piece.units), key=abs, default=math.nan) for piece in pieces]
    prompt = [TokenWithId(piece.text, _NO_TOKEN) for piece in pieces]
    return FeatureAttributionSequenceOutput(
        source=prompt,
        target=[*prompt, TokenWithId(explained_text(record) or "", _NO_TOKEN)],
        # The answer's row: it is not attributed to itself.
        target_attributions=torch.tensor([*column, math.nan], dtype=torch.float32).unsqueeze(-1),
        attr_pos_start=len(pieces),
        attr_pos_end=len(pieces) + 1,
    )
