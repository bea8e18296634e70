"""Comparisons of groups of samples, for other programs."""

from __future__ import annotations

from typing import Any

from gilot_plugin.analysis.contrast import Contrasts, contrast_lines

_IDENTITY = ("task", "doc_id", "doc_hash", "prompt_hash", "target_hash")


def contrast_json(found: Contrasts) -> dict[str, Any]:
    """All of it as plain values, in the order of the table; unrounded."""
    return {
        "by": found.by,
        "method": found.method,
        "groups": dict(found.groups),
        "left_out": found.left_out,
        "problem": found.problem,
        "lines": list(contrast_lines(found)),
        "found": [
            {
                "kind": one.kind,
                "name": one.name,
                "group": one.group,
                **one.test._asdict(),
                "q_value": one.q_value,
                "testable": one.testable,
                "is_finding": one.is_finding,
                "typical": [dict(zip(_IDENTITY, key, strict=True)) for key in one.typical],
            }
            for one in found.found
        ],
    }
