"""Names and numbers of the method that settings know; without anything that takes long to import."""

from __future__ import annotations

#: Values of the setting ``solver``; :func:`gilot_plugin.attribution.transport.make_solver` makes them.
SOLVER_NAMES = ("auto", "exact", "sinkhorn", "proximal", "ipot")

#: The scheme that takes one unit away at a time.
LEAVE_ONE_OUT = "leave_one_out"

#: Limit of truncated costs. With SmolLM2's input embeddings, spellings and synonyms of a word are 0.1 to 0.5
#: apart and the likely next tokens of a prompt 0.8 in the median: what is no variant of a token counts the
#: same, whatever the tails of the cosine say.
DEFAULT_COST_LIMIT = 0.5
