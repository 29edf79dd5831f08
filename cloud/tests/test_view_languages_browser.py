"""In a real browser: a language is chosen in the account, and pages, scripts and live words change."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from account_scene import PASSWORD, add_people
from test_view_every_text import CLOSE, OPEN, TAG, bracketed

from opq_cloud.view import demo

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
pytestmark = pytest.mark.usefixtures("cheap_argon2")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[demo.Scene]:
    running = demo.Scene(tmp_path / "store", poll_s=0.2)
    running.view._config = replace(running.config, languages=bracketed(tmp_path / "l"))
    demo.fill(running.store, time.time_ns(), minutes=1)
    add_people(running, ada="admin")
    with running:
        yield running


def test_a_chosen_language_is_that_of_pages_scripts_and_live_words(
    scene: demo.Scene, browser: "sync_api.Browser"
) -> None:
    page = browser.new_context().new_page()
    page.set_default_timeout(60_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(scene.url + "/account")
    page.fill("#email", "ada@example.org")
    page.fill("#password", PASSWORD)
    page.locator("main button.primary").click()
    page.select_option("#language", TAG)
    page.locator('form[action="/account/profile"] button').click()
    page.locator(f'html[lang="{TAG}"]').wait_for()
    assert OPEN in (page.locator("h1").text_content() or "")

    page.goto(scene.url)
    feed = page.locator("#feed", has_text=OPEN)
    feed.wait_for()  # said by a script
    page.locator("[data-your-time]", has_text=OPEN).wait_for()
    demo.put_event(scene.store, [demo.waveform_of(demo.OUTLETS[0], time.time_ns())], "another")
    row = page.locator('#incidents li[data-incident="2"]')
    row.wait_for()  # told by the live feed
    told = row.locator(".incident-what").text_content() or ""
    assert told.startswith(OPEN) and told.endswith(CLOSE)
    assert (row.locator(".tag").text_content() or "").lower() == f"{OPEN}sag{CLOSE}"

    page.goto(scene.url + "/account")
    page.select_option("#language", "en")
    page.locator('form[action="/account/profile"] button').click()
    page.locator('html[lang="en"]').wait_for()
    page.goto(scene.url)
    page.locator("#feed:not([hidden])").wait_for()
    assert OPEN not in page.locator("body").inner_text()
    assert wrong == []


def test_longer_words_fit_a_phone_and_an_axis_runs_from_left_to_right(
    scene: demo.Scene, browser: "sync_api.Browser"
) -> None:
    page = browser.new_context(viewport={"width": 390, "height": 844}, locale=TAG).new_page()
    page.set_default_timeout(60_000)
    page.goto(scene.url + "/sign-in?next=/boxes/1")
    page.fill("#email", "ada@example.org")
    page.fill("#password", PASSWORD)
    page.locator("main button.primary").click()
    page.locator('h1:has-text("Box 1")').wait_for()
    assert OPEN in page.locator(".main-nav").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.evaluate("document.documentElement.dir = 'rtl'")
    of = "(tag) => getComputedStyle(document.querySelector('main ' + tag)).direction"
    assert [page.evaluate(of, tag) for tag in ("h1", "svg", "time")] == ["rtl", "ltr", "ltr"]
