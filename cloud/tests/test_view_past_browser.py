"""The past in a real browser: crosshair, zoom, keys, form, paper, a waveform; both themes and widths; axe."""

import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import demo
import past_scene
import pytest
from page_waits import wait_until

from opq_cloud.store.records.accounts.account_records import BoxAccess
from opq_cloud.view.web.sign_in import SignIn
from opq_cloud.view.web.visitors import SESSION_COOKIE

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the dev extra's axe")
WAIT_MS = 240_000
SITE = "/past?of=site:mill&q=rms_v,f_hz,h5&from=now-7d&to=now"
READOUTS = """() => [...document.querySelectorAll('.past .readout:not([hidden])')].map(
    each => each.textContent)"""
VIEWS = (
    SITE,
    pytest.param("/past?box=1&weeks=1", marks=pytest.mark.slow),
    pytest.param("/past?of=site:mill&show=harmonics", marks=pytest.mark.slow),
    "/past?of=site:mill&show=verdicts&from=now-8d",
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    running = demo.Scene(tmp_path_factory.mktemp("past"), poll_s=0.2)
    now_ns = time.time_ns()
    demo.fill(running.store, now_ns, minutes=1)
    past_scene.fill_past(running.store, now_ns // 1_000_000, days=8)
    with running:
        yield running


@pytest.fixture(scope="module")
def secret(scene: demo.Scene) -> str:
    """A session of the owner of the site's Boxes."""
    people = scene.store.people
    account = people.add_account("ada@example.org", "Ada", "owner", "no-hash")
    assert account is not None
    for box_id in past_scene.PHASES:
        people.change_access(box_id, lambda _, b=box_id: BoxAccess(b, account.account_id))
    return SignIn(people).begin_session(account, "127.0.0.1", "test")


@pytest.fixture(
    params=[pytest.param((390, "light"), marks=pytest.mark.slow), (1440, "dark")],
    ids=["phone, light", "desk, dark"],
)
def page(
    scene: demo.Scene, secret: str, browser: "sync_api.Browser", request: pytest.FixtureRequest
) -> Iterator["sync_api.Page"]:
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(WAIT_MS)
    context.add_cookies([{"name": SESSION_COOKIE, "value": secret, "url": scene.url}])
    told: list[str] = []
    opened = context.new_page()
    opened.on("pageerror", lambda error: told.append(str(error)))
    yield opened
    context.close()
    assert told == []


def drawn(page: "sync_api.Page", address: str) -> None:
    page.goto(address)
    wait_until(page, "() => [...document.querySelectorAll('.plot')].every(each => each.dataset.drawn)")


def sound(page: "sync_api.Page") -> None:
    """axe finds nothing, also in what is folded, and nothing is wider than the window."""
    page.evaluate("() => document.querySelectorAll('main details').forEach(each => { each.open = true; })")
    found = axe.Axe().run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("address", VIEWS)
def test_each_view_is_sound(scene: demo.Scene, page: "sync_api.Page", address: str) -> None:
    drawn(page, scene.url + address)
    sound(page)


def test_one_crosshair_reads_every_chart_and_line(scene: demo.Scene, page: "sync_api.Page") -> None:
    drawn(page, scene.url + SITE)
    page.locator(".past .u-over").first.hover(position={"x": 150, "y": 60})
    wait_until(page, f"() => ({READOUTS})().length === 3")
    texts = page.evaluate(READOUTS)
    moments = [datetime.fromisoformat(text.partition(" UTC")[0]) for text in texts]
    assert max(moments) - min(moments) < timedelta(hours=1), "one moment: the nearest row of each chart"
    assert all("phase L2: " in text for text in texts) and "\u202fV" in texts[0] and "\u202fHz" in texts[1]
    assert re.search(r"phase L2: [67]\.\d{3}\u202f%", texts[2]), "harmonic 5 of this phase is 7 %"


def test_keys_read_a_chart_and_zoom_its_values(scene: demo.Scene, page: "sync_api.Page") -> None:
    drawn(page, scene.url + "/past?box=1&q=rms_v&from=now-7d&to=now")
    chart = page.locator(".past .uplot")
    values = page.locator(".past-tools output")
    chart.press("End")
    wait_until(page, f"() => ({READOUTS})().length === 1")
    newest = page.evaluate(READOUTS)
    chart.press("ArrowLeft")
    wait_until(page, f"was => ({READOUTS})()[0] !== was", arg=newest[0])
    chart.press("+")
    wait_until(page, "() => / to .*V$/.test(document.querySelector('.past-tools output').textContent)")
    near = values.inner_text()
    page.get_by_role("button", name="Closer").press("Enter")
    wait_until(page, "was => document.querySelector('.past-tools output').textContent !== was", arg=near)
    page.locator(".past .uplot").press("0")
    wait_until(page, "() => !document.querySelector('.past-tools output').textContent")


def test_a_drag_along_a_chart_chooses_a_span(scene: demo.Scene, page: "sync_api.Page") -> None:
    """Back in the browser returns to the span before."""
    drawn(page, scene.url + "/past?box=1&q=rms_v&from=now-7d&to=now")
    before = page.url
    over = page.locator(".past .u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 52, steps=4)
    page.mouse.up()
    page.wait_for_url(lambda url: url != before)
    assert re.search(r"from=20\d\d-\d\d-\d\dT[\d:%A]+&to=20\d\d", page.url)
    wait_until(page, "() => document.querySelector('.plot').dataset.drawn")
    page.go_back()
    assert page.url == before


def test_form_and_tabs_change_the_address(scene: demo.Scene, page: "sync_api.Page") -> None:
    drawn(page, f"{scene.url}/boxes/1")
    page.get_by_role("link", name="Any span").press("Enter")
    page.wait_for_url("**/past?box=1*")
    page.get_by_text("Boxes, quantities, span").press("Enter")
    page.get_by_role("checkbox", name="Box 2").press("Space")
    page.get_by_role("checkbox", name="THD").press("Space")
    page.get_by_role("button", name="Show").press("Enter")
    page.wait_for_url("**box=1&box=2*")
    wait_until(page, "() => document.querySelectorAll('.plot[data-drawn]').length === 3")
    page.get_by_role("link", name="Verdicts").press("Enter")
    page.wait_for_url("**show=verdicts*")
    assert page.locator("section.verdicts").count() == 2
    page.get_by_role("link", name=re.compile("^20.*-W")).first.press("Enter")
    page.wait_for_url("**q=rms_v,f_hz,thd_percent*")


def test_a_span_that_ends_now_is_renewed(scene: demo.Scene, page: "sync_api.Page") -> None:
    """Only the charts are replaced; the page stays."""
    page.clock.install()
    drawn(page, scene.url + "/past?box=1&q=rms_v&from=now-24h&to=now")
    page.evaluate("() => { document.getElementById('past-body').dataset.old = 'yes'; }")
    page.clock.run_for(31_000)
    wait_until(page, "() => !document.getElementById('past-body').dataset.old")
    wait_until(page, "() => document.querySelector('.plot').dataset.drawn")
    page.locator(".past .uplot").press("End")
    wait_until(page, f"() => ({READOUTS})().length === 1")


def test_it_fits_on_paper(scene: demo.Scene, page: "sync_api.Page") -> None:
    drawn(page, scene.url + SITE)
    page.set_viewport_size({"width": 703, "height": 1010})  # A4 within its margins
    page.emulate_media(media="print")
    for hidden in (".main-nav", ".spans", ".choose", ".past-tools"):
        assert page.locator(hidden).first.is_hidden(), hidden
    assert page.evaluate("document.documentElement.scrollWidth") <= 703
    paper = page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", paper)) <= 3


def test_a_requested_waveform_appears(scene: demo.Scene, page: "sync_api.Page") -> None:
    """A waveform is asked for and shows by itself."""
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
    sound(page)
