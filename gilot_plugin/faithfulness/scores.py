"""Attributions that were computed for the test, on the disk, so that an interrupted test goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gilot_plugin.artifacts.writer import RecordWriter
from gilot_plugin.faithfulness.cases import Case, Scored


class ScoreStore:
    """Scores by what they depend on, one JSON object a line; a line that was left unfinished is not read.

    Args:
        path: The file; the first score creates it.
        model: What is known of the model; scores of another one are not found.
    """

    def __init__(self, path: Path, model: Mapping[str, Any]) -> None:
        self._path, self._model = path, model
        self._known: dict[str, Scored] = {}
        for line in path.read_bytes().splitlines() if path.is_file() else ():
            try:
                found = json.loads(line)
            except ValueError:
                continue
            scores = {method: tuple(values) for method, values in found["scores"].items()}
            self._known[found["depends_on"]] = Scored(scores, found["seconds"])

    def find(self, case: Case, methods: Sequence[str], weights: int | None) -> Scored | None:
        """The scores of a case, if they are there.

        Args:
            case: The case.
            methods: Methods that were computed together.
            weights: Seed of the random weights; None for the model's own.
        """
        return self._known.get(self._digest(case, methods, weights))

    def add(self, case: Case, methods: Sequence[str], weights: int | None, scored: Scored) -> None:
        """Keep scores.

        Raises:
            ArtifactError: A score is NaN, or the file cannot be written.
        """
        digest = self._digest(case, methods, weights)
        with RecordWriter(self._path) as writer:
            writer.write(
                {
                    "task": case.key.task,
                    "doc_id": case.key.doc_id,
                    "depends_on": digest,
                    "scores": scored.scores,
                    "seconds": scored.seconds,
                }
            )
        self._known[digest] = scored

    def _digest(self, case: Case, methods: Sequence[str], weights: int | None) -> str:
        units = [(unit.start_token, unit.end_token) for unit in case.units]
        content = [self._model, case.config.hash, methods, weights, case.key, case.prompt.token_ids, units]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
