"""What the tests of several modules of View share; no file of their own may be imported for a fixture."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser_program import browser_program

if TYPE_CHECKING:
    from demo import Scene
    from playwright.sync_api import Browser, Page

CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    "--disable-features=LocalNetworkAccessChecks",  # a site of a test's frames a page of loopback
)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """One Chromium for all tests of a module; skips the test if none is installed.

    Not for the session: Playwright keeps an event loop running in the thread of the tests.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
    chromium = browser_program()
    if chromium is None:
        pytest.skip("needs chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def page(browser: "Browser", request: pytest.FixtureRequest) -> Iterator["Page"]:
    """Fails the test on any error of a script, and of the console where the module sets QUIET_CONSOLE.

    As wide as a desk; the module's PAGE_OPTIONS, or `@pytest.mark.parametrize("page", [{…}], indirect=True)`,
    say otherwise.
    """
    desk = {"viewport": {"width": 1440, "height": 900}}
    options = desk | getattr(request.module, "PAGE_OPTIONS", {}) | getattr(request, "param", {})
    context = browser.new_context(**options)
    context.set_default_timeout(240_000)
    errors: list[str] = []
    made = context.new_page()
    made.on("pageerror", lambda error: errors.append(str(error)))
    if getattr(request.module, "QUIET_CONSOLE", False):
        made.on("console", lambda item: errors.append(item.text) if item.type == "error" else None)
    yield made
    context.close()
    assert errors == []


@pytest.fixture(scope="module")
def cheap_argon2() -> Iterator[None]:
    """The same argon2id with its least parameters: a module here signs in some fifty times."""
    from account_scene import argon2_of
    from argon2 import PasswordHasher

    with argon2_of(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)):
        yield


@pytest.fixture
def no_tries_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries of passwords and codes that are used up stay so, however long a test takes."""
    from opq_cloud.view.web.sign_in import GuessLimits

    monkeypatch.setattr(GuessLimits.__init__, "__defaults__", (lambda: 0.0,))


@pytest.fixture
def without_rest_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """REST answers however often a client asks: who waits for a job asks more often than it may."""
    from opq_cloud.view.api import rest_app
    from opq_cloud.view.api.answers import RequestLimits
    from opq_proto.kit.rate_limit import TokenBuckets

    monkeypatch.setattr(
        rest_app, "RequestLimits", lambda counters: RequestLimits(counters, *(TokenBuckets(1e9, 1e9),) * 2)
    )


@pytest.fixture
def scene(tmp_path: Path) -> Iterator["Scene"]:
    """View over an empty store, which it reads by itself every 30 s only."""
    import demo

    with demo.Scene(tmp_path, poll_s=30.0) as running:
        yield running
