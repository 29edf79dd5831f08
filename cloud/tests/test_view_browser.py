"""View in a real browser (Debian's Chromium, driven by Playwright): charts, words, keyboard, phones."""

import math
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import demo
import pytest
from browser_pages import NewPage, filled_scene, opened_pages
from browser_program import browser_program
from page_waits import CONNECTED, wait_until

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_proto.messages import Finding

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
LIVE_PAGES = ("/", "/incidents", "/incidents/1", "/boxes/1")
PAGES = (*LIVE_PAGES, "/boxes/77", "/past?box=1&from=now-10m&to=now", "/past?show=verdicts")
DRAWN = "() => [...document.querySelectorAll('.plot')].every(place => place.dataset.drawn)"
SETTLED = f"() => ({CONNECTED})() && ({DRAWN})()"
"""The feed's state is known, and the charts are drawn."""
MIN_TARGET_PX = 24
"""WCAG 2.2, 2.5.8: the least size of a target that is not in a sentence."""
COLOURS_ALONE = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}  # dark differs from light in them
SMALL = """least => [...document.querySelectorAll('a, button, select, summary')].filter(item => {
  const box = item.getBoundingClientRect();
  return box.width > 0 && box.height < least && !item.matches('.skip')
  && getComputedStyle(item).pointerEvents !== 'none';
}).map(item => item.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    yield from filled_scene(tmp_path_factory.mktemp("view"), minutes=6)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[demo.Scene]:
    """A scene of its own, for tests that change it; its pages are closed before it ends."""
    yield from filled_scene(tmp_path, minutes=1)


@pytest.fixture
def open_page(browser: "sync_api.Browser") -> Iterator[NewPage]:
    yield from opened_pages(browser)


def _settled_at(page: "sync_api.Page", url: str) -> None:
    page.goto(url)
    if url.endswith(LIVE_PAGES):
        wait_until(page, SETTLED)
    elif "/past" in url:
        wait_until(page, DRAWN)


def _drawn(page: "sync_api.Page", selector: str) -> int:
    """Pixels of the charts under `selector` that are not empty, the fewest of any chart."""
    wait_until(
        page,
        "selector => document.querySelectorAll(selector).length > 0 &&"
        " [...document.querySelectorAll(selector)].every(place => place.dataset.drawn)",
        arg=selector,
    )
    script = """selector => Math.min(...[...document.querySelectorAll(selector + ' canvas')].map(canvas => {
             const copy = new OffscreenCanvas(canvas.width, canvas.height);
             const context = copy.getContext('2d', {willReadFrequently: true});
             context.drawImage(canvas, 0, 0);
             return context.getImageData(0, 0, copy.width, copy.height).data
               .reduce((sum, value, k) => sum + (k % 4 === 3 && value > 0 ? 1 : 0), 0);
           }))"""
    found = before = 0
    end_s = time.monotonic() + 240
    while time.monotonic() < end_s and not found == before > 0:  # uPlot draws in a later frame
        page.wait_for_timeout(150)
        before, found = found, page.evaluate(script, selector)
    return found


def test_the_charts_of_a_box_are_drawn(scene: demo.Scene, open_page: NewPage) -> None:
    page = open_page()
    page.goto(scene.url + "/boxes/1")
    assert _drawn(page, ".plot") > 1000


def test_zooming_in_draws_the_samples(scene: demo.Scene, open_page: NewPage) -> None:
    """Zooming in draws the samples themselves and the address stays."""
    page = open_page()
    page.goto(scene.url + "/incidents/1")
    body = page.locator("#examine")
    assert page.locator(".examine-chart").count() == 4  # rms, and three waveforms
    assert page.locator("#panel-wave").is_visible()
    before = [body.get_attribute(name) for name in ("data-start", "data-end")]
    page.locator('[data-step-to="in"]').click()
    page.locator(f'#examine:not([data-start="{before[0]}"])').wait_for()
    assert page.url.endswith("/incidents/1") and page.locator(".examine-chart").count() == 4
    page.locator(".examine-chart").first.focus()
    page.keyboard.press("0")
    page.locator(f'#examine[data-start="{before[0]}"][data-end="{before[1]}"]').wait_for()
    page.locator(".examine-chart").first.focus()
    page.keyboard.press("ArrowRight")
    page.locator(f'#examine:not([data-start="{before[0]}"])').wait_for()


def test_a_long_incidents_page_is_two_screens(fresh: demo.Scene, open_page: NewPage) -> None:
    start_ns = time.time_ns() - 900 * 10**9
    for number in range(20):
        wave = demo.waveform_of(demo.OUTLETS[0], start_ns + number * 30 * 10**9)
        dip = Finding("sag", "1", start_ns, start_ns + 600 * 10**9, 1000, True, 90.0, 75.0, 36_000.0)
        incident = demo.put_event(
            fresh.store,
            [wave],
            f"part-{number}",
            lambda store, event, _, dip=dip: put_findings(store, event, [dip]),
        )
    assert incident is not None
    page = open_page()
    page.goto(f"{fresh.url}/incidents/{incident.incident_id}")
    assert page.evaluate("document.documentElement.scrollHeight") <= 2 * 900


def test_a_long_finding_fits_a_phone(fresh: demo.Scene, open_page: NewPage) -> None:
    """A long name of class and analysis."""
    finding = Finding("oscillatory_transient", "1", 10**18, 10**18 + 10**7, 1000, because="it rang " * 20)
    number = put_findings(fresh.store, 99, [finding])[0].incident_id
    box = fresh.store.box("1")
    assert box is not None
    fresh.store.put_box(replace(box, name="Kitchen of a very long house name at the end of the road 123"))
    page = open_page(390)
    page.goto(f"{fresh.url}/incidents/{number}")
    page.locator("#findings").click()
    frame = page.get_by_role("region", name="Table of findings")
    assert frame.evaluate("it => it.scrollWidth - it.clientWidth") == 0


@pytest.mark.parametrize("width", [390, 1440])
def test_the_plane_shows_its_dots_and_fields(scene: demo.Scene, open_page: NewPage, width: int) -> None:
    page = open_page(width)
    page.goto(f"{scene.url}/incidents?from=now-30d")
    for part in (".scatter-plot .dot", ".scatter-plot .field"):
        drawn = page.locator(part).first.bounding_box()
        assert drawn is not None and drawn["width"] > 5, part


def test_any_span_is_chosen_by_keyboard(scene: demo.Scene, open_page: NewPage) -> None:
    page = open_page(390)
    _settled_at(page, scene.url + "/past?box=1&from=now-10m&to=now")
    wait_until(page, DRAWN)
    chart = page.locator("figure.past").first
    chart.locator(".uplot").press("End")
    readout = chart.locator(".readout")
    readout.wait_for(state="visible")
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\n\d+\.\d\d.V", readout.text_content())
    page.keyboard.press("t")
    page.keyboard.press("z")
    page.wait_for_url("**from=now-20m&to=now")
    page.locator(".spans a", has_text="7 days").press("Enter")
    page.wait_for_url("**from=now-7d&to=now")
    assert page.locator(".spans [aria-current=true]").text_content() == "7 days"
    page.go_back()
    page.wait_for_url("**from=now-20m&to=now")


def test_a_time_explains_itself_to_its_reader(scene: demo.Scene, open_page: NewPage) -> None:
    """It shows the time of the place where its reader lives."""
    page = open_page(timezone_id="Asia/Tokyo")  # no change of the clock
    page.goto(f"{scene.url}/incidents/1")
    wait_until(page, "() => document.querySelector('[data-your-time]').textContent.includes('Asia/Tokyo')")
    time_of = page.locator(".when time").first
    time_of.dispatch_event("pointerover")
    title = str(time_of.get_attribute("title"))
    utc = datetime.fromisoformat(str(time_of.get_attribute("datetime")))
    assert title.startswith((utc + timedelta(hours=9)).strftime("%Y-%m-%d %H:%M:%S in Asia/Tokyo"))
    assert "GMT+09:00; " in title and title.endswith(" UTC")
    beside = page.get_by_label("Show it beside each")
    beside.press("Space")
    own = (utc + timedelta(hours=9)).strftime("%H:%M:%S\u00a0GMT+09:00")
    assert str(time_of.get_attribute("data-local")).endswith(own)
    time_of.evaluate("place => { place.dateTime = '2026-11-22T20:00:00Z'; }")  # as a live page does
    wait_until(
        page,
        "own => document.querySelector('.when time').dataset.local === own",
        arg="2026-11-23\u00a005:00:00\u00a0GMT+09:00",
    )
    page.goto(f"{scene.url}/incidents")
    assert beside.is_checked() and page.locator("time[data-local]").count() > 0
    page.goto(scene.url)
    page.set_viewport_size({"width": 720, "height": 1000})  # A4 within its margins
    page.emulate_media(media="print")
    what = page.locator(".incident-what").first.bounding_box()
    assert what is not None and what["width"] > 150  # words are not one letter a line beside two times
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{scene.url}/incidents")
    page.evaluate(  # the day is another one there
        "() => document.querySelectorAll('time').forEach(each => { each.dateTime = '2026-11-22T20:00:00Z'; })"
    )
    wait_until(
        page,
        """() => [...document.querySelectorAll('.list time')].every(
            each => each.dataset.local.startsWith('2026-11-23'))""",
    )
    wider = page.locator(".table-frame").last.evaluate("it => it.scrollWidth - it.clientWidth")
    assert wider == 0
    beside.press("Space")
    assert page.evaluate("() => !document.documentElement.classList.contains('times-beside')")


def test_nothing_moves_when_the_page_outgrows_its_window(
    scene: demo.Scene, browser: "sync_api.Browser"
) -> None:
    """The zone in the foot makes a page longer, here by what brings the scroll bar."""
    with browser.browser_type.launch(
        executable_path=browser_program(),
        args=["--no-sandbox", "--disable-gpu"],
        ignore_default_args=["--hide-scrollbars"],
    ) as shown:
        page = shown.new_page(viewport={"width": 1350, "height": 900}, timezone_id="Asia/Tokyo")
        page.goto(f"{scene.url}/search?q=box")
        page.locator("[data-your-time]").get_by_text("Asia/Tokyo").wait_for()
        grown = page.locator(".foot").bounding_box()
        page.route("**/times.js", lambda route: route.abort())
        page.reload()
        short = page.locator(".foot").bounding_box()
        assert short is not None and grown is not None and grown["height"] > short["height"]
        page.set_viewport_size({"width": 1350, "height": math.ceil(short["y"] + short["height"])})
        places = """() => ["main", ".foot p:has(a)"].map(
            (each) => document.querySelector(each).getBoundingClientRect().toJSON())"""
        before = page.evaluate(places)
        assert page.evaluate("() => document.documentElement.scrollHeight <= innerHeight")
        page.unroute("**/times.js")
        page.reload()
        page.locator("[data-your-time]").get_by_text("Asia/Tokyo").wait_for()
        assert page.evaluate("() => document.documentElement.scrollHeight > innerHeight")
        assert page.evaluate("() => document.documentElement.clientWidth < innerWidth")  # it takes place
        assert page.evaluate(places) == before


def test_the_hour_that_comes_twice_is_told_apart(scene: demo.Scene, open_page: NewPage) -> None:
    page = open_page(timezone_id="Europe/Zurich")
    page.goto(f"{scene.url}/incidents")
    found = page.evaluate(
        """async moments => {
          const { timeBeside } = await import('/static/times.js');
          return moments.map((each) => timeBeside(new Date(each)).replaceAll('\u00a0', ' '));
        }""",
        [
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z",
            "2026-03-29T00:59:59Z",
            "2026-03-29T01:00:00Z",
            "2026-07-01T22:30:00Z",
        ],
    )
    assert found == [
        "02:30:00 GMT+02:00",
        "02:30:00 GMT+01:00",
        "01:59:59 GMT+01:00",
        "03:00:00 GMT+02:00",
        "2026-07-02 00:30:00 GMT+02:00",
    ]


def test_every_page_can_be_read_without_javascript(scene: demo.Scene, open_page: NewPage) -> None:
    page = open_page(390, java_script_enabled=False)
    page.goto(scene.url)
    text = page.locator("main").inner_text()
    assert "Box 2, workshop" in text and "V rms" in text and "85.2" in text
    assert page.locator(".spark-line").first.is_visible()
    page.goto(scene.url + "/boxes/1")
    page.get_by_text("Minute by minute").click()
    assert page.locator("table tbody tr").count() >= 6
    page.goto(scene.url + "/incidents/1")
    assert page.locator(".examine-chart .trace").first.is_visible()
    page.locator("#half-cycles").click()
    page.locator("details.rows summary").first.click()
    assert page.locator("table.compact").first.is_visible()
    page.locator('[data-step-to="in"]').click()
    page.wait_for_url("**/incidents/1/examine?t=*")
    page.goto(scene.url + "/incidents")
    page.select_option("select[name=class]", "swell")
    page.get_by_role("button", name="Show").click()
    assert "Nothing here fits" in page.locator("main").inner_text()


def test_the_keyboard_reaches_everything(scene: demo.Scene, open_page: NewPage) -> None:
    page = open_page()
    page.goto(scene.url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"


def test_each_page_fits_a_phone(scene: demo.Scene, open_page: NewPage) -> None:
    """Its targets fit a thumb."""
    page = open_page(390)
    for path in PAGES:
        _settled_at(page, scene.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        assert page.evaluate(SMALL, MIN_TARGET_PX) == [], path


@pytest.mark.parametrize(
    ("scheme", "rules"), [("light", {}), pytest.param("dark", COLOURS_ALONE, marks=pytest.mark.slow)]
)
def test_axe_finds_nothing_on_any_page(
    scene: demo.Scene, open_page: NewPage, scheme: str, rules: dict[str, object]
) -> None:
    """Every file comes from View, and every page fits."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    page = open_page(1440, color_scheme=scheme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in PAGES:
        _settled_at(page, scene.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 1440, path
        results = axe.Axe().run(page, options={"resultTypes": ["violations"], **rules})
        assert results.violations_count == 0, f"{path}: {results.generate_report()}"
    assert asked and all(url.startswith(scene.url + "/") for url in asked)
