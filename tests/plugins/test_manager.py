"""The plugin manager: what is built in, what other packages add, and what is refused."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from gilot_plugin import cli
from gilot_plugin.errors import ConfigError, GilotError
from gilot_plugin.plugins import manager as managing
from gilot_plugin.plugins import offers
from gilot_plugin.settings.config import GilotConfig

Install = Callable[..., None]

_STRATEGY = """
    from gilot_plugin import hookimpl
    from gilot_plugin.extension import Options, SelectionStrategy

    class Every(Options):
        k: int

    @hookimpl
    def gilot_selection_strategies():
        return [SelectionStrategy({name!r}, "each k-th document", Every, lambda samples, options, seed: [])]
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a package with a plugin: ``install(package, code, name=..., module=...)``."""
    monkeypatch.syspath_prepend(tmp_path)
    installed = []

    def put(package: str, code: str, name: str = "everybody", module: str | None = None) -> None:
        module = module or f"module_of_{package}"
        (tmp_path / f"{module}.py").write_text(dedent(code))
        info = tmp_path / f"{package}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[gilot]\n{name} = {module}\n")
        installed.append(module)
        importlib.invalidate_caches()
        managing.manager.cache_clear()

    yield put
    for module in installed:
        sys.modules.pop(module, None)
    managing.manager.cache_clear()


def test_the_built_in_behaviour_is_made_of_plugins() -> None:
    registered = [name for name, _ in managing.manager().list_name_plugin()]
    assert registered == list(managing.BUILTIN_OFFERS)
    assert list(offers.attribution_methods())[:3] == ["ot", "kl", "l2"]
    assert {"delete", "mask", "replace"} <= set(offers.absence_operators())
    assert {"first", "ids", "random", "incorrect"} <= set(offers.selection_strategies())


def test_every_offer_says_what_it_is_in_one_line() -> None:
    found = (offers.attribution_methods(), offers.absence_operators(), offers.selection_strategies())
    for offered in found:
        for name, offer in offered.items():
            assert offer.name == name
            assert offer.summary
            assert "\n" not in offer.summary


def test_no_other_package_is_needed() -> None:
    assert managing.third_party_plugins() == []


def test_a_package_may_add_a_strategy(install: Install) -> None:
    with pytest.raises(ConfigError, match="'every' is unknown"):
        GilotConfig(select={"strategy": "every", "k": 3})
    install("somebodys", _STRATEGY.format(name="every"))
    assert list(offers.selection_strategies())[-1] == "every"
    assert GilotConfig(select={"strategy": "every", "k": 3}).select.model_dump() == {
        "strategy": "every",
        "over": "task",
        "k": 3,
    }
    with pytest.raises(ConfigError, match="strategy 'every': k: must be given"):
        GilotConfig(select="every")
    assert managing.third_party_plugins() == [("somebodys", "1.2")]


def test_what_a_package_adds_is_listed(
    install: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    install("somebodys", _STRATEGY.format(name="every"), name="their_plugin")
    assert cli.main(["plugins"]) == cli.DONE
    row = next(line for line in capsys.readouterr().out.splitlines() if "their_plugin" in line)
    assert "somebodys 1.2" in row
    assert "gilot_selection_strategies" in row
    assert cli.main(["methods"]) == cli.DONE
    assert "each k-th document" in capsys.readouterr().out


def test_two_offers_of_one_name_are_refused_and_both_plugins_named(install: Install) -> None:
    install("somebodys", _STRATEGY.format(name="random"), name="their_plugin")
    with pytest.raises(GilotError, match="several plugins offer the selection strategy 'random'") as refusal:
        offers.selection_strategies()
    assert "'their_plugin'" in str(refusal.value)
    assert "'gilot_plugin.strategies.builtins'" in str(refusal.value)
    with pytest.raises(GilotError, match="'random'"):
        GilotConfig()


def test_two_plugins_of_one_name_are_refused(install: Install) -> None:
    install("one", _STRATEGY.format(name="a"), name="same")
    install("other", _STRATEGY.format(name="b"), name="same")
    with pytest.raises(GilotError, match=r"two plugins are named 'same'.* (one|other): uninstall"):
        managing.manager()


def test_a_plugin_cannot_take_the_place_of_a_built_in_one(install: Install) -> None:
    install("somebodys", _STRATEGY.format(name="a"), name="gilot_plugin.harness.watching.plugin")
    with pytest.raises(
        GilotError, match=r"two plugins are named 'gilot_plugin.harness.watching.plugin'.* somebodys"
    ):
        managing.manager()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import nowhere_to_be_found", "nowhere_to_be_found"),
        ("1 / 0", "ZeroDivisionError"),
        ("def broken(:", "SyntaxError"),
        (
            """
            from gilot_plugin import hookimpl
            @hookimpl
            def gilot_run_finished(run, something_else): ...
            """,
            "something_else",
        ),
        (
            """
            from gilot_plugin import hookimpl
            @hookimpl
            def gilot_run_finnished(run): ...
            """,
            "unknown hook 'gilot_run_finnished'",
        ),
    ],
)
def test_a_broken_plugin_is_named_with_its_package(
    install: Install, capsys: pytest.CaptureFixture[str], code: str, reason: str
) -> None:
    install("somebodys", code, name="broken_plugin", module="broken_module")
    assert cli.main(["plugins"]) == cli.FAILED
    message = capsys.readouterr().err
    assert "'broken_plugin' (broken_module) of somebodys cannot be loaded" in message
    assert reason in message
    assert "update or uninstall" in message


def test_schemes_of_other_packages_are_offered(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install(
        "halves",
        """
        from gilot_plugin import hookimpl
        from gilot_plugin.extension import SchemeOffer, SchemeResult

        def make(options):
            def front_and_back(game):
                middle = len(game.units) // 2
                values = yield [game.units[:middle], game.units[middle:]]
                places = range(len(game.units))
                return SchemeResult({
                    one.name: tuple(values.means(one.name)[place >= middle] for place in places)
                    for one in game.measures
                })
            return front_and_back

        @hookimpl
        def gilot_schemes():
            return [SchemeOffer("halves", "the half that a unit lies in", make, budgeted=False)]
        """,
    )
    assert list(offers.schemes()) == ["leave_one_out", "shapley", "banzhaf", "lime", "auto", "halves"]
    assert GilotConfig(scheme="halves").scheme == "halves"
    assert cli.main(["methods"]) == 0
    assert "the half that a unit lies in" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="scheme='quarters': 'quarters' is unknown: allowed are"):
        GilotConfig(scheme="quarters")
