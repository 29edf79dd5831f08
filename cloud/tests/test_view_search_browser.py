"""The command palette and the keys, by keyboard alone, in real Chromium under the strict policy."""

import time
from collections.abc import Iterator
from typing import Any

import demo
import pytest
from page_waits import wait_until

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the dev extra's axe")
PAGE_OPTIONS = {"viewport": {"width": 390, "height": 844}}
QUIET_CONSOLE = True  # a script that the policy refuses is an error there
SHOWN = "text => document.getElementById('palette')?.dataset.shown === text"
ACTIVE = "() => document.getElementById('palette-field').getAttribute('aria-activedescendant')"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    running = demo.Scene(tmp_path_factory.mktemp("search"), poll_s=0.2)
    demo.fill(running.store, time.time_ns(), minutes=1)
    with running:
        yield running


def test_a_box_is_opened_by_keys(scene: demo.Scene, page: Any) -> None:
    page.goto(f"{scene.url}/past")
    page.keyboard.press("/")
    wait_until(page, SHOWN, arg="")
    assert page.evaluate("() => document.activeElement.getAttribute('role')") == "combobox"
    page.keyboard.type("workshop")
    wait_until(page, SHOWN, arg="workshop")
    assert page.evaluate(ACTIVE) == "palette-0"
    assert "Box 2, workshop" in page.locator("[role=option][aria-selected=true]").inner_text()
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()
    page.keyboard.press("ArrowDown")
    assert page.evaluate(ACTIVE) == "palette-1"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_url("**/boxes/2")


def test_keys_are_listed_and_can_be_off(scene: demo.Scene, page: Any) -> None:
    """The list is opened by a key or a button, and has the switch."""
    page.goto(f"{scene.url}/incidents")
    wait_until(page, "() => !document.querySelector('[data-keys]').hidden")  # keys.js has run
    page.keyboard.press("?")
    page.locator("#keys[open]").wait_for()
    page.locator("#keys-on").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    assert page.locator("#palette").count() == 0
    page.locator("[data-keys]").click()
    page.locator("#keys-on").check()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    assert page.evaluate("() => document.activeElement.textContent") == "#1"
    while "/map" not in page.url:  # the second key counts for 1.5 s, which a busy machine may stand still
        page.keyboard.press("g")
        page.keyboard.press("m")
        page.wait_for_timeout(100)


@pytest.mark.slow
def test_without_javascript_the_page_of_the_search_answers(scene: demo.Scene, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(scene.url)
    page.keyboard.press("/")
    assert page.url == f"{scene.url}/"
    page.get_by_role("link", name="Search").click()
    page.get_by_role("searchbox").fill("#1")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="#1 Sag to 85.2").click()
    assert page.url == f"{scene.url}/incidents/1"
    context.close()
