"""The errors that users of the package meet."""

from __future__ import annotations

from collections.abc import Sequence


class GilotError(Exception):
    """Base class of every error that the package raises on purpose."""


class ConfigError(GilotError, ValueError):
    """A setting is unknown, malformed, or cannot be combined with another one.

    The message names the field, the value that was given, and what is allowed.
    """


class UnsupportedModelError(GilotError):
    """The model does not expose what GiLOT needs: full next-token distributions and token embeddings."""


class PromptError(GilotError, ValueError):
    """The prompt cannot be attributed: it is empty, nothing in it may be taken away, or it does not fit."""


class NonFiniteLogitsError(GilotError, ArithmeticError):
    """The model returned NaN or only infinite logits, so no distribution can be computed."""


class BudgetError(GilotError):
    """The memory at hand is too small for a single row of the search."""


class ArtifactError(GilotError):
    """An artifact cannot be read or written, or does not follow the schema."""


def one_of(allowed: Sequence[str]) -> str:
    """Phrase a list of allowed values for an error message."""
    return ", ".join(repr(name) for name in allowed)
