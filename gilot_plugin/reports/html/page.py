"""Pages from templates: style, script and data in one file that refers to nothing outside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2

from gilot_plugin.reports.html.packing import Packed
from gilot_plugin.reports.palette import MAX_LEVEL, THEMES, Theme

_SHARED_SCRIPTS = ("common.js", "heat.js", "describe.js", "listing.js")


def render_page(
    template: str,
    scripts: Sequence[str],
    data: Iterable[Packed],
    values: Mapping[str, Any],
    *,
    connects: bool = False,
) -> str:
    """Put a page together.

    Args:
        template: Name of a file in ``assets``, which extends ``page.html``.
        scripts: Names of the page's own scripts in ``assets``; those that pages share come before them.
        data: What the script unpacks.
        values: What the template asks for.
        connects: Whether the scripts may ask the page's own server for more.

    Returns:
        The page. Its content security policy lets the one script run that is in it by design, and loads
        nothing.
    """
    code = "".join(map(_asset, (*_SHARED_SCRIPTS, *scripts)))
    themes = "".join(_theme_style(name, theme) for name, theme in THEMES.items())
    style = _asset("heat.css") + _asset("style.css") + themes
    page = _environment().get_template(template)
    return page.render(
        script=code, style=style, policy=_policy(code, style, connects), data=tuple(data), **values
    )


def render_fragment(template: str, values: Mapping[str, Any]) -> str:
    """Static HTML for a place inside somebody else's page, such as the output of a notebook's cell.

    Args:
        template: Name of a file in ``assets``, which extends ``notebook.html``.
        values: What the template asks for.

    Returns:
        One element with a style of its own that touches nothing outside it, and without scripts.
    """
    return _environment().get_template(template).render(style=_fragment_style(), **values)


@cache
def _fragment_style() -> str:
    """The heat map's style, nested in the fragment; its theme is the notebook's, or else the system's."""
    light, dark = (f".gilot{{{_theme_variables(name, theme)}}}" for name, theme in THEMES.items())
    chosen = "".join(
        f":is({', '.join(marks)}) {variables}"
        for marks, variables in ((_LIGHT_NOTEBOOKS, light), (_DARK_NOTEBOOKS, dark))
    )
    system = f"@media (prefers-color-scheme:dark){{{dark}}}"
    return f"{light}{system}{chosen}.gilot{{{_asset('heat.css')}{_asset('notebook.css')}}}"


#: How JupyterLab, VS Code and Colab mark a page whose theme was chosen in them.
_LIGHT_NOTEBOOKS = ('[data-jp-theme-light="true"]', ".vscode-light", 'html[theme="light"]')
_DARK_NOTEBOOKS = ('[data-jp-theme-light="false"]', ".vscode-dark", 'html[theme="dark"]')


def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _policy(code: str, style: str, connects: bool) -> str:
    own_server = "connect-src 'self'; " if connects else ""
    return (
        f"default-src 'none'; script-src '{_digest(code)}'; style-src '{_digest(style)}'; img-src data:; "
        f"{own_server}base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _theme_style(name: str, theme: Theme) -> str:
    """Colours for the theme that was asked for, or else that of the system."""
    variables = _theme_variables(name, theme)
    chosen = f':root[data-theme="{name}"]{{{variables}}}'
    system = f"@media (prefers-color-scheme:{name}){{:root:not([data-theme]){{{variables}}}}}"
    return f"{system}\n{chosen}\n"


def _theme_variables(name: str, theme: Theme) -> str:
    """Grounds and inks of the levels."""
    rules = [f"--paper:{theme.paper};--ink:{theme.ink};--faint:{theme.faint};color-scheme:{name};"]
    for level in range(1, MAX_LEVEL + 1):
        for sign, value in (("p", level), ("n", -level)):
            rules.append(f"--{sign}{level}:{theme.ground(value)};--{sign}{level}i:{theme.ink_on(value)};")
        rules.append(f"--g{level}:{theme.grey(level)};")
    return "".join(rules)


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
