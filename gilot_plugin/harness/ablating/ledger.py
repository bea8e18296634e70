"""What a task's ablation has so far, in memory and in its file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from gilot_plugin.artifacts.ablations import ArmLine, Plan, SampleLine, TaskAblation, read_ablation
from gilot_plugin.artifacts.writer import RecordWriter
from gilot_plugin.errors import ConfigError
from gilot_plugin.harness.state.team import ALONE, Team

#: What must not change where a file is gone on with.
_FIXED = ("task", "model", "n", "seed", "cluster", "samples", "identity")


class Ledger:
    """Lines of one task, of which those of an earlier, killed process are kept.

    Args:
        plan: What is asked.
        path: The file; None to keep lines in memory only.
        team: The processes that ask together, each of which has all lines; the first one writes them.

    Attributes:
        found: All lines.

    Raises:
        ConfigError: The file is of other samples, another model or other requests.
        ArtifactError: The file cannot be read or written.
    """

    def __init__(self, plan: Plan, path: Path | None, team: Team = ALONE) -> None:
        self.found = TaskAblation(plan)
        self._team = team
        self._writer: RecordWriter | None = None
        earlier = team.by_leader(lambda: self._begin(plan, path))
        if earlier is not None:
            self.found = earlier
            arms = tuple(dict.fromkeys((*earlier.plan.arms, *plan.arms)))
            plan = plan.model_copy(update={"arms": arms})
        if earlier is None or (earlier.plan.arms, earlier.plan.date) != (plan.arms, plan.date):
            self._add([plan])

    def _begin(self, plan: Plan, path: Path | None) -> TaskAblation | None:
        self._writer = RecordWriter(path) if path is not None else None
        earlier = read_ablation(path) if path is not None and path.exists() else None
        if earlier is not None:
            _refuse_another(earlier.plan, plan, path)
        return earlier

    def lines(self, arm: str) -> dict[tuple[int, str], SampleLine]:
        """Lines of an arm's samples, by their keys."""
        return self.found.samples.get(arm, {})

    def is_finished(self, arm: str) -> bool:
        """Whether an arm has come to an end; one that failed is tried again."""
        return arm in self.found.arms and self.found.arms[arm].status != "failed"

    def add_samples(self, lines: Sequence[SampleLine]) -> None:
        """Keep the lines of some samples; they are on the disk when this returns."""
        self._add(lines)

    def finish(self, line: ArmLine) -> None:
        """Keep what became of an arm."""
        self._add([line])

    def _add(self, lines: Iterable[Plan | SampleLine | ArmLine]) -> None:
        kept = list(lines)
        self._team.by_leader(lambda: self._write(kept))
        for line in kept:
            self.found.take(line)

    def _write(self, lines: Sequence[Plan | SampleLine | ArmLine]) -> None:
        if self._writer is not None:
            self._writer.write_all(line.model_dump(mode="json") for line in lines)

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


def _refuse_another(earlier: Plan, plan: Plan, path: Path | None) -> None:
    other = [name for name in _FIXED if getattr(earlier, name) != getattr(plan, name)]
    if other:
        what = (
            "other answers would come of its requests"
            if other == ["identity"]
            else ", ".join(
                f"{name} was {getattr(earlier, name)!r} and is {getattr(plan, name)!r}"
                for name in other
                if name != "identity"
            )
        )
        raise ConfigError(
            f"{path} is of another ablation ({what}): repeat that one, remove the file, or choose another "
            "output_path"
        )
