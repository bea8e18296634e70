"""The browser of the report's tests."""

from __future__ import annotations

from tests.reports.html.conftest import accessibility_problems, browser

__all__ = ["accessibility_problems", "browser"]
