"""What was explained and what was not, and where it is, for the terminal."""

from __future__ import annotations

from collections import Counter

from rich.console import Console

from gilot_plugin.artifacts.records import failed_methods
from gilot_plugin.harness.entry.attach import Attachment
from gilot_plugin.harness.keeping.manifest import describe_cache_use
from gilot_plugin.reports.wording import cache_use_lines


def print_summary(attachment: Attachment) -> bool:
    """Say on standard error what came of the evaluations of an attachment.

    Returns:
        Whether every chosen sample was explained or has a reason not to be, and no plugin failed.
    """
    console = Console(stderr=True)
    failed = attachment.interrupted
    for run in attachment.runs:
        if not (run.team.leads and run.team.writes):
            continue
        counts = Counter(record["status"] for record in run.records)
        summary = ", ".join(
            f"{counts[status]} {status}" for status in ("ok", "skipped", "failed") if counts[status]
        )
        kept = f", {run.kept_count} of them kept from before" if run.kept_count else ""
        console.print(
            f"GiLOT: {len(run.records)} samples ({summary or 'none chosen'}{kept})", highlight=False
        )
        if left_out := sum(len(chosen.left_out) for chosen in run.chosen.values()):
            console.print(
                f"  the budget left out {left_out} samples; resume goes on with them", highlight=False
            )
        if run.unsupported is not None and run.records:
            console.print(f"  skipped: {run.unsupported}", markup=False, highlight=False)
        for record in run.records:
            if record["status"] != "ok" and record["reason"] != run.unsupported:
                where = f"{record['task']} doc {record['doc_id']}"
                console.print(
                    f"  {record['status']}: {where}: {record['reason']}", markup=False, highlight=False
                )
            for method, reason in failed_methods(record).items():
                where = f"{record['task']} doc {record['doc_id']}"
                told = f"  failed: method {method} of {where}: {reason}"
                console.print(told, markup=False, highlight=False)
        doubts = Counter((record.get("target") or {}).get("response_doubt") for record in run.records)
        for doubt, count in doubts.items():
            if doubt is not None:
                told = f"  {count} of the answers: {doubt}"
                console.print(told, markup=False, highlight=False, soft_wrap=True)
        for line in cache_use_lines(describe_cache_use(run)):
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
        errors = {task: chosen.error for task, chosen in run.chosen.items() if chosen.error}
        for task, error in errors.items():
            console.print(f"  {task}: nothing chosen: {error}", markup=False, highlight=False)
        if run.files.folder is not None and run.records:
            console.print(f"Artifacts: {run.files.folder}", markup=False, highlight=False, soft_wrap=True)
            console.print(
                f"Look at them: gilot show {run.files.folder}", markup=False, highlight=False, soft_wrap=True
            )
        for hook in sorted(run.seen.failed_hooks):
            told = f"  failed: a plugin in {hook}, while the model was scored; the log has the error"
            console.print(told, markup=False, highlight=False)
        broken = bool(run.seen.failed_hooks) or any(map(failed_methods, run.records))
        failed = failed or bool(errors) or broken or counts["failed"] > 0
    if attachment.interrupted:
        console.print("interrupted: not every chosen sample was explained", style="bold red")
    return not failed
