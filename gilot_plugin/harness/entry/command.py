"""``gilot run``: lm-eval's own command with attributions beside it."""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lm_eval._cli.harness
import lm_eval.api.registry
import yaml
from lm_eval.config.evaluate_config import EvaluatorConfig
from lm_eval.tasks import TaskManager
from lm_eval.utils import setup_logging

from gilot_plugin.artifacts.finding import locate_run
from gilot_plugin.artifacts.writer import check_writable
from gilot_plugin.errors import ArtifactError, ConfigError
from gilot_plugin.harness.entry.again import check_tasks
from gilot_plugin.harness.entry.attach import Attachment, attach
from gilot_plugin.harness.entry.harness_config import without_section
from gilot_plugin.harness.entry.task_files import TaskFile, task_files
from gilot_plugin.harness.keeping.locking import locked
from gilot_plugin.harness.keeping.resumption import find_resumed, refuse_other_settings
from gilot_plugin.settings.ablation import lending_tasks
from gilot_plugin.settings.sources import command_sources, given_settings, read_section, task_config

_OWN_OPTIONS = ("gilot", "gilot_args")


def make_parser() -> argparse.ArgumentParser:
    """lm-eval's parser of ``lm_eval run`` with this package's options, so that ``--help`` shows both."""
    harness = lm_eval._cli.harness.HarnessCLI()
    parser: argparse.ArgumentParser = harness._subparsers.choices["run"]
    parser.prog = "gilot run"
    parser.usage = "gilot run [any option of lm_eval run] [--gilot FILE.yaml] [--gilot_args key=value,...]"
    parser.epilog = (parser.epilog or "").replace("lm-eval run", "gilot run")
    group = parser.add_argument_group("attributions (GiLOT)")
    group.add_argument("--gilot", metavar="<path>", type=Path, help="YAML file of attribution settings")
    group.add_argument(
        "--gilot_args",
        metavar="<args>",
        nargs="+",
        action="extend",
        default=[],
        help="Attribution settings as key=value,key2=value2; they win over the YAML file, which wins over "
        "a section `gilot` in the file of --config, which wins over the settings of a task "
        "(metadata: {gilot: ...}), which win over those that ship for well-known tasks. Values are YAML, "
        "dots nest: "
        "units=word,num_beams=4,methods=[ot,kl],select.strategy=random,select.n=5",
    )
    return parser


def run_command(argv: list[str]) -> Attachment:
    """Run an evaluation as ``lm_eval run`` would, and explain its samples.

    Args:
        argv: Arguments after ``gilot run``.

    Returns:
        The attachment, which knows what was explained.

    Raises:
        ConfigError: The command or the settings are wrong; raised before a model loads.
    """
    setup_logging()
    try:
        arguments = make_parser().parse_args(argv)
    except ValueError as error:  # lm-eval's reading of JSON options
        raise ConfigError(str(error)) from None
    section = read_section(arguments.config) if arguments.config else None
    given = given_settings(command_sources(arguments.gilot, arguments.gilot_args, section).values)
    for option in _OWN_OPTIONS:
        delattr(arguments, option)
    with without_section():
        check_before_loading(arguments, given)
        with attach(given) as attachment:
            arguments.func(arguments)
    return attachment


def named_tasks(arguments: argparse.Namespace) -> tuple[EvaluatorConfig, list[TaskFile]]:
    """Options as lm-eval reads them, and the tasks that they name.

    Args:
        arguments: Parsed options of ``lm_eval run``, or some of them.

    Raises:
        ConfigError: An option, or a task's name or file, is wrong.
    """
    with _quiet():
        try:
            checked = EvaluatorConfig.from_cli(copy.deepcopy(arguments))
            manager = checked.process_tasks(checked.metadata)
        except (ValueError, TypeError, OSError, yaml.YAMLError, ImportError, AttributeError) as error:
            raise ConfigError(str(error)) from None
    if not checked.tasks:
        raise ConfigError("no tasks are named: add --tasks NAME (`lm_eval ls tasks` lists them)")
    return checked, list(task_files(manager, checked.tasks))


def check_before_loading(arguments: argparse.Namespace, given: Mapping[str, Any]) -> None:
    """Refuse what lm-eval or the attribution would refuse only after the model has loaded.

    Args:
        arguments: Parsed options of ``lm_eval run``.
        given: Settings given for the run, see :func:`gilot_plugin.settings.sources.given_settings`.

    Raises:
        ConfigError: An option, a task's name or file, or a task's own settings are wrong, or there is no
            output folder that can be written.
    """
    checked, tasks = named_tasks(arguments)
    if isinstance(checked.samples, str):
        raise ConfigError(f"--samples {checked.samples!r}: neither JSON nor a file")
    folder = _output_folder(given.get("output_path"), checked.output_path)
    configs = [task_config(task.name, task.settings, given, task.output_type) for task in tasks]
    lenders = {
        name for config in configs if config.ablate is not None for name in lending_tasks(config.ablate)
    }
    if others := sorted(lenders - {task.name for task in tasks}):
        with _quiet():
            manager = TaskManager(include_path=checked.include_path)
        check_tasks(manager, others, checked.include_path)
    resume = given.get("resume")
    if resume is not None and (earlier := find_resumed(resume, folder)):
        own = {task.name: task.settings for task in tasks}
        known = {
            task: task_config(task, own.get(task), given, entry["output_type"])
            for task, entry in earlier["tasks"].items()
        }
        refuse_other_settings(earlier, known)
        with locked(locate_run(resume)[0], earlier["date"]):
            pass  # nobody else is at work on it
    try:
        lm_eval.api.registry.get_model(checked.model)
    except ValueError as error:
        raise ConfigError(f"--model {checked.model}: {error}") from None


def _output_folder(own: Path | None, harness: str | None) -> Path:
    """Where artifacts go; refuses to run without a folder that can be written.

    lm-eval's may be the name of a JSON file in it.
    """
    folder = own
    if folder is None:
        if not harness:
            raise ConfigError(
                "output_path is not set, so attributions would be lost: add --output_path DIR "
                "(lm-eval's results go there, too) or --gilot_args output_path=DIR"
            )
        folder = Path(harness)
        if folder.suffix == ".json":
            folder = folder.parent
    try:
        check_writable(folder)
    except ArtifactError as error:
        raise ConfigError(f"output_path={str(folder)!r}: {error}") from None
    return folder


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what lm-eval prints: it will say it all again when the run starts."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
