"""Settings of several sources as one, with the source that each came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from gilot_plugin.settings.config import preset_settings, uncombined
from gilot_plugin.settings.presets import PRESETS

Settings = Mapping[str, Any]


class Source(NamedTuple):
    """Settings that were given in one place.

    Attributes:
        name: Of the place, for people.
        settings: What was given there.
        origins: Names of the places that single settings came from, where these are others.
    """

    name: str
    settings: Settings
    origins: Mapping[str, str] = MappingProxyType({})


class GaveWay(NamedTuple):
    """A setting that has no effect because of what a stronger source says.

    Attributes:
        setting: Its name.
        value: What it was.
        origin: The source it came from.
        reason: Why it has no effect.
    """

    setting: str
    value: Any
    origin: str
    reason: str


@dataclass(frozen=True, slots=True)
class Merged:
    """Settings of several sources.

    Attributes:
        values: By name.
        origins: For each of them, the source it came from.
        gave_way: Settings that are left out.
    """

    values: Mapping[str, Any]
    origins: Mapping[str, str]
    gave_way: tuple[GaveWay, ...] = field(default=())


def merge(*sources: Settings) -> dict[str, Any]:
    """Merge sources of settings, weakest first."""
    return dict(merge_sources(Source("", settings) for settings in sources).values)


def merge_sources(sources: Iterable[Source]) -> Merged:
    """Merge sources, weakest first, and note which one decided each setting."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source in sources:
        settings = source.settings
        own = {name: source.origins.get(name, source.name) for name in settings}
        preset = settings.get("preset")
        if isinstance(preset, str) and preset in PRESETS:
            decided = preset_settings(preset)
            values.update(decided)
            origins.update(dict.fromkeys(decided, f"preset {preset}, named by {own['preset']}"))
        weaker = values.get("select")
        if "select" in settings:
            selection = _merged_selection(weaker, settings["select"])
            if selection is not settings["select"]:
                own["select"] = f"{origins['select']}, with options of {own['select']}"
        values.update(settings)
        origins.update(own)
        if "select" in settings:
            values["select"] = selection
    return Merged(values, origins)


def _merged_selection(weaker: Any, stronger: Any) -> Any:
    """Options without a strategy are those of the strategy that a weaker source names."""
    if weaker is None or not isinstance(stronger, Mapping) or "strategy" in stronger:
        return stronger
    if isinstance(weaker, str):
        return {"strategy": weaker, **stronger}
    if isinstance(weaker, (list, tuple)):
        return {"strategy": "union", "of": weaker, **stronger}
    return {**weaker, **stronger} if isinstance(weaker, Mapping) else stronger


def settle(sources: Sequence[Source]) -> Merged:
    """Merge sources, weakest first, without the settings that have no effect beside a stronger source.

    Raises:
        ConfigError: A setting is unknown or not allowed.
    """
    merged = merge_sources(sources)
    strength = {name: place for place, source in enumerate(sources) for name in merge(source.settings)}
    gave_way: dict[str, GaveWay] = {}
    for found in uncombined(merged.values).contradictions():
        name = found.setting
        if name in merged.values and strength.get(name, -1) < strength.get(found.because, -1):
            # Of a setting that is wrong for two reasons, the first one is told.
            gave_way.setdefault(name, GaveWay(name, merged.values[name], merged.origins[name], found.message))
    kept = {name: value for name, value in merged.values.items() if name not in gave_way}
    return Merged(kept, {name: merged.origins[name] for name in kept}, tuple(gave_way.values()))
