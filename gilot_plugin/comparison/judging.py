"""What it takes for a change to count as a finding of an audit."""

from __future__ import annotations

from collections.abc import Sequence

from gilot_plugin.statistics import adjusted

#: Families of tests in an audit, each with an equal part of the rate of false discoveries: segments, words,
#: changes, flips.
FAMILIES = 4

#: Shifts below this are rounding, whatever the noise runs say.
ROUNDING = 1e-3


def audit_q_values(p_values: Sequence[float]) -> list[float]:
    """P-values of one of the audit's families, adjusted for each other and for the other families."""
    return adjusted(p_values, FAMILIES)
