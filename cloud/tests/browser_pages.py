"""Pages of a running View in Chromium, for the tests of what a browser shows."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import demo

NewPage = Callable[..., Any]


def filled_scene(folder: Path, minutes: int) -> Iterator[demo.Scene]:
    """A running View with so many minutes of Measurements."""
    running = demo.Scene(folder, poll_s=0.2)
    demo.fill(running.store, time.time_ns(), minutes=minutes)
    with running:
        yield running


def opened_pages(browser: Any) -> Iterator[NewPage]:
    """Opens pages that fail the test on any error of a script or of the console."""
    contexts, told = [], []

    def new(width: int = 1440, **options: object) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(240_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("console", lambda item: told.append(item.text) if item.type in ("error", "warning") else None)
        return page

    yield new
    for context in contexts:
        context.close()
    assert [text for text in told if "404 (Not Found)" not in text] == []
