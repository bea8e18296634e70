"""What plugins of other packages may import: this list, and nothing else is promised.

The hooks are those of :mod:`gilot_plugin.hookspecs`; their arguments and results are of these types.
"""

from gilot_plugin.artifacts.records import SampleIdentity, attributed_record, unattributed_record
from gilot_plugin.attribution.methods import (
    AnswerDrop,
    AttributionMethod,
    CoalitionValues,
    Distance,
    Interval,
    Measurement,
    MethodContext,
    OddsDrop,
    OutcomeMethod,
    PromptGame,
    PromptMethod,
    SignedDistance,
    TransportDistance,
)
from gilot_plugin.attribution.prompt.absence import AbsenceContext, AbsenceOperator
from gilot_plugin.attribution.schemes.protocol import (
    Interrupted,
    Scheme,
    SchemeOffer,
    SchemeOptions,
    SchemeResult,
    UnitsGame,
)
from gilot_plugin.attribution.types import Absent, Attribution, Interaction, Prompt, Token, Unit
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scorer import Scorer
from gilot_plugin.errors import ConfigError, GilotError, PromptError
from gilot_plugin.extension.feeds import Feed
from gilot_plugin.extension.runs import RunView, TaskView
from gilot_plugin.extension.samples import ChosenSample, Sample
from gilot_plugin.extension.strategies import CountOptions, Options, SelectionContext, SelectionStrategy

__all__ = [
    "AbsenceContext",
    "AbsenceOperator",
    "Absent",
    "AnswerDrop",
    "Attribution",
    "AttributionMethod",
    "ChosenSample",
    "CoalitionValues",
    "ConfigError",
    "CountOptions",
    "Distance",
    "Feed",
    "GilotError",
    "Interaction",
    "Interrupted",
    "Interval",
    "Measurement",
    "MethodContext",
    "OddsDrop",
    "Options",
    "OutcomeMethod",
    "Prompt",
    "PromptError",
    "PromptGame",
    "PromptMethod",
    "Row",
    "RunView",
    "Sample",
    "SampleIdentity",
    "Scheme",
    "SchemeOffer",
    "SchemeOptions",
    "SchemeResult",
    "Scorer",
    "SelectionContext",
    "SelectionStrategy",
    "SignedDistance",
    "TaskView",
    "Token",
    "TransportDistance",
    "Unit",
    "UnitsGame",
    "attributed_record",
    "unattributed_record",
]
