"""What is measured of a prompt beside its units: all that decides the numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gilot_plugin.attribution.distance.ground_costs import COSINE, GroundCost
from gilot_plugin.attribution.methods import AttributionMethod, OutcomeMethod
from gilot_plugin.attribution.names import LEAVE_ONE_OUT
from gilot_plugin.attribution.prompt.absence import AbsenceContext, AbsenceOperator
from gilot_plugin.attribution.schemes.leave_one_out import leave_one_out
from gilot_plugin.attribution.schemes.protocol import Scheme
from gilot_plugin.attribution.transport import Solver


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that determines the numbers of an attribution, beside the model, the prompt and its units.

    Attributes:
        num_beams: K.
        max_new_tokens: J.
        hypotheses: Whether each prompt's own are searched (``"regenerate"``), those of the full prompt are
            scored again (``"shared"``), or the model's answer is (``"response"``).
        steps: Whether outcomes after J tokens are compared (``"last"``), or at each position 1, ..., J of the
            answer and the distances averaged (``"mean"``).
        choice_scoring: Whether the log-likelihoods of choices count as they are (``"sum"``) or a character
            (``"norm"``).
        absence: How units are taken away.
        absence_context: What the absence operator may need.
        methods: What is computed for each unit.
        solver: Solves the transport problems.
        top_p: Cumulative mass of the support.
        top_k: Largest support of each distribution.
        ground_cost: What it costs to move probability between outcomes.
        scheme: How scores come from coalitions.
        scheme_name: Value of the setting that names it.
        seed: For methods that draw random numbers.
        step_scores: Whether the scores at every single position are kept.
    """

    num_beams: int
    max_new_tokens: int
    absence: AbsenceOperator
    absence_context: AbsenceContext
    methods: tuple[AttributionMethod, ...]
    solver: Solver
    top_p: float
    top_k: int
    ground_cost: GroundCost = COSINE
    scheme: Scheme = leave_one_out
    scheme_name: str = LEAVE_ONE_OUT
    hypotheses: Literal["regenerate", "shared", "response"] = "regenerate"
    steps: Literal["last", "mean"] = "last"
    choice_scoring: Literal["sum", "norm"] = "sum"
    seed: int = 0
    step_scores: bool = True

    @property
    def needs_odds(self) -> bool:
        """Whether a measure asks how likely the answer is against everything else."""
        return any(isinstance(method, OutcomeMethod) and method.needs_odds for method in self.methods)
