"""Run folders in which one file is damaged, as disks, editors and other programs do it."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gilot_plugin.artifacts.faithfulness import faithfulness_path
from gilot_plugin.artifacts.records import CHECKSUM_FIELD, checksum
from tests.artifacts import factories

_DOCUMENTS = 7

#: What may stand where something else is expected.
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 7, 10**30, 10**400, 0.5, 1e308, float("nan"), float("inf")),
    *("", "films", "exact_match,none", "../../etc/passwd", "a/b", "\ud800", "\0", "\x1b[31m", "x" * 300),
    *([], [[]], [1, 2], [None], ["films"], {}, {"a": []}, {"films": None}, [[[[{}]]]]),
)


def write_pair(folder: Path) -> tuple[Path, Path]:
    """Two runs over the same documents, with all files that lie beside a run's records."""
    runs = []
    for name, shift in (("base", 0.0), ("tuned", 0.02)):
        run = folder / name
        run.mkdir(parents=True)
        records = [_record("films", doc, shift) for doc in range(_DOCUMENTS)]
        records += [_record("pairs", doc, shift, choices=factories.CHOICES) for doc in range(_DOCUMENTS)]
        records += [factories.make_skipped("films", _DOCUMENTS)]
        factories.write_run(run, records)
        for task in ("films", "pairs"):
            factories.write_lines(
                run / f"samples_{task}_{factories.DATE}.jsonl",
                [_sample(doc, name) for doc in range(_DOCUMENTS + 2) for name in ("none", "strict")],
            )
        (run / f"results_{factories.DATE}.json").write_text(json.dumps(factories.RESULTS, indent=2))
        faithfulness_path(run, factories.DATE).write_text(factories.FAITHFULNESS.model_dump_json())
        runs.append(run)
    return runs[0], runs[1]


def _record(task: str, doc: int, shift: float, **changes: Any) -> dict[str, Any]:
    text = "<s>User: Is the film not good?\nAnswer:"
    units = len(factories.make_attribution(text).units)
    scores = [0.05 * (1 + (unit * 7 + doc * 3) % 11) + shift * unit for unit in range(units)]
    return factories.make_record(task, doc, scores={"ot": scores, "kl": scores[::-1]}, **changes)


def _sample(doc: int, filter_name: str) -> dict[str, Any]:
    return {
        "doc_id": doc,
        "doc": {"question": "Is the film not good?", "n": doc},
        "target": " no",
        "arguments": {"gen_args_0": {"arg_0": "Is the film not good?", "arg_1": {"until": ["\n"]}}},
        "resps": [[" no"]],
        "filtered_resps": [" no"],
        "filter": filter_name,
        "metrics": ["exact_match"],
        "doc_hash": f"d{doc}",
        "prompt_hash": f"p{doc}",
        "target_hash": f"t{doc}",
        "exact_match": float(doc % 2),
    }


def damage(folder: Path, seed: int) -> str:
    """Damage one file of a folder; returns what was done, in words."""
    chance = random.Random(seed)
    # As often one of lm-eval's as one of the package's own.
    kinds = ("samples_*", "results_*", "attributions_*_*.jsonl", "attributions_manifest_*", "faithfulness_*")
    path = chance.choice(sorted(folder.glob(chance.choice(kinds))))
    change = chance.choice((_bytes, _cut, _lines, _value, _value, _value, _value))
    path.write_bytes(change(path.read_bytes(), chance))
    return f"{seed}: {path.name}: {change.__name__}"


def _bytes(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.randint(1, 5)):
        place = chance.randrange(len(changed))
        match chance.randrange(3):
            case 0:
                changed[place] ^= 1 << chance.randrange(8)
            case 1:
                changed[place:place] = chance.randbytes(chance.randint(1, 4))
            case _:
                del changed[place : place + chance.randint(1, 4)]
    return bytes(changed)


def _cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def _lines(content: bytes, chance: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    match chance.randrange(4):
        case 0:
            chance.shuffle(lines)
        case 1:
            lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))
        case 2:
            del lines[chance.randrange(len(lines))]
        case _:
            lines.insert(chance.randrange(len(lines) + 1), chance.choice((b"\n", b"null\n", b"[]\n", b"1\n")))
    return b"".join(lines)


def _value(content: bytes, chance: random.Random) -> bytes:
    """Another value somewhere; a record gets a checksum that fits, as if a program had written it so."""
    if content.startswith(b"{\n"):
        return _changed(json.loads(content), chance)
    lines = content.splitlines(keepends=True)
    place = chance.randrange(len(lines))
    lines[place] = _changed(json.loads(lines[place]), chance) + b"\n"
    return b"".join(lines)


def _changed(value: Any, chance: random.Random) -> bytes:
    if chance.random() < 0.05:
        return json.dumps(chance.choice(_VALUES)).encode()
    for _ in range(chance.randint(1, 2)):
        if not (places := list(_places(value))):
            break
        owner, key = chance.choice(places)
        match chance.randrange(6):
            case 0:
                del owner[key]
            case 1:
                other, name = chance.choice(places)
                owner[key] = copy.deepcopy(other[name])
            case _:
                owner[key] = copy.deepcopy(chance.choice(_VALUES))
    if CHECKSUM_FIELD in value and chance.random() < 0.8:
        value[CHECKSUM_FIELD] = checksum(value)
    return json.dumps(value).encode()


def _places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Where something stands: its mapping or list, and its name or number in it; the first two of a list."""
    keys: Any = (
        value if isinstance(value, dict) else range(min(len(value), 2)) if isinstance(value, list) else ()
    )
    for key in keys:
        yield value, key
        if depth < 8:
            yield from _places(value[key], depth + 1)


def copied(source: Path, target: Path) -> Path:
    """A fresh copy of a folder."""
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target))
