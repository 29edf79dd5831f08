"""Waits of browser tests for what a page shows."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

POLL_MS = 50
CONNECTED = "() => /^(Live|No Box)/.test(document.getElementById('feed').textContent)"
"""The feed is there. Which of the two it says depends on how old the last measurement is by then."""


def wait_until(page: "Page", condition: str, arg: Any = None, timeout: float | None = None) -> None:
    """Waits until a JavaScript condition is true; `timeout` in ms, else that of the page.

    By a timer. Playwright's own default evaluates it at each frame, and a browser on a crowded machine may
    draw none for a minute.
    """
    page.wait_for_function(condition, arg=arg, timeout=timeout, polling=POLL_MS)
