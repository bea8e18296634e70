"""Check what `make dist` built: the wheel has the files that the package reads, the version is the release's.

An argument, if there is one, is the tag of the release: `v` and the version, a heading of CHANGELOG.md.
"""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

import tomllib

ROOT = Path(__file__).parents[1]

#: Folders, and where the wheel has their files; what lacks would be missed at run time only.
DATA = {
    "gilot_plugin": "gilot_plugin",
    "task_configs": "gilot_plugin/task_configs",
}


def problems(tag: str) -> list[str]:
    """What is wrong with the files in ``dist``, in words."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    built = sorted(path.name for path in (ROOT / "dist").iterdir())
    wheel = f"gilot_plugin-{version}-py3-none-any.whl"
    if built != [wheel, f"gilot_plugin-{version}.tar.gz"]:
        return [f"dist holds {built}, which is not the wheel and the source archive of version {version}"]
    with zipfile.ZipFile(ROOT / "dist" / wheel) as archive:
        names = set(archive.namelist())
    found = []
    for folder, place in DATA.items():
        here = [path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if path.is_file()]
        wanted = {f"{place}/{path.as_posix()}" for path in here if "__pycache__" not in path.parts}
        found += [f"{name} is not in the wheel" for name in sorted(wanted - names)]
    strange = {name.split("/")[0] for name in names} - {"gilot_plugin", f"gilot_plugin-{version}.dist-info"}
    found += [f"the wheel installs {name} beside the package" for name in sorted(strange)]
    if tag and tag != f"v{version}":
        found.append(f"the tag is {tag}, the version in pyproject.toml {version}")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if tag and not re.search(rf"^## \[?{re.escape(version)}\b", changelog, re.MULTILINE):
        found.append(f"CHANGELOG.md has no heading of {version}")
    return found


if __name__ == "__main__":
    sys.exit("\n".join(problems(sys.argv[1] if len(sys.argv) > 1 else "")) or None)
