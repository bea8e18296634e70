"""``gilot run`` in this process, with models that cannot be made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gilot_plugin import cli

#: Runs the command with arguments and returns why it refuses.
Refused = Callable[..., str]


class ModelLoadsError(Exception):
    """lm-eval has come as far as making a model."""


class UnloadableModel:
    """Stands for lm-eval's model classes."""

    @classmethod
    def create_from_arg_obj(cls, *args: Any, **kwargs: Any) -> Any:
        raise ModelLoadsError


def run(arguments: Sequence[str]) -> Any:
    """Run the command in this process: its exit code."""
    try:
        return cli.main(["run", *arguments])
    except SystemExit as end:  # of argparse
        return end.code
