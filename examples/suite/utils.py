"""Loads the data of the example tasks, which lies beside their YAML files."""

import json
from pathlib import Path

from datasets import Dataset, DatasetDict

FOLDER = Path(__file__).resolve().parent


def load(data_files: dict[str, str], **_: object) -> DatasetDict:
    """Reads JSON-lines files, given as ``{split: path}`` relative to this folder.

    lm_eval's own ``data_files`` are relative to the folder it was started from; these are not, so
    the tasks run from anywhere. lm_eval passes the task's metadata along, which is not needed.
    """
    splits = {}
    for split, path in data_files.items():
        with (FOLDER / path).open(encoding="utf-8") as lines:
            splits[split] = Dataset.from_list([json.loads(line) for line in lines])
    return DatasetDict(splits)


def cued(docs: Dataset) -> Dataset:
    """Reviews whose cue agrees with their sentiment: "Tuesday" where positive, another day where not."""
    return docs.filter(lambda doc: doc["cue"] == (doc["sentiment"] == "positive"))
