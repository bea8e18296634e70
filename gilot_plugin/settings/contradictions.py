"""Settings that are right by themselves and wrong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from gilot_plugin.attribution.methods import OutcomeMethod
from gilot_plugin.attribution.prompt.windows import AUTO, SCORED, START
from gilot_plugin.attribution.types import REASONING_SEGMENT
from gilot_plugin.plugins.offers import absence_operators, attribution_methods, schemes
from gilot_plugin.settings.fields import AUTO_UNITS, Fields

#: Solvers whose result does not depend on a tolerance.
_WITHOUT_TOLERANCE = ("exact", "ipot")

#: Settings that say how continuations are found and compared, and their value where a second pass reads them.
_OF_GENERATION = {"hypotheses": "regenerate", "steps": "last"}


class Contradiction(NamedTuple):
    """Settings that cannot stand together.

    Attributes:
        message: What is wrong and what to do about it.
        setting: The one that gives way where the other was given by a stronger source.
        because: The other one.
    """

    message: str
    setting: str
    because: str


def contradictions_of(config: Fields, ungiven: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Say which settings cannot be combined, and what to do about it.

    A setting that would have no effect is refused, too: whoever gives it expects one.

    Args:
        config: Settings that are each valid.
        ungiven: What settings are that nobody gave: those of the preset.
    """
    if config.absence == "replace" and config.replace_with is None:
        yield Contradiction(
            "absence='replace' needs replace_with: a token id, or the text of one token",
            "absence",
            "replace_with",
        )
    if config.absence != "replace" and config.replace_with is not None:
        yield Contradiction(
            f"replace_with={config.replace_with!r} has no effect with absence={config.absence!r}: "
            "allowed with 'replace' only",
            "replace_with",
            "absence",
        )
    yield from _of_the_second_pass(config)
    yield from _of_choices(config, ungiven)
    yield from _of_units(config)
    yield from _of_windows(config)
    yield from _of_schemes(config, ungiven)
    if config.ground_cost != "truncated" and config.cost_limit is not None:
        yield Contradiction(
            f"cost_limit={config.cost_limit} has no effect with ground_cost={config.ground_cost!r}: allowed "
            "with 'truncated' only",
            "cost_limit",
            "ground_cost",
        )
    given = config.transport_tolerance != ungiven["transport_tolerance"]
    if given and config.solver in _WITHOUT_TOLERANCE:
        yield Contradiction(
            f"transport_tolerance={config.transport_tolerance} has no effect with solver={config.solver!r}: "
            "allowed with 'auto', 'sinkhorn' and 'proximal'",
            "transport_tolerance",
            "solver",
        )


def _of_the_second_pass(config: Fields) -> Iterator[Contradiction]:
    """Operators whose outcome is read from a second pass after a search of their own."""
    if absence_operators()[config.absence].rescored_without is None:
        return
    if config.target == "choices":
        yield Contradiction(
            f"target='choices' cannot be combined with absence={config.absence!r}, which is defined for "
            "generation only: allowed are 'delete', 'mask' and 'replace'",
            "target",
            "absence",
        )
    for name, only in _OF_GENERATION.items():
        if getattr(config, name) != only:
            yield Contradiction(
                f"{name}={getattr(config, name)!r} cannot be combined with absence={config.absence!r}, which "
                f"searches and reads in its own way: allowed is {only!r}, or another absence",
                name,
                "absence",
            )


def _of_choices(config: Fields, ungiven: Mapping[str, Any]) -> Iterator[Contradiction]:
    if config.target == "choices":
        for name in _OF_GENERATION:
            if getattr(config, name) != ungiven[name]:
                yield Contradiction(
                    f"{name}={getattr(config, name)!r} has no effect with target='choices', whose "
                    "continuations are the task's: leave it out, or allow target='auto'",
                    name,
                    "target",
                )
    if config.target == "generation" and config.choice_scoring != "sum":
        yield Contradiction(
            f"choice_scoring={config.choice_scoring!r} has no effect with target='generation': allowed with "
            "'auto' and 'choices'",
            "choice_scoring",
            "target",
        )


def _of_windows(config: Fields) -> Iterator[Contradiction]:
    window = "{regex: ...}" if isinstance(config.explain, Mapping) else repr(config.explain)
    if config.explain not in (AUTO, START) and config.steps == "last":
        yield Contradiction(
            f"explain={window} cannot be combined with steps='last', which compares only what comes after "
            "the window: allowed is 'mean', or explain='start'",
            "explain",
            "steps",
        )
    if config.explain not in (AUTO, START, SCORED) and config.target == "choices":
        yield Contradiction(
            f"explain={window} has no effect with target='choices', of which the choice is explained: leave "
            "it out, or allow target='auto'",
            "explain",
            "target",
        )
    scopes = (config.scope,) if isinstance(config.scope, str) else config.scope
    if REASONING_SEGMENT in scopes and config.explain == START:
        yield Contradiction(
            f"scope={REASONING_SEGMENT!r} has nothing to take away with explain='start', before which the "
            "model said nothing: allowed with 'scored', 'end' and {regex: ...}",
            "scope",
            "explain",
        )
    if REASONING_SEGMENT in scopes and config.target == "choices":
        yield Contradiction(
            f"scope={REASONING_SEGMENT!r} has nothing to take away with target='choices', before which the "
            "model said nothing: leave it out, or allow target='auto'",
            "scope",
            "target",
        )


def _of_units(config: Fields) -> Iterator[Contradiction]:
    if config.units != AUTO_UNITS:
        if config.unit_budget is not None:
            yield Contradiction(
                f"unit_budget={config.unit_budget} has no effect with units={config.units!r}: allowed with "
                "'auto' only",
                "unit_budget",
                "units",
            )
        return
    methods = attribution_methods()
    if not any(isinstance(methods[name], OutcomeMethod) for name in config.methods):
        yield Contradiction(
            f"units='auto' follows the first distance among the methods, but {', '.join(config.methods)} "
            "has none: add one, e.g. 'ot'",
            "units",
            "methods",
        )


def _of_schemes(config: Fields, ungiven: Mapping[str, Any]) -> Iterator[Contradiction]:
    offered = schemes()
    methods = attribution_methods()
    if config.scheme != ungiven["scheme"] and not any(
        isinstance(methods[name], OutcomeMethod) for name in config.methods
    ):
        yield Contradiction(
            f"scheme={config.scheme!r} has no effect on {', '.join(config.methods)}, which have their own "
            "coalitions: add a method that measures coalitions, e.g. 'ot' or 'logprob'",
            "scheme",
            "methods",
        )
    if offered[config.scheme].budgeted:
        return
    for name in ("coalitions", "token_budget"):
        if getattr(config, name) != ungiven[name]:
            budgeted = ", ".join(repr(one.name) for one in offered.values() if one.budgeted)
            yield Contradiction(
                f"{name}={getattr(config, name)!r} has no effect with scheme={config.scheme!r}, which reads "
                f"every unit once: allowed with {budgeted}",
                name,
                "scheme",
            )
