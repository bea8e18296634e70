"""Attach for the rest of the process, where lm-eval's own command runs and not ``gilot run``."""

from __future__ import annotations

import atexit
import inspect
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lm_eval.evaluator

from gilot_plugin.harness.entry.attach import Attachment, attach
from gilot_plugin.harness.entry.summary import print_summary
from gilot_plugin.settings.merging import Source, settle
from gilot_plugin.settings.sources import parse_args, read_yaml

#: Environment variables with settings: a YAML file, and ``key=value`` pairs, which win over it.
FILE_VARIABLE, ARGS_VARIABLE = "GILOT", "GILOT_ARGS"


def environment_settings(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Settings in the environment variables ``GILOT`` and ``GILOT_ARGS``.

    Raises:
        ConfigError: They are wrong.
    """
    file, arguments = environment.get(FILE_VARIABLE), environment.get(ARGS_VARIABLE)
    sources = [
        Source(f"{FILE_VARIABLE}={file}", read_yaml(Path(file)) if file else {}),
        Source(ARGS_VARIABLE, parse_args([arguments] if arguments else [])),
    ]
    return dict(settle(sources).values)


def attach_process(settings: Mapping[str, Any]) -> Attachment:
    """Explain samples of every evaluation until the process ends; then say what came of it.

    An evaluation that is just about to begin (its model is being made) is among them.

    Args:
        settings: As for :class:`GilotConfig`.

    Returns:
        The attachment.

    Raises:
        ConfigError: The settings are wrong.
        ArtifactError: The folder for artifacts cannot be written.
        GilotError: An attachment is active already.
    """
    stack = ExitStack()
    attachment = stack.enter_context(attach(settings))
    attachment.join(_call_under_way())

    def end() -> None:
        stack.close()
        print_summary(attachment)

    atexit.register(end)
    return attachment


def _call_under_way() -> Mapping[str, Any]:
    """The variables of a call of lm-eval's ``simple_evaluate`` that is under way; empty if there is none.

    A model class is made inside that call and is not told where results will go.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name == "simple_evaluate" and frame.f_globals is vars(lm_eval.evaluator):
            return frame.f_locals
        frame = frame.f_back
    return {}
