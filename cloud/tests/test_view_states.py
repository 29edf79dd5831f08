"""Pages x states: empty, stale, forbidden, away: what each says, by HTTP alone."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import demo
import pytest
from account_scene import FormBrowser, app_routes
from view_states import (
    FORBIDDEN,
    NEW,
    NEW_OWNER,
    PAGES,
    STALE,
    WITHOUT_STATES,
    FailingStore,
    html_routes,
)

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.view import MailSection
from opq_cloud.store import BoxRecord, CloudStore
from opq_cloud.view.app import create_app
from opq_cloud.view.live.hub import LiveHub
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.web.error_page import error_ways
from opq_cloud.view.web.mail import Mailer
from opq_cloud.view.web.sign_in import SignIn
from opq_cloud.view.web.visitors import SESSION_COOKIE, Visitor, Visitors

TEN_MINUTES_NS = 600 * 10**9


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    """A new system."""
    with demo.Scene(tmp_path_factory.mktemp("new"), poll_s=0.2) as running:
        yield running


@pytest.fixture(scope="module")
def stale(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    """All Boxes fell silent ten minutes ago; its store can be taken away."""
    running = demo.Scene(tmp_path_factory.mktemp("stale"), poll_s=0.2)
    demo.fill(running.store, time.time_ns() - TEN_MINUTES_NS, minutes=1)
    running.store.put_box(BoxRecord("1", "", site="mill", phase="L1"))
    running.store = cast(CloudStore, FailingStore(running.store))
    with running:
        yield running


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    """With accounts, and nothing is public; its store can be taken away."""
    running = demo.Scene(tmp_path_factory.mktemp("private"), poll_s=0.2)
    demo.fill(running.store, time.time_ns(), minutes=1)
    running.store.put_box(BoxRecord("1", "", site="mill", phase="L1"))
    running.store.people.add_account("newcomer@example.org", "Newcomer", "owner", "no-hash")
    running.store = cast(CloudStore, FailingStore(running.store))
    with running:
        yield running


def until(holds: Callable[[], bool]) -> None:
    """Polls for four minutes."""
    stop_s = time.monotonic() + 240
    while not holds():
        assert time.monotonic() < stop_s
        time.sleep(0.02)


def newcomer(scene: demo.Scene) -> FormBrowser:
    account = scene.store.people.account_of("newcomer@example.org")
    assert account is not None
    session = SignIn(scene.store.people).begin_session(account, "127.0.0.1", "states")
    return FormBrowser(scene.url, {SESSION_COOKIE: session})


def test_every_page_is_in_the_list(empty: demo.Scene) -> None:
    counters = ServiceCounters()
    services = ViewServices(
        empty.store,
        LiveHub(counters),
        counters,
        visitors=Visitors(empty.store.people, empty.config),
        mailer=Mailer(MailSection(), counters),
    )
    found = html_routes(create_app(services).routes, app_routes)
    assert found - set(PAGES) - WITHOUT_STATES == set(), "a new page: say in view_states.py how it is tried"
    assert set(PAGES) - found == set()


def test_an_empty_page_says_why(empty: demo.Scene) -> None:
    browser = FormBrowser(empty.url)
    for path, said in NEW.items():
        assert browser.get(path) == 200, path
        assert said in browser.text, path


def test_a_visitor_without_boxes_is_helped(private: demo.Scene) -> None:
    """A visitor without a Box reads how to get one."""
    browser = newcomer(private)
    for path, said in NEW_OWNER.items():
        assert browser.get(path) == 200, path
        assert said in browser.text, path


def test_unchanging_values_are_called_old(stale: demo.Scene) -> None:
    browser = FormBrowser(stale.url)
    for path, said in STALE.items():
        assert browser.get(path) == 200, path
        assert said in browser.text, path
    browser.get("/map/state")
    assert '"silent":true' in browser.text


def test_a_forbidden_page_says_what_is_allowed(private: demo.Scene) -> None:
    browser = newcomer(private)
    for path, (status, said) in FORBIDDEN.items():
        assert browser.get(path) == status, path
        assert said in browser.text and 'class="failure"' in browser.text, path
    assert browser.get("/boxes/1") == browser.get("/boxes/999")


def test_signing_in_leads_back(private: demo.Scene) -> None:
    """A visitor without a session goes to sign-in and back."""
    browser = FormBrowser(private.url)
    assert browser.get("/boxes/1?from=now-7d") == 303
    assert browser.headers["location"] == "/sign-in?next=%2Fboxes%2F1%3Ffrom%3Dnow-7d"
    ways = error_ways(404, Visitor(), "/boxes/1?from=now-7d")
    assert ways.links[0] == ("Sign in", "/sign-in?next=%2Fboxes%2F1%3Ffrom%3Dnow-7d")


def test_a_refused_form_leads_back(private: demo.Scene) -> None:
    browser = newcomer(private)
    headers = {"Referer": f"{private.url}/account/boxes"}
    assert browser.post("/account/boxes", headers=headers) == 403
    assert '<a class="button primary" href="/account/boxes">Back to the form</a>' in browser.text
    browser.post("/account/boxes", headers={"Referer": "https://elsewhere.example/account"})
    assert "elsewhere.example" not in browser.text


@pytest.mark.parametrize("signed_in", [False, True])
def test_an_absent_store_is_reported_until_back(
    stale: demo.Scene, private: demo.Scene, signed_in: bool
) -> None:
    """Every page comes back."""
    scene = private if signed_in else stale
    browser = newcomer(scene) if signed_in else FormBrowser(scene.url)
    store = cast(Any, scene.store)
    before = {path: browser.get(path) for path in PAGES.values()}
    assert 200 in before.values()
    store.away = True
    try:
        for path in PAGES.values():
            until(lambda path=path: browser.get(path) == 503)  # who asks, and what was read, is kept a second
            assert 'id="retry"' in browser.text and "retry.js" in browser.text, path
            assert not signed_in or "/secret/place" not in browser.text, path
            assert browser.headers["retry-after"] == "5"
        assert browser.get("/api/v1/boxes") == 503 and '"status": 503' in browser.text
        assert browser.get("/health") == 200  # View itself is well
    finally:
        store.away = False
    for path, status in before.items():
        until(lambda path=path, status=status: browser.get(path) == status)


BARE_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d")
TIMES_AND_TAGS = re.compile(r"<time [^>]*datetime=.*?</time>|<(?:code|textarea|option)\b.*?</|<[^>]*>", re.S)


def test_every_time_can_be_shown_locally(stale: demo.Scene) -> None:
    """A time is an element that `times.js` reads; what is typed into a field stays UTC."""
    browser, bare = FormBrowser(stale.url), {}
    for path in PAGES.values():
        browser.get(path)
        text = TIMES_AND_TAGS.sub(" ", browser.text)
        if found := BARE_TIME.findall(text):
            bare[path] = found
    assert bare == {}
