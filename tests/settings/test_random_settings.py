"""Whatever settings say, from all sources at once, they are taken or refused in words."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from gilot_plugin.errors import ConfigError
from gilot_plugin.harness.entry import model as lm_eval_model
from gilot_plugin.reports.settings_table import print_settings
from gilot_plugin.settings.config import GilotConfig
from gilot_plugin.settings.merging import Source
from gilot_plugin.settings.presets import PRESETS
from gilot_plugin.settings.sources import as_mapping, command_sources, given_settings, task_settings

_FIELDS = (*GilotConfig.model_fields, "num_beam", "", "select.n", "budget.samples", "units.regex", "a.b.c")

_NAMES = (
    *PRESETS,
    *("auto", "word", "token", "segment", "delete", "mask", "replace", "response", "shared", "regenerate"),
    *("mean", "last", "generation", "choices", "sum", "norm", "cosine", "truncated", "exact", "sinkhorn"),
    *(
        "ot",
        "kl",
        "l2",
        "logprob",
        "first",
        "random",
        "incorrect",
        "ids",
        "function",
        "union",
        "chain",
        "flips",
    ),
)

_VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 5, 10**30, 0.0, 0.5, 1.0, 1.5, float("nan"), float("inf"), 1e400),
    *("", " ", "x", "2GiB", "-1", "1e5", "[", "{", "'", "a=b", "(?P<", "\0", "\ud800", "\x1b[2J", "math:pi"),
    *([], [[]], ["ot", "kl"], ["ot", "ot"], [1, None], {}, {"regex": "[0-9]+"}, {"regex": "("}, {1: 2}),
    *({"minutes": 3}, {"samples": 0}, {"minutes": {}, "x": 1}, {None: None}, {"n": 3}),
    *(
        {"strategy": "first", "n": 2},
        {"strategy": "ids", "ids": [0, 3]},
        {"strategy": "random", "over": "run"},
    ),
    *({"strategy": "chain", "of": ["first", {"strategy": []}]}, {"strategy": {}}, {"strategy": "union"}),
)

#: Settings that are right by themselves, and mostly together.
_RIGHT: tuple[tuple[str, Any], ...] = (
    *(("num_beams", 2), ("max_new_tokens", 3), ("units", "token"), ("units", "auto"), ("scope", "all")),
    *(("top_p", 0.9), ("top_k", 50), ("methods", "kl"), ("methods", ["ot", "l2"]), ("seed", 3)),
    *(("preset", "paper"), ("preset", "reference"), ("absence", "mask"), ("hypotheses", "shared")),
    *(
        ("select", "random"),
        ("select", ["first", "incorrect"]),
        ("budget", {"samples": 3}),
        ("ablate", ["question", {"regex": "a+"}]),
        ("steps", "last"),
    ),
    *(("memory_budget", "2GiB"), ("batch_size", 4), ("num_threads", 1), ("target", "choices")),
)

_TASKS = ("gsm8k", "arc_easy", "somebodys_task", "mmlu_high_school_physics", "")
_OUTPUT_TYPES = (None, "generate_until", "multiple_choice", "loglikelihood", "loglikelihood_rolling")


def value(chance: random.Random, depth: int = 0) -> Any:
    """A value, or a list or mapping of some."""
    match chance.randrange(12):
        case 0 | 1 | 2 | 3:
            return chance.choice(_NAMES)
        case 4 if depth < 3:
            return [value(chance, depth + 1) for _ in range(chance.randrange(3))]
        case 5 if depth < 3:
            names = (*_NAMES, *_FIELDS, "strategy", "n", "of", "by", "metric", "over", "against", "function")
            return {chance.choice(names): value(chance, depth + 1) for _ in range(chance.randrange(3))}
        case _:
            return chance.choice(_VALUES)


def settings(chance: random.Random) -> Any:
    """As a file or a task has them; now and then something else altogether."""
    if chance.random() < 0.03:
        return value(chance)
    return dict(setting(chance) for _ in range(chance.randrange(5)))


def setting(chance: random.Random) -> tuple[str, Any]:
    """A name with any value, or with one that is right by itself."""
    if chance.random() < 0.6:
        return chance.choice(_RIGHT)
    return chance.choice(_FIELDS), value(chance)


def text(chance: random.Random) -> str:
    """A value as it is typed."""
    if chance.random() < 0.5:
        return str(chance.choice((*_NAMES, *_VALUES)))
    typed = yaml.safe_dump(value(chance), default_flow_style=True, allow_unicode=True)
    return typed.strip().removesuffix("...").strip()


def flags(chance: random.Random) -> list[str]:
    """What stands after ``--gilot_args``; now and then cut off."""
    parts = [
        "{}={}".format(*chance.choice(_RIGHT))
        if chance.random() < 0.6
        else f"{chance.choice(_FIELDS)}={text(chance)}"
        for _ in range(chance.randrange(4))
    ]
    joined = ",".join(parts)
    return [joined[: chance.randrange(len(joined) + 1)]] if chance.random() < 0.1 else [joined]


def yaml_file(chance: random.Random, path: Path) -> Path:
    """A settings file; now and then with bytes that are none of YAML's."""
    try:
        content = yaml.safe_dump(settings(chance)).encode("utf-8", "surrogatepass")
    except yaml.YAMLError:
        content = b"units: word"
    if chance.random() < 0.1:
        content = content[: chance.randrange(len(content) + 1)] + chance.randbytes(3)
    path.write_bytes(content)
    return path


#: Takes what is printed.
_CONSOLE = Console(file=io.StringIO(), width=100)


class Refusal(Exception):  # noqa: N818 - where the test stops: the model would be made now
    """The model is not made."""


def tried(chance: random.Random, path: Path) -> bool:
    """Whether settings were taken."""
    try:
        if chance.random() < 0.3:
            arguments = ",".join(f"gilot.{part}" for flag in flags(chance) for part in flag.split(","))
            given = {"base": "hf", "pretrained": "x"}
            if chance.random() < 0.5:
                lm_eval_model.GilotLM.create_from_arg_string(f"pretrained=x,{arguments}")
            else:
                own = {f"gilot.{chance.choice(_FIELDS)}": value(chance) for _ in range(2)}
                lm_eval_model.GilotLM.create_from_arg_obj({**given, **own})
        content = settings(chance) if chance.random() < 0.2 else None
        section = Source("section", as_mapping(content, "section"))
        merged = command_sources(yaml_file(chance, path), flags(chance), section)
        given = Source("given", given_settings(merged.values), merged.origins)
        task, kind = chance.choice(_TASKS), chance.choice(_OUTPUT_TYPES)
        found = task_settings(task, settings(chance), given, kind)
        assert len(found.config.hash) == 64
        assert set(found.origins) <= set(GilotConfig.model_fields)
        assert not set(found.origins) & {one.setting for one in found.gave_way}
        print_settings({task: found}, _CONSOLE, with_defaults=True)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize(
    "count",
    [
        2_000,
        pytest.param(20_000, marks=pytest.mark.slow),
        pytest.param(100_000, marks=pytest.mark.fuzz),
    ],
)
def test_no_settings_end_in_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    class Made:
        create_from_arg_string = create_from_arg_obj = staticmethod(lambda *_: None)

    # What the model's class does with its settings, without a model and without attaching.
    monkeypatch.setattr(lm_eval_model, "get_model", lambda _: Made)
    monkeypatch.setattr(lm_eval_model, "attach_process", lambda given: GilotConfig(**given))
    taken = 0
    broken = []
    for seed in range(count):
        try:
            taken += tried(random.Random(seed), tmp_path / "settings.yaml")
        except Exception as error:
            broken.append(f"{seed}: {error!r}")
    assert broken == []
    # Settings that are all refused would test little.
    assert taken > count / 20
