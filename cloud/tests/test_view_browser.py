"""View in a real browser: Debian's Chromium, driven by Playwright."""

import math
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import demo
import pytest
from browser_program import browser_program

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_proto.messages import Finding, Measurement, Metric

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
NewPage = Callable[..., Any]
LIVE_PAGES = ("/", "/incidents", "/incidents/1", "/boxes/1", "/boxes/1?from=now-10m&to=now")
PAGES = (*LIVE_PAGES, "/boxes/77")
CONNECTED = "() => /^(Live|Connected)/.test(document.getElementById('feed').textContent)"
"""The feed is there. Whether it says Live depends on how old the last measurement is by then."""
SETTLED = """() => /^(Live|No Box)/.test(document.getElementById('feed').textContent)
  && [...document.querySelectorAll('.plot')].every(place => place.dataset.drawn)"""
"""The feed's state is known, and the charts are drawn."""
AGED = """(before) =>
  document.querySelector('[data-box="1"] [data-state]').textContent !== before"""
MIN_TARGET_PX = 24
"""WCAG 2.2, 2.5.8: the least size of a target that is not in a sentence."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    running = demo.Scene(tmp_path_factory.mktemp("view"), poll_s=0.2)
    demo.fill(running.store, time.time_ns(), minutes=6)
    with running:
        yield running


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[demo.Scene]:
    """A scene of its own, for tests that change it; its pages are closed before it ends."""
    running = demo.Scene(tmp_path, poll_s=0.2)
    demo.fill(running.store, time.time_ns(), minutes=1)
    with running:
        yield running


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[demo.Scene]:
    """Its gateway sends a minute in one; the last came 20 s ago."""
    running = demo.Scene(tmp_path, poll_s=0.2)
    last_ms = time.time_ns() // 1_000_000 - 20_000
    rows = [
        demo.measurement_of(demo.OUTLETS[0], last_ms - 60_000 * back, 10 - back) for back in range(5, -1, -1)
    ]
    running.store.append_measurements(replace(row, start_ns=row.end_ns - 60 * 10**9) for row in rows)
    with running:
        yield running


@pytest.fixture
def open_page(browser: "sync_api.Browser") -> Iterator[NewPage]:
    """Opens pages that fail the test on any error of a script or of the console."""
    contexts, told = [], []

    def new(width: int = 1440, **options: object) -> "sync_api.Page":
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("console", lambda item: told.append(item.text) if item.type in ("error", "warning") else None)
        return page

    yield new
    for context in contexts:
        context.close()
    assert [text for text in told if "404 (Not Found)" not in text] == []


def _settled_at(page: "sync_api.Page", url: str) -> None:
    page.goto(url)
    if url.endswith(LIVE_PAGES):
        page.wait_for_function(SETTLED)


def _publish_until_heard(scene: demo.Scene, page: "sync_api.Page", measurement: Measurement) -> None:
    """A PUB drops what it sends before its subscriber has joined."""
    heard = scene.view.counters.total("measurements")
    end_s = time.monotonic() + 60
    while scene.view.counters.total("measurements") == heard and time.monotonic() < end_s:
        scene.publish(measurement)
        page.wait_for_timeout(50)


def _drawn(page: "sync_api.Page", selector: str) -> int:
    """Pixels of the charts under `selector` that are not empty, the fewest of any chart."""
    page.wait_for_function(
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
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s and not found == before > 0:  # uPlot draws in a later frame
        page.wait_for_timeout(150)
        before, found = found, page.evaluate(script, selector)
    return found


def test_the_charts_of_a_box_are_drawn(scene: demo.Scene, open_page: NewPage) -> None:
    page = open_page()
    page.goto(scene.url + "/boxes/1")
    assert _drawn(page, ".plot") > 1000


def test_zooming_in_draws_the_samples_themselves_and_the_address_stays(
    scene: demo.Scene, open_page: NewPage
) -> None:
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


def test_the_page_of_a_long_incident_is_two_screens(fresh: demo.Scene, open_page: NewPage) -> None:
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


def test_a_finding_of_a_long_class_and_name_is_as_wide_as_a_phone(
    fresh: demo.Scene, open_page: NewPage
) -> None:
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
def test_the_plane_of_incidents_shows_its_dots_and_fields(
    scene: demo.Scene, open_page: NewPage, width: int
) -> None:
    page = open_page(width)
    page.goto(f"{scene.url}/incidents?from=now-30d")
    for part in (".scatter-plot .dot", ".scatter-plot .field"):
        drawn = page.locator(part).first.bounding_box()
        assert drawn is not None and drawn["width"] > 5, part


def test_live_values_change_in_place_and_a_new_box_appears(fresh: demo.Scene, open_page: NewPage) -> None:
    page = open_page(390)
    page.goto(fresh.url)
    page.get_by_text("Live", exact=True).first.wait_for(state="attached")
    value = page.locator('[data-box="1"] [data-value="rms_v"]')
    before = value.text_content()
    shape = page.locator('[data-box="1"] .spark-line')
    for k in range(1200):  # a PUB drops what it sends before its subscriber has joined
        now_ms = time.time_ns() // 1_000_000
        fresh.publish(demo.measurement_of(demo.OUTLETS[0], now_ms, 10**6 + k, low_v=101.0))
        page.wait_for_timeout(50)
        if value.text_content() != before:
            break
    assert value.text_content() != before
    assert shape.count() == 1
    page.wait_for_function(  # all have one scale: Box 1 at 101 V narrows what is shaded at Box 2
        "() => document.querySelector('[data-box=\"2\"] .spark-normal').getAttribute('height') < 34"
    )
    assert page.locator('[data-box="1"] [data-state]').text_content() == "Live"
    stranger = demo.DemoOutlet("9", "Box 9", 118.0, 0.02, ())
    fresh.publish(demo.measurement_of(stranger, time.time_ns() // 1_000_000, 1))
    page.locator('[data-box="9"]').wait_for()


def test_a_crossing_that_overtakes_its_window_blanks_nothing_and_loses_nothing(
    fresh: demo.Scene, open_page: NewPage
) -> None:
    front, one = open_page(), open_page()
    front.goto(fresh.url)
    one.goto(fresh.url + "/boxes/1")
    for page in (front, one):
        page.wait_for_function(CONNECTED)
    now_ms = time.time_ns() // 1_000_000
    window = demo.measurement_of(demo.OUTLETS[0], now_ms + 1000, 10**6 + 1)
    cycle = Metric(101.5, 101.5, 101.5)
    crossing = replace(window, timestamp_ms=now_ms + 1050, metrics={"rms": cycle}, crossing=True)
    late = replace(window, metrics={**window.metrics, "f": Metric(59.5, 59.5, 59.5)})
    _publish_until_heard(fresh, front, crossing)
    for page in (front, one):
        value = '[data-box="1"] [data-value="{}"]'
        page.wait_for_function(
            "place => document.querySelector(place).textContent === '101.50'", arg=value.format("rms_v")
        )
        assert "\u2013" not in page.locator(value.format("f_hz")).text_content()
        assert "\u2013" not in page.locator(value.format("thd_percent")).text_content()
    fresh.publish(late)
    for page in (front, one):
        page.locator(value.format("f_hz")).get_by_text("59.500").wait_for()
        assert page.locator(value.format("rms_v")).text_content() == "101.50"
    path = front.locator('[data-box="1"] .spark-line').get_attribute("d")
    xs = [float(number) for number in re.findall("[MLH]([0-9.]+)", path)]
    assert xs == sorted(xs)


def test_a_page_goes_on_after_a_step_back_and_says_how_late_data_come(
    fresh: demo.Scene, open_page: NewPage
) -> None:
    """The clock was 10 s ahead; then the data come 40 s after their time, and later by an unknown clock."""
    page = open_page()
    page.goto(fresh.url)
    page.wait_for_function(CONNECTED)
    state = page.locator('[data-box="1"] [data-state]')
    now_ms = time.time_ns() // 1_000_000
    ahead = demo.measurement_of(demo.OUTLETS[0], now_ms + 10_000, 10**6)
    _publish_until_heard(fresh, page, ahead)
    volts = "volts => document.querySelector('[data-box=\"1\"] [data-value=rms_v]').textContent === volts"
    places = (1, 0, 101.5, ""), (2, 40_000, 102.5, "Late by 4"), (3, 600_000, 103.5, ", by its clock")
    for number, back_ms, rms_v, words in places:
        row = demo.measurement_of(demo.OUTLETS[0], now_ms - back_ms, 10**6 + number)
        bound_ns = None if words.startswith(",") else 1000
        fresh.publish(replace(row, metrics={"rms": Metric(rms_v, rms_v, rms_v)}, uncertainty_ns=bound_ns))
        page.wait_for_function(volts, arg=f"{rms_v:.2f}")
        assert words in state.text_content()
        assert "state-live" in state.get_attribute("class")
        assert ("state-late" in state.get_attribute("class")) is bool(words)
    path = page.locator('[data-box="1"] .spark-line').get_attribute("d")
    xs = [float(number) for number in re.findall("[MLH]([0-9.]+)", path)]
    assert xs == sorted(xs), "seconds that came again were replaced"
    page.reload()
    assert "Late by 10\u202fmin, by its clock" in state.text_content()


def test_a_box_in_idle_mode_is_live_between_its_heartbeats_and_silent_when_one_is_missing(
    idle: demo.Scene, open_page: NewPage
) -> None:
    page = open_page(390)
    state = page.locator('[data-box="1"] [data-state]')
    page.clock.install()
    page.goto(idle.url)
    page.wait_for_function(CONNECTED)
    page.wait_for_function(AGED, arg=state.text_content())  # its last value has come, within a second
    page.clock.run_for(1000)
    assert re.fullmatch(r"Live, [2-7]\d\u202fs old", state.text_content())  # a page may take its time
    assert "state-live" in state.get_attribute("class")
    page.clock.run_for(60_000)
    assert re.fullmatch(r"Silent for (8\d\u202fs|[12]\u202fmin)", state.text_content())
    assert "state-silent" in state.get_attribute("class")
    assert page.locator("#feed").text_content() == "No Box reports"
    assert "none of them reporting now" in page.locator("#summary").text_content()


def test_without_a_connection_a_page_says_how_old_it_is_and_not_who_reports(
    tmp_path: Path, open_page: NewPage
) -> None:
    page = open_page(390)
    state, summary = page.locator('[data-box="1"] [data-state]'), page.locator("#summary")
    page.clock.install()
    lost = demo.Scene(tmp_path, poll_s=0.2)
    demo.fill(lost.store, time.time_ns(), minutes=1)
    with lost:
        url = lost.url
        page.goto(url)
        page.wait_for_function(CONNECTED)
        page.wait_for_function(AGED, arg=state.text_content())  # its last value has come
    page.locator("#feed", has_text="Connection lost").wait_for()
    page.clock.run_for(120_000)
    assert re.fullmatch(r"(1\d\d\u202fs|[2-9]\u202fmin) old", state.text_content())
    assert page.locator(".state-live, .state-silent").count() == 0
    assert "without a connection it is not known which report" in summary.text_content()
    assert "what stands here is" in page.locator("#stale").text_content()
    with demo.Scene(tmp_path, http_endpoint=url.removeprefix("http://"), poll_s=0.2):
        page.locator("#summary", has_text="none of them reporting now").wait_for()  # now it is known
        assert page.locator('[data-box="1"] .state-silent').count() == 1


def test_scripts_that_come_late_know_the_servers_time(scene: demo.Scene, open_page: NewPage) -> None:
    page = open_page()
    held: list[sync_api.Route] = []
    page.route("**/words.js", lambda route, _request: held.append(route))
    page.goto(scene.url + "/wall", wait_until="commit")
    page.wait_for_function("() => performance.now() > 4000")
    held[0].continue_()
    lead_ms = page.evaluate("import('/static/words.js').then((words) => words.serverNowMs() - Date.now())")
    assert -3000 < lead_ms < 1000


def test_twelve_tabs_are_live_at_once(fresh: demo.Scene, open_page: NewPage) -> None:
    first = open_page(390)
    tabs = [first, *(first.context.new_page() for _ in range(11))]
    for tab in tabs:
        tab.goto(fresh.url)
    values = [tab.locator('[data-box="1"] [data-value="rms_v"]') for tab in tabs]
    before = values[0].text_content() or ""
    stop_s = time.monotonic() + 180
    number = 10**6

    def all_live() -> bool:
        feeds = [tab.locator("#feed").text_content() for tab in tabs]
        return set(feeds) == {"Live"} and before not in [value.text_content() for value in values]

    while not all_live() and time.monotonic() < stop_s:
        number += 1  # a PUB drops what nobody hears yet; a Box that says nothing while pages load is silent
        now_ms = time.time_ns() // 1_000_000
        fresh.publish(demo.measurement_of(demo.OUTLETS[0], now_ms, number, low_v=101.0))
        first.wait_for_timeout(100)
    assert all_live()
    tabs[0].close()
    demo.put_event(fresh.store, [demo.waveform_of(demo.OUTLETS[0], time.time_ns())], "another")
    for tab in tabs[1:]:
        tab.locator('#incidents li[data-incident="2"]').wait_for()
    assert fresh.view.counters.snapshot()["clients_now"] == {"": 1}  # one stream for all of them


def test_any_span_of_a_box_is_chosen_and_read_by_keyboard(scene: demo.Scene, open_page: NewPage) -> None:
    page = open_page(390)
    page.goto(scene.url + "/boxes/1?from=now-10m&to=now")
    chart = page.locator("figure.history").first
    chart.focus()
    page.keyboard.press("ArrowLeft")
    readout = chart.locator(".readout")
    readout.wait_for(state="visible")
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \([^)]+\)   \d+\.\d\d.V \(", readout.text_content())
    assert chart.locator(".bars").get_attribute("d").count("Z") > 100
    page.keyboard.press("t")
    page.keyboard.press("z")
    page.wait_for_url("**/boxes/1?from=now-20m&to=now#past")
    page.locator(".spans a", has_text="7 days").press("Enter")
    page.wait_for_url("**/boxes/1?from=now-7d&to=now#past")
    assert page.locator(".spans [aria-current]").text_content() == "7 days"
    page.go_back()
    page.wait_for_url("**/boxes/1?from=now-20m&to=now#past")


def test_pages_are_compressed_and_the_feed_is_not(scene: demo.Scene) -> None:
    asked = {"Accept-Encoding": "gzip"}
    for path, encoding in (("/", "gzip"), ("/static/live.js", "gzip"), ("/live", None)):
        with urllib.request.urlopen(
            urllib.request.Request(scene.url + path, headers=asked), timeout=30
        ) as got:
            assert got.headers["Content-Encoding"] == encoding, path


def test_a_new_incident_appears_on_every_open_page_without_a_reload(
    fresh: demo.Scene, open_page: NewPage
) -> None:
    front, listing, shown = open_page(), open_page(), open_page()
    front.goto(fresh.url)
    listing.goto(fresh.url + "/incidents")
    shown.goto(fresh.url + "/incidents/1")
    for page in (front, listing, shown):
        page.wait_for_function(CONNECTED)
    page_changed = shown.locator("#changed")
    assert page_changed.is_hidden()
    waves = [demo.waveform_of(demo.OUTLETS[0], time.time_ns())]
    demo.put_event(fresh.store, waves, "another")
    first = fresh.store.incident(1)
    assert first
    finding = first.findings[0].finding
    joined = replace(finding, box_id="4", residual_percent=89.0, residual_v=106.8)
    put_findings(fresh.store, 1, [joined])
    row = front.locator('#incidents li[data-incident="2"]')
    row.wait_for()
    assert "at Box 1" in (row.text_content() or "")
    assert front.locator("#incidents li").first.get_attribute("data-incident") == "2"
    listing.locator("#news").wait_for()
    page_changed.wait_for()
    front.get_by_text("at Boxes 1 and 4").wait_for()
    row.locator("a").click()
    assert "Sag to 85.2" in (front.locator("h1").text_content() or "")


def test_steady_states_that_begin_together_are_one_row_of_an_open_page(
    fresh: demo.Scene, open_page: NewPage
) -> None:
    page = open_page()
    page.goto(fresh.url)
    page.wait_for_function(CONNECTED)
    first = fresh.store.incident(1)
    assert first
    now_ns = time.time_ns()
    dip = first.findings[0].finding

    def flickers(box_id: str, after_s: int) -> None:
        """A second apart: too far for one incident, near enough for one row."""
        no_level = {"residual_percent": None, "residual_v": None}
        start_ns = now_ns + after_s * 10**9
        lasting = {"start_ns": start_ns, "end_ns": start_ns + 10**9}
        put_findings(fresh.store, 1, [replace(dip, kind="flicker", box_id=box_id, **no_level, **lasting)])

    flickers("1", 0)
    row = page.locator("#incidents li", has_text="Flicker")
    row.wait_for()
    assert row.locator("a").get_attribute("href") == "/incidents/2"
    flickers("2", 1)
    page.get_by_text("and 1 like it").wait_for()
    flickers("4", 2)
    page.get_by_text("and 2 like it").wait_for()
    assert page.locator("#incidents li").count() == 2
    live = row.inner_text(), row.locator("a").get_attribute("href")
    page.goto(fresh.url)  # as the server makes it: it leads with the newest
    assert "for 1.00" in row.inner_text() and "at Box 4 and 2 like it" in row.inner_text()
    assert "at Box 1 and 2 like it" in live[0] and live[1] is not None and "class=flicker" in live[1]
    row.locator("a").click()
    page.wait_for_url("**/incidents?class=flicker&from=*")
    page.get_by_text("3 incidents").wait_for()


def test_a_time_says_what_it_is_where_its_reader_lives(scene: demo.Scene, open_page: NewPage) -> None:
    page = open_page(timezone_id="Asia/Tokyo")  # no change of the clock
    page.goto(f"{scene.url}/incidents/1")
    page.wait_for_function(
        "() => document.querySelector('[data-your-time]').textContent.includes('Asia/Tokyo')"
    )
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
    page.wait_for_function(
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
    page.wait_for_function(
        """() => [...document.querySelectorAll('.list time')].every(
            each => each.dataset.local.startsWith('2026-11-23'))"""
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
        ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z",
         "2026-07-01T22:30:00Z"],
    )  # fmt: skip
    assert found == [
        "02:30:00 GMT+02:00", "02:30:00 GMT+01:00", "01:59:59 GMT+01:00", "03:00:00 GMT+02:00",
        "2026-07-02 00:30:00 GMT+02:00",
    ]  # fmt: skip


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


def test_the_keyboard_reaches_everything_and_sees_where_it_is(scene: demo.Scene, open_page: NewPage) -> None:
    page = open_page()
    page.goto(scene.url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"


COLOURS_ALONE = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}  # dark differs from light in them
SMALL = """least => [...document.querySelectorAll('a, button, select, summary')].filter(item => {
  const box = item.getBoundingClientRect();
  return box.width > 0 && box.height < least && !item.matches('.skip')
  && getComputedStyle(item).pointerEvents !== 'none';
}).map(item => item.outerHTML.slice(0, 80))"""


def test_each_page_fits_a_phone_with_targets_for_a_thumb(scene: demo.Scene, open_page: NewPage) -> None:
    page = open_page(390)
    for path in PAGES:
        _settled_at(page, scene.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        assert page.evaluate(SMALL, MIN_TARGET_PX) == [], path


@pytest.mark.parametrize(("scheme", "rules"), [("light", {}), ("dark", COLOURS_ALONE)])
def test_axe_finds_nothing_to_complain_about_and_all_is_from_here_and_fits(
    scene: demo.Scene, open_page: NewPage, scheme: str, rules: dict[str, object]
) -> None:
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
