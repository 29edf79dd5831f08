"""States in real Chromium: axe finds nothing in both themes, nothing is wider than a phone, pages come back.

A few by default; `pytest -m slow` goes through the whole table of `view_states.py`.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import demo
import pytest
from account_scene import add_people
from page_waits import wait_until
from view_states import FORBIDDEN, NEW, NEW_OWNER, PAGES, PARTS, STALE, FailingStore

from opq_cloud.store import CloudStore
from opq_cloud.view.web.sign_in import SignIn
from opq_cloud.view.web.visitors import SESSION_COOKIE

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the dev extra's axe")
NewPage = Callable[..., Any]
WAIT_MS = 240_000
RULES = {"resultTypes": ["violations"]}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    """All Boxes silent for ten minutes; the store can be taken away."""
    running = demo.Scene(tmp_path_factory.mktemp("states"), poll_s=0.2)
    demo.fill(running.store, time.time_ns() - 600 * 10**9, minutes=1)
    running.store = cast(CloudStore, FailingStore(running.store))
    with running:
        yield running


@pytest.fixture
def open_page(browser: Any) -> Iterator[NewPage]:
    contexts = []

    def new(scheme: str = "light", width: int = 390, session: str = "", url: str = "") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        if session:
            context.add_cookies([{"name": SESSION_COOKIE, "value": session, "url": url}])
        return context.new_page()

    yield new
    for context in contexts:
        context.close()


def held(page: Any, url: str, width: int = 390) -> str:
    """Empty; or what axe finds, or how much wider than the window it is."""
    page.goto(url)
    wait_until(page, "() => !document.querySelector('.scripted .plot:not([data-drawn], .plot-failed)')")
    wide = page.evaluate("document.documentElement.scrollWidth")
    found = axe.Axe().run(page, options=RULES)
    report = found.generate_report() if found.violations_count else ""
    return f"{url}: {wide} px, {report}" if report or wide > width else ""


def test_a_page_recovers_with_its_store(scene: demo.Scene, open_page: NewPage) -> None:
    """A page that lost its store comes back by itself."""
    page = open_page("dark")
    store = cast(Any, scene.store)
    store.away = True
    try:
        page.goto(f"{scene.url}/incidents")
        wait_until(  # who asks, and what was read, is kept for a second
            page,
            "() => document.getElementById('retry') || (location.reload(), false)",
        )
        found = axe.Axe().run(page, options=RULES)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    finally:
        store.away = False
    page.locator("h1", has_text="Incidents").wait_for()


def test_filters_fit_a_page_of_320_pixels(scene: demo.Scene, open_page: NewPage) -> None:
    """WCAG 2.2, 1.4.10: a window of 1280 pixels at 400 %."""
    page = open_page(width=320)
    for path in ("/admin/audit", "/incidents", "/past", "/past?show=verdicts"):
        page.goto(scene.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, path


def test_silence_is_on_page_and_tab(scene: demo.Scene, open_page: NewPage) -> None:
    page = open_page()
    assert held(page, f"{scene.url}/") == ""
    wait_until(page, "() => document.title.startsWith('\\u25b3 ')")
    assert "No Box reports now." in page.locator("#stale").inner_text()
    page.goto(f"{scene.url}/nothing/here")
    assert page.locator(".failure a.button").first.inner_text() == "Boxes"


def test_paper_is_light_and_without_links(scene: demo.Scene, open_page: NewPage) -> None:
    """A printed page is light, complete and without navigation."""
    page = open_page("dark", 794)  # A4 at 96 dots an inch
    page.goto(f"{scene.url}/incidents/1")
    ink = "() => getComputedStyle(document.documentElement).getPropertyValue('--ink').trim()"
    assert page.evaluate(ink) == "#e9eeee"
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(ink) == "#172023"
    for hidden in (".main-nav", ".search-open", ".spans", ".links"):
        assert page.locator(hidden).first.is_hidden(), hidden
    assert page.evaluate("document.documentElement.scrollWidth") <= 794
    shares = """() => [...document.querySelectorAll('.history-plot')].map(
        each => each.getBoundingClientRect().width / each.closest('figure').clientWidth)"""
    widths = page.evaluate(shares)
    assert len(widths) == 5 and all(0.9 < width <= 1.0 for width in widths), "folded ones are on paper too"
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


@pytest.mark.slow
@pytest.mark.timeout(1800)  # some 280 pages
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_whole_table_in_both_themes(
    scene: demo.Scene, open_page: NewPage, tmp_path_factory: pytest.TempPathFactory, scheme: str
) -> None:
    wrong = []
    whole = tuple(path for path in PAGES.values() if path not in PARTS)
    for width in (390, 1440):
        with demo.Scene(tmp_path_factory.mktemp("new"), poll_s=0.2) as empty:
            page = open_page(scheme, width)
            wrong += [held(page, empty.url + path, width) for path in NEW]
        page = open_page(scheme, width)
        wrong += [held(page, scene.url + path, width) for path in (*STALE, *whole)]
        other = demo.Scene(tmp_path_factory.mktemp("private"), poll_s=0.2)
        demo.fill(other.store, time.time_ns(), minutes=1)
        ids = add_people(other, newcomer="owner", admin="admin")
        with other:
            for name, paths in (("newcomer", (*NEW_OWNER, *FORBIDDEN)), ("admin", whole)):
                account = other.store.people.account(ids[name])
                assert account is not None
                session = SignIn(other.store.people).begin_session(account, "127.0.0.1", "states")
                page = open_page(scheme, width, session, other.url)
                wrong += [held(page, other.url + path, width) for path in paths]
    assert [each for each in wrong if each] == []
