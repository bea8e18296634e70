"""Cores and memory that a process may use."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from gilot_plugin.attribution import host
from gilot_plugin.attribution.host import free_bytes, usable_cores


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 6), ("250000 100000", 3), ("1000 100000", 1), ("900000 100000", 6), ("", 6), (None, 6)],
)
def test_affinity_and_the_containers_quota(monkeypatch, tmp_path, quota, expected):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 64, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota + "\n")
    monkeypatch.setattr(host, "_QUOTA", file)
    assert usable_cores() == expected


def test_where_nothing_is_known(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(host, "_QUOTA", tmp_path / "none")
    assert usable_cores() == 1


@pytest.mark.parametrize(
    ("limit", "expected"), [("max", 5000), ("6000", 2500), ("900", 0), ("100000", 5000), (None, 5000)]
)
def test_memory_of_the_machine_and_of_the_container(monkeypatch, tmp_path, limit, expected):
    monkeypatch.setattr(host.psutil, "virtual_memory", lambda: SimpleNamespace(available=10_000))
    for name, text in (("_MOST_MEMORY", limit), ("_MEMORY", "1000")):
        file = tmp_path / name
        if text is not None:
            file.write_text(text + "\n")
        monkeypatch.setattr(host, name, file)
    assert free_bytes() == expected
