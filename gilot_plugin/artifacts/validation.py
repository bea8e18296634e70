"""Check what an attributed run left on disk, for ``gilot validate``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gilot_plugin.artifacts.ablations import ablation_problems
from gilot_plugin.artifacts.faithfulness import faithfulness_problems
from gilot_plugin.artifacts.file_checks import CheckedFile, Problem, check_file
from gilot_plugin.artifacts.manifest_checks import check_manifest, compare_with_files
from gilot_plugin.artifacts.names import (
    ABLATIONS_PATTERN,
    ARTIFACT_PATTERN,
    FAITHFULNESS_PATTERN,
    manifest_name,
    parse_name,
)

__all__ = ["Problem", "ValidationReport", "validate_path"]


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What was checked and what is wrong with it.

    Attributes:
        files: Number of artifacts that were checked.
        records: Lines of the files of records, broken ones included.
        problems: What is wrong; empty if nothing is.
    """

    files: int
    records: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def validate_path(path: Path) -> ValidationReport:
    """Check artifacts.

    Args:
        path: A folder, whose artifacts are found in it and in all folders below; or a manifest, which is
            checked with the files that it mentions; or a file of records, which is checked against the
            manifest of its run if that lies beside it; or faithfulness figures, or scores without parts of
            the prompts.

    Returns:
        The report. What cannot be read, or is not there, is among its problems; nothing is raised.
    """
    path = Path(path)
    checks = _Checks()
    if path.is_dir():
        _check_folder(path, checks)
    elif not path.exists():
        checks.problems.append(Problem(path, None, "there is no such file or folder"))
    elif path.match(ABLATIONS_PATTERN):
        checks.ablation(path)
    elif path.match(FAITHFULNESS_PATTERN):
        checks.faithfulness(path)
    elif _is_manifest(path):
        checks.manifest(path)
    elif path.suffix == ".jsonl":
        checks.records([path])
        name = parse_name(path.name)
        beside = path.with_name(manifest_name(name.date)) if name else None
        if beside is not None and beside.is_file():
            checks.manifest(beside, only=[path.name])
            checks.unmentioned()
    else:
        reason = (
            "not an artifact: give an attributions_*.jsonl, an attributions_manifest_*.json, a "
            "faithfulness_*.json, an ablations_*.jsonl, or their folder"
        )
        checks.problems.append(Problem(path, None, reason))
    files = len(checks.checked) + len(checks.manifests) + len(checks.figures) + len(checks.ablations)
    records = sum(checked.line_count for checked in checks.checked.values()) + sum(checks.ablations.values())
    return ValidationReport(files, records, tuple(checks.problems))


@dataclass
class _Checks:
    """What has been checked so far.

    Attributes:
        checked: Files of records.
        manifests: Manifests.
        figures: Faithfulness figures.
        ablations: Files of scores without parts of the prompts, each with its number of lines.
        mentioned: Files of records that some manifest mentions.
        problems: In the order of discovery.
    """

    checked: dict[Path, CheckedFile] = field(default_factory=dict)
    manifests: list[Path] = field(default_factory=list)
    figures: list[Path] = field(default_factory=list)
    ablations: dict[Path, int] = field(default_factory=dict)
    mentioned: set[Path] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def records(self, paths: Iterable[Path]) -> None:
        """Check files of records, each once."""
        for path in paths:
            if path not in self.checked:
                self.checked[path] = check_file(path)
                self.problems.extend(self.checked[path].problems)

    def manifest(self, path: Path, only: Collection[str] | None = None) -> None:
        """Check a manifest and the files that it mentions, or only some of them."""
        self.manifests.append(path)
        manifest, problems = check_manifest(path)
        self.problems.extend(problems)
        if manifest is None:
            # Which files it would mention is unknown: those of its run are not blamed for it.
            name = parse_name(path.name)
            self.mentioned.update(
                file
                for file in self.checked
                if name and file.parent == path.parent and _date(file) == name.date
            )
            return
        names = {entry["file"] for entry in manifest["tasks"].values()} - {None}
        paths = {path.parent / name for name in names if only is None or name in only}
        self.mentioned.update(paths)
        if manifest["status"] == "interrupted":
            self.mentioned.update(_left_by(path.parent, manifest["date"]))
        self.records(sorted(file for file in paths if file.is_file()))
        beside = {file.name: checked for file, checked in self.checked.items() if file.parent == path.parent}
        self.problems.extend(compare_with_files(path, manifest, beside, only=only))

    def faithfulness(self, path: Path) -> None:
        """Check faithfulness figures."""
        self.figures.append(path)
        self.problems.extend(Problem(path, None, reason) for reason in faithfulness_problems(path))

    def ablation(self, path: Path) -> None:
        """Check scores without parts of the prompts."""
        self.ablations[path], problems = ablation_problems(path)
        self.problems.extend(problems)

    def unmentioned(self) -> None:
        """Name the files of records that no manifest mentions."""
        for path in sorted(self.checked.keys() - self.mentioned):
            reason = "no manifest mentions this file: its run was killed, or the manifest is lost"
            self.problems.append(Problem(path, None, reason))


def _check_folder(folder: Path, checks: _Checks) -> None:
    found = sorted(path for path in folder.rglob(ARTIFACT_PATTERN) if path.is_file())
    names = {path: parse_name(path.name) for path in found}
    others = (FAITHFULNESS_PATTERN, ABLATIONS_PATTERN)
    if not found and not any(any(folder.rglob(pattern)) for pattern in others):
        reason = f"holds no artifacts ({ARTIFACT_PATTERN}): give the output_path of an attributed run"
        checks.problems.append(Problem(folder, None, reason))
    checks.problems.extend(
        Problem(path, None, "its name is not one of an artifact, so it was not checked")
        for path, name in names.items()
        if name is None
    )
    checks.records(path for path, name in names.items() if name and name.kind == "attributions")
    for path, name in names.items():
        if name and name.kind == "manifest":
            checks.manifest(path)
    checks.unmentioned()
    for path in sorted(folder.rglob(FAITHFULNESS_PATTERN)):
        checks.faithfulness(path)
    for path in sorted(folder.rglob(ABLATIONS_PATTERN)):
        checks.ablation(path)


def _left_by(folder: Path, date: str) -> Iterator[Path]:
    """Files of a run that was killed: its processes may have begun some that no manifest mentions yet."""
    for path in folder.glob(ARTIFACT_PATTERN):
        name = parse_name(path.name)
        if name is not None and name.kind == "attributions" and name.date == date:
            yield path


def _is_manifest(path: Path) -> bool:
    name = parse_name(path.name)
    return name.kind == "manifest" if name else path.suffix == ".json"


def _date(path: Path) -> str | None:
    name = parse_name(path.name)
    return name.date if name else None
