"""The browser of the reports' tests, and what axe-core finds in it."""

from __future__ import annotations

from tests.reports.conftest import accessibility_problems, browser

__all__ = ["accessibility_problems", "browser"]
