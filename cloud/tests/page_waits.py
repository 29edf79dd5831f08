"""Waits of browser tests for what a page shows."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

POLL_MS = 50


def wait_until(page: "Page", condition: str, arg: Any = None, timeout: float | None = None) -> None:
    """Waits until a JavaScript condition is true; `timeout` in ms, else that of the page.

    By a timer. Playwright's own default evaluates it at each frame, and a browser on a crowded machine may
    draw none for a minute.
    """
    page.wait_for_function(condition, arg=arg, timeout=timeout, polling=POLL_MS)
