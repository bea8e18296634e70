"""The card of an exported run, whose header tells the hub's viewer which file is which table."""

from __future__ import annotations

from collections.abc import Mapping

from huggingface_hub import DatasetCardData

from gilot_plugin.artifacts.loading import LoadedRun
from gilot_plugin.reports.card.markdown import markdown
from gilot_plugin.version import VERSION

#: What a row of each table is.
_ROWS = {
    "samples": "a chosen sample, explained or not: its prompt, what was explained of the answer, its metrics",
    "units": "a unit of an explained prompt: its text, its place in the prompt, its score by each method",
    "flows": "a flow: the probability that moves from one outcome to another without a unit, and its cost",
}


def dataset_card(run: LoadedRun, files: Mapping[str, str]) -> str:
    """Text of the card.

    Args:
        run: What was exported.
        files: For each table, the name of its file.
    """
    models = list(dict.fromkeys(record.model for record in run.records))
    header = DatasetCardData(
        pretty_name=f"Attributions of {', '.join(models)}",
        tags=["attribution", "explainability", "lm-evaluation-harness"],
        configs=[
            {"config_name": name, "data_files": file, **({"default": True} if name == "samples" else {})}
            for name, file in files.items()
        ],
    )
    lines = [
        f"# Attributions of {markdown(', '.join(models))}",
        "",
        "How much each word of a prompt matters to what the model might say, by GiLOT, of an evaluation with "
        f"lm-evaluation-harness: {len(run.explained)} of {len(run.records)} chosen samples were explained "
        f"(gilot-plugin {VERSION}). Tasks: {markdown(', '.join(run.tasks))}. Date: {run.date}.",
        "",
        "| table | one row is |",
        "| --- | --- |",
        *(f"| `{name}` | {_ROWS[name]} |" for name in files),
        "",
        "Rows belong together by `task`, `doc_id` and `doc_hash`; `unit` counts a prompt's units from 0. "
        "Scores of different samples and models are not on one scale.",
    ]
    return f"---\n{header.to_yaml()}\n---\n\n" + "\n".join(lines) + "\n"
