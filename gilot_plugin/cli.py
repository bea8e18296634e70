"""The command ``gilot``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from gilot_plugin import __version__
from gilot_plugin.artifacts.names import companion_name
from gilot_plugin.commands import faithfulness
from gilot_plugin.commands.shared import DONE, FAILED, WRONG, count, say, write
from gilot_plugin.errors import ConfigError, GilotError
from gilot_plugin.reports.visible import visible

_RUN_HELP = "run an lm-eval evaluation and explain samples of it (takes every option of lm_eval run)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments after the program's name; None for the process's own.

    Returns:
        0 done; 1 something failed and is named; 2 the command or a setting is wrong.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    errors = Console(stderr=True, emoji=False)
    try:
        if arguments[:1] == ["run"]:
            return _run(arguments[1:])
        options = _parser().parse_args(arguments)
        command: Callable[[argparse.Namespace], int] = options.command
        return command(options)
    except ConfigError as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        return WRONG
    except GilotError as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gilot",
        description="GiLOT attributions beside the scores of lm-evaluation-harness: how much each word of a "
        "prompt matters to everything the model might say.",
    )
    parser.add_argument("--version", action="version", version=f"gilot-plugin {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    # Listed for --help only: its options are lm-eval's and are parsed by lm-eval's parser.
    commands.add_parser("run", help=_RUN_HELP, add_help=False)

    show = commands.add_parser("show", help="overview and heat maps of attributed samples in the terminal")
    show.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="output folder of a run")
    show.add_argument("--task", help="only this task")
    show.add_argument("--doc", type=int, help="only this document (lm-eval's doc_id)")
    show.add_argument("--correct", action="store_true", default=None, help="only what the model got right")
    show.add_argument(
        "--incorrect", dest="correct", action="store_false", help="only what the model got wrong"
    )
    show.add_argument("--segment", help="only samples of which this part of the prompt has the largest share")
    show.add_argument("--search", metavar="TEXT", help="only samples whose prompt holds this text")
    show.add_argument(
        "--sort",
        choices=("doc", "margin", "score"),
        default="doc",
        help="by document, by margin (closest first), or by the largest score (default: doc)",
    )
    show.add_argument("--list", action="store_true", help="one line a sample")
    show.add_argument("--method", help="scores to show (default: ot, else the first method of the run)")
    show.add_argument("--limit", type=count, help="at most so many samples")
    show.add_argument("--no_color", action="store_true", help="marks instead of colours (also when piped)")
    show.set_defaults(command=_show)

    report = commands.add_parser("report", help="one self-contained HTML file about a run")
    report.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="output folder of a run")
    report.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="where to write (default: report_<date>.html beside the run)",
    )
    report.set_defaults(command=_report)

    compare = commands.add_parser(
        "compare", help="paired audit of a fine-tuned model against its base (HTML, JSON, verdict)"
    )
    compare.add_argument(
        "base_run", type=Path, metavar="BASE_RUN", help="output folder of the base model's run"
    )
    compare.add_argument("tuned_run", type=Path, metavar="TUNED_RUN", help="output folder of the other run")
    compare.add_argument(
        "--noise",
        type=Path,
        action="append",
        default=[],
        metavar="RUN",
        help="the base model's run once more, with another seed or batch size; may be given several times",
    )
    compare.add_argument("--method", help="whose scores to compare (default: ot, else the first in both)")
    compare.add_argument("--seed", type=int, default=0, help="of the resampling (default: 0)")
    compare.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where to write (default: beside the other run's artifacts)",
    )
    compare.add_argument(
        "--fail_on",
        action="append",
        default=[],
        metavar="NAME[=LIMIT]",
        help="exit with 1 where the audit reaches a limit: findings, segment_shift, word_shift, "
        "accuracy_drop, right_to_wrong, moved",
    )
    compare.set_defaults(command=_compare)

    figures = commands.add_parser("figures", help="heat maps and charts of a run, as PNG and SVG")
    figures.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="output folder of a run")
    figures.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where to write (default: figures_<date> in the run's folder)",
    )
    figures.add_argument("--task", help="only this task")
    figures.add_argument("--doc", type=int, help="only this document (lm-eval's doc_id)")
    figures.add_argument("--method", help="whose scores to draw (default: ot, else the first of the run)")
    figures.add_argument("--limit", type=count, default=3, help="heat maps of a task (default: 3)")
    figures.add_argument("--format", choices=("png", "svg", "both"), default="both", help="default: both")
    figures.set_defaults(command=_figures)

    card = commands.add_parser("card", help="write or renew the section about a run in a model card")
    card.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="output folder of a run")
    card.add_argument(
        "--model_card",
        type=Path,
        required=True,
        metavar="README.md",
        help="the card; all but the section between its markers stays as it is",
    )
    card.add_argument("--method", help="whose scores to tell of (default: ot, else the first of the run)")
    card.set_defaults(command=_card)

    faithfulness.add_parser(commands)

    validate = commands.add_parser(
        "validate", help="check artifacts against their schema and against each other"
    )
    validate.add_argument("path", type=Path, metavar="FILE_OR_DIR")
    validate.set_defaults(command=_validate)

    methods = commands.add_parser(
        "methods", help="attribution methods, ways to take units away and to choose samples"
    )
    methods.set_defaults(command=_methods)
    plugins = commands.add_parser("plugins", help="what is registered, and by which package")
    plugins.set_defaults(command=_plugins)
    return parser


def _run(arguments: list[str]) -> int:
    from gilot_plugin.harness.command import make_parser, run_command
    from gilot_plugin.harness.summary import print_summary

    if not arguments:
        make_parser().print_help()
        return DONE
    return DONE if print_summary(run_command(arguments)) else FAILED


def _show(options: argparse.Namespace) -> int:
    from gilot_plugin.artifacts.reader import read_run
    from gilot_plugin.reports.terminal import Filter, show_run

    console = Console(no_color=options.no_color or None)
    show_run(
        read_run(options.run_dir),
        console,
        chosen=Filter(
            options.task, options.doc, options.correct, options.segment, options.search, options.sort
        ),
        method=options.method,
        limit=options.limit,
        overview=options.doc is None,
        listed=options.list,
    )
    return DONE


def _report(options: argparse.Namespace) -> int:
    from gilot_plugin.artifacts.loading import load_run
    from gilot_plugin.reports.html.report import report_page

    run = load_run(options.run_dir)
    write(options.output or run.folder / companion_name("report", run.date, ".html"), report_page(run))
    return DONE


def _compare(options: argparse.Namespace) -> int:
    from gilot_plugin.artifacts.loading import load_run
    from gilot_plugin.comparison.audit import audit_runs
    from gilot_plugin.comparison.verdict import audit_json, failures, parse_thresholds, verdict_lines
    from gilot_plugin.reports.html.comparison import comparison_page
    from gilot_plugin.reports.shift_table import shift_table

    thresholds = parse_thresholds(options.fail_on)
    base, tuned, *noise = map(load_run, (options.base_run, options.tuned_run, *options.noise))
    audit = audit_runs(base, tuned, noise=noise, method=options.method, seed=options.seed)
    console = Console()
    for line in (*verdict_lines(audit), *(f"Note: {warning}." for warning in audit.warnings)):
        console.print(visible(line, console.encoding), markup=False, highlight=False)
    console.print(shift_table(audit, console.encoding))
    folder: Path = options.output or tuned.folder
    write(folder / companion_name("comparison", tuned.date, ".html"), comparison_page(audit))
    write(
        folder / companion_name("comparison", tuned.date, ".json"),
        json.dumps(audit_json(audit), indent=1) + "\n",
    )
    failed = list(failures(audit, thresholds))
    for line in failed:
        console.print(f"failed on {line}", style="red", markup=False, highlight=False)
    return FAILED if failed else DONE


def _figures(options: argparse.Namespace) -> int:
    from gilot_plugin.artifacts.loading import load_run
    from gilot_plugin.reports.figures import run_figures, save_figure

    run = load_run(options.run_dir)
    folder: Path = options.output or run.folder / f"figures_{run.date}"
    suffixes = (".png", ".svg") if options.format == "both" else (f".{options.format}",)
    for name, figure, description in run_figures(
        run, method=options.method, task=options.task, doc=options.doc, limit=options.limit
    ):
        for suffix in suffixes:
            save_figure(figure, folder / f"{name}{suffix}", description)
            say(str(folder / f"{name}{suffix}"))
    return DONE


def _card(options: argparse.Namespace) -> int:
    from gilot_plugin.artifacts.loading import load_run
    from gilot_plugin.reports.card.editing import new_card, read_card, with_section
    from gilot_plugin.reports.card.section import card_section
    from gilot_plugin.reports.figures import save_figure

    path: Path = options.model_card
    before = read_card(path)
    section = card_section(load_run(options.run_dir), options.method)
    after = with_section(new_card(section.title) if before is None else before, section.text)
    # The figures first, so that no card shows what is not there.
    for file, figure, description in section.pictures:
        save_figure(figure, path.parent / file, description)
        say(str(path.parent / file))
    if after == before:
        say(f"{path}: unchanged")
    else:
        write(path.resolve(), after.decode())
    return DONE


def _validate(options: argparse.Namespace) -> int:
    from gilot_plugin.artifacts.validation import validate_path

    report = validate_path(options.path)
    console = Console()
    for problem in report.problems:
        line = f":{problem.line}" if problem.line is not None else ""
        console.print(
            f"{problem.file}{line}: {problem.reason}", markup=False, highlight=False, soft_wrap=True
        )
    verdict = f"{len(report.problems)} problems" if report.problems else "valid"
    console.print(f"{report.files} files, {report.records} records: {verdict}", highlight=False)
    return FAILED if report.problems else DONE


def _methods(options: argparse.Namespace) -> int:
    from gilot_plugin import plugins
    from gilot_plugin.attribution.distances import MARGIN

    console = Console()
    offers = (
        ("methods", plugins.attribution_methods()),
        ("absence", plugins.absence_operators()),
        ("select.strategy", plugins.selection_strategies()),
    )
    for setting, found in offers:
        table = Table("name", "what it does", title=f"setting {setting}", title_justify="left")
        if setting == "methods":
            table.caption = f"{MARGIN.name} comes by itself with choices: {MARGIN.summary}"
            table.caption_justify = "left"
        for name, offer in found.items():
            table.add_row(escape(name), escape(offer.summary))
        console.print(table)
    return DONE


def _plugins(options: argparse.Namespace) -> int:
    from gilot_plugin import plugins

    manager = plugins.manager()
    packages = {
        plugin: f"{found.project_name} {found.version}" for plugin, found in manager.list_plugin_distinfo()
    }
    # Names that are cut short would look alike.
    table = Table(*(Column(title, overflow="fold") for title in ("plugin", "package", "hooks")))
    for name, plugin in manager.list_name_plugin():
        callers = manager.get_hookcallers(plugin) or []
        hooks = ", ".join(sorted(caller.name for caller in callers))
        table.add_row(escape(name), escape(packages.get(plugin, "gilot-plugin (built in)")), hooks)
    Console().print(table)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
