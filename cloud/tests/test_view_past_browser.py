"""The past in a real browser, by keyboard: compare, open a day, ask for a waveform, save a view; axe."""

import re
import time
from collections.abc import Iterator

import demo
import pytest

from opq_cloud.store.records.accounts import BoxAccess
from opq_cloud.view.web.sign_in import SignIn
from opq_cloud.view.web.visitors import SESSION_COOKIE
from opq_proto.messages import Trend

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the dev extra's axe")
WAIT_MS = 60_000


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    running = demo.Scene(tmp_path_factory.mktemp("past"), poll_s=0.2)
    now_ns = time.time_ns()
    demo.fill(running.store, now_ns, minutes=1)
    first = now_ns // 60_000_000_000 * 60_000
    running.store.put_trends(
        Trend(box_id, first - k * 60_000, {"rms": (119.0, 122.0, 120.0 + k % 7 / 10)}, covered_ms=60_000)
        for box_id in "12"
        for k in range(2, 180)
    )
    with running:
        yield running


@pytest.fixture(scope="module")
def page(scene: demo.Scene, browser: "sync_api.Browser") -> Iterator["sync_api.Page"]:
    """Signed in as the owner of Box 1."""
    people = scene.store.people
    account = people.add_account("ada@example.org", "Ada", "owner", "no-hash")
    assert account is not None
    for box_id in "12":
        people.change_access(box_id, lambda _, b=box_id: BoxAccess(b, account.account_id))
    secret = SignIn(people).begin_session(account, "127.0.0.1", "test")
    context = browser.new_context(viewport={"width": 390, "height": 844})
    context.set_default_timeout(WAIT_MS)
    context.add_cookies([{"name": SESSION_COOKIE, "value": secret, "url": scene.url}])
    told: list[str] = []
    opened = context.new_page()
    opened.on("pageerror", lambda error: told.append(str(error)))
    yield opened
    context.close()
    assert told == []


def _sound(page: "sync_api.Page") -> None:
    """axe finds nothing, and nothing is wider than the telephone."""
    found = axe.Axe().run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_days_and_keys_keep_their_colours_where_the_system_chooses(
    scene: demo.Scene, page: "sync_api.Page"
) -> None:
    colours = """() => [...document.querySelectorAll('.swatch, .day')].map(
        each => getComputedStyle(each).backgroundColor)"""
    page.goto(f"{scene.url}/calendar?box=1")
    own = page.evaluate(colours)
    page.emulate_media(forced_colors="active")
    forced = page.evaluate(colours)
    page.emulate_media(forced_colors="none")
    assert forced == own and len(set(own)) > 3


@pytest.mark.slow
def test_boxes_are_compared_and_the_address_says_it(scene: demo.Scene, page: "sync_api.Page") -> None:
    page.goto(f"{scene.url}/boxes/1?from=now-1h&to=now")
    page.get_by_role("link", name="Beside others").press("Enter")
    page.wait_for_url("**/compare?*")
    page.get_by_role("checkbox", name="Box 2").press("Space")
    page.get_by_role("button", name="Show").press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.past-means').length === 2")
    readout = page.locator(".readout-lines")
    page.locator("figure[data-rows]").press("End")
    readout.wait_for()
    assert readout.locator(".named").count() == 2 and " UTC (" in readout.inner_text()
    newest = readout.inner_text()
    page.locator("figure[data-rows]").press("ArrowLeft")
    page.wait_for_function("was => document.querySelector('.readout-lines').innerText !== was", arg=newest)
    _sound(page)
    page.get_by_role("button", name="Show").focus()
    readout.wait_for(state="hidden")
    page.locator(".past-plot").hover()
    readout.wait_for()
    page.goto(page.get_by_role("link", name="Link to this view").evaluate("link => link.href"))
    assert page.locator(".past-means").count() == 2


@pytest.mark.slow
def test_a_day_of_the_calendar_leads_to_its_incidents(scene: demo.Scene, page: "sync_api.Page") -> None:
    page.goto(f"{scene.url}/calendar?box=1&by=class")
    page.locator(".day .tag-down").first.evaluate("tag => tag.closest('a').focus()")
    page.keyboard.press("Enter")
    page.wait_for_url("**day=*")
    _sound(page)
    page.get_by_role("link", name="All its incidents").press("Enter")
    page.wait_for_url("**/incidents?*")
    assert page.locator("tr[data-incident]").count() == 1
    _sound(page)


def test_a_waveform_is_asked_for_and_shows_by_itself(scene: demo.Scene, page: "sync_api.Page") -> None:
    page.goto(f"{scene.url}/boxes/1")
    page.get_by_role("link", name="Request a waveform").press("Enter")
    page.wait_for_url("**/waveforms")
    page.get_by_label("From (UTC)").fill("now-10s")
    page.get_by_role("button", name="Request it").press("Enter")
    page.wait_for_url("**/events/*")
    page.get_by_text("Asked; no answer").wait_for()
    event_id = int(page.url.rpartition("/")[2])
    record = scene.store.event_record(event_id)
    assert record is not None
    scene.store.put_waveform(event_id, demo.waveform_of(demo.OUTLETS[0], record.start_ns))
    scene.store.finish_event(event_id)
    page.locator("path.trace").wait_for(state="attached")
    _sound(page)


@pytest.mark.slow
def test_a_month_is_found_by_keyboard_and_fits_on_paper(scene: demo.Scene, page: "sync_api.Page") -> None:
    page.goto(f"{scene.url}/compare?box=1")
    page.get_by_role("link", name="Reports").press("Enter")
    page.wait_for_url("**/reports?box=1*")
    _sound(page)
    page.get_by_text("Tables").press("Enter")
    assert page.get_by_role("link", name="Parquet").count() == 3
    page.locator(".list th a").first.press("Enter")
    page.wait_for_url("**/reports/month?box=1*")
    page.locator("figure .past-means").wait_for(state="attached")
    _sound(page)
    page.set_viewport_size({"width": 703, "height": 1010})  # A4 within its margins
    page.emulate_media(media="print")
    for hidden in (".main-nav", ".spans", ".month-links", "details"):
        assert page.locator(hidden).first.is_hidden(), hidden
    assert page.evaluate("document.documentElement.scrollWidth") <= 703
    paper = page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", paper)) <= 3
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": 390, "height": 844})
