"""Live pages of View in a real browser: values, states and incidents come without a reload."""

import itertools
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import demo
import pytest
from browser_pages import NewPage, filled_scene, opened_pages
from page_waits import CONNECTED, wait_until

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_proto.messages import Measurement, Metric

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
SHOWS = """([volts, words, late]) => {
  const box = document.querySelector('[data-box="1"]'), state = box.querySelector('[data-state]');
  return box.querySelector('[data-value="rms_v"]').textContent === volts && state.textContent.includes(words)
    && state.classList.contains('state-live') && state.classList.contains('state-late') === late;
}"""
"""Box 1 is live and has this voltage and this word; whether it is late."""
REFUSED_SOURCE = """
window.SharedWorker = undefined;
window.opened = [];
window.EventSource = class extends EventTarget {
  static CLOSED = 2;
  readyState = 0;
  constructor() { super(); opened.push(this); }
  close() { this.readyState = 2; }
};
window.displace = (source, reason) => {
  source.dispatchEvent(new MessageEvent("full", { data: JSON.stringify({ reason }) }));
  source.readyState = EventSource.CLOSED;
  source.dispatchEvent(new Event("error"));
};"""
"""Streams of which a test ends one: View gave its place to another visitor, and refuses the next."""
IN_WORKER = """async (why) => {
  const seen = [], port = { postMessage: (message) => seen.push(message) };
  await import("/static/feed_worker.js");
  self.onconnect({ ports: [port] });
  port.onmessage({ data: { after: null, boxes: null } });
  displace(opened.at(-1), why);
  return seen;
}"""
"""What a page gets from the worker, here run in the page, when its place is lost."""
AGED = """(before) =>
  document.querySelector('[data-box="1"] [data-state]').textContent !== before"""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    yield from filled_scene(tmp_path_factory.mktemp("view"), minutes=6)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[demo.Scene]:
    """A scene of its own, for tests that change it; its pages are closed before it ends."""
    yield from filled_scene(tmp_path, minutes=1)


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
    yield from opened_pages(browser)


def _publish_until_heard(scene: demo.Scene, page: "sync_api.Page", measurement: Measurement) -> None:
    """A PUB drops what it sends before its subscriber has joined."""
    heard = scene.view.counters.total("measurements")
    end_s = time.monotonic() + 240
    while scene.view.counters.total("measurements") == heard and time.monotonic() < end_s:
        scene.publish(measurement)
        page.wait_for_timeout(50)


def test_a_displaced_page_connects_again(scene: demo.Scene, open_page: NewPage) -> None:
    """By itself and with View's reason: without shared workers, and in the shared worker."""
    page, why = open_page(), "All live feeds are taken."
    page.add_init_script(REFUSED_SOURCE)
    page.clock.install()
    page.goto(scene.url)
    wait_until(page, "() => opened.length === 1")
    page.evaluate("(why) => displace(opened[0], why)", why)
    page.clock.fast_forward(6_000)
    wait_until(page, "(why) => document.getElementById('stale').textContent.includes(why)", arg=why)
    page.clock.fast_forward(10_000)
    wait_until(page, "() => opened.length === 2")
    seen = page.evaluate(IN_WORKER, why)
    assert seen == [{"name": "error", "data": why}]


def test_live_values_change_in_place(fresh: demo.Scene, open_page: NewPage) -> None:
    """A new Box appears."""
    page = open_page(390)
    page.goto(fresh.url)
    wait_until(page, CONNECTED)
    value = page.locator('[data-box="1"] [data-value="rms_v"]')
    before = value.text_content()
    shape = page.locator('[data-box="1"] .spark-line')
    state, number = page.locator('[data-box="1"] [data-state]'), itertools.count(10**6)

    def publish_until(shown: Callable[[], bool]) -> None:
        """A PUB drops what it sends before its subscriber has joined; a Box that sends no more is silent."""
        end_s = time.monotonic() + 240
        while not shown():
            assert time.monotonic() < end_s, (value.text_content(), state.text_content())
            now_ms = time.time_ns() // 1_000_000
            fresh.publish(demo.measurement_of(demo.OUTLETS[0], now_ms, next(number), low_v=101.0))
            page.wait_for_timeout(50)

    publish_until(lambda: value.text_content() != before)
    assert shape.count() == 1
    wait_until(  # all have one scale: Box 1 at 101 V narrows what is shaded at Box 2
        page,
        "() => document.querySelector('[data-box=\"2\"] .spark-normal').getAttribute('height') < 34",
    )
    publish_until(lambda: state.text_content() == "Live")
    stranger = demo.DemoOutlet("9", "Box 9", 118.0, 0.02, ())
    fresh.publish(demo.measurement_of(stranger, time.time_ns() // 1_000_000, 1))
    page.locator('[data-box="9"]').wait_for()


def test_an_overtaking_crossing_blanks_nothing(fresh: demo.Scene, open_page: NewPage) -> None:
    front, one = open_page(), open_page()
    front.goto(fresh.url)
    one.goto(fresh.url + "/boxes/1")
    for page in (front, one):
        wait_until(page, CONNECTED)
    now_ms = time.time_ns() // 1_000_000
    window = demo.measurement_of(demo.OUTLETS[0], now_ms + 1000, 10**6 + 1)
    cycle = Metric(101.5, 101.5, 101.5)
    crossing = replace(window, timestamp_ms=now_ms + 1050, metrics={"rms": cycle}, crossing=True)
    late = replace(window, metrics={**window.metrics, "f": Metric(59.5, 59.5, 59.5)})
    _publish_until_heard(fresh, front, crossing)
    for page in (front, one):
        value = '[data-box="1"] [data-value="{}"]'
        wait_until(
            page, "place => document.querySelector(place).textContent === '101.50'", arg=value.format("rms_v")
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


def test_a_page_continues_after_a_step_back(fresh: demo.Scene, open_page: NewPage) -> None:
    """The clock was a minute ahead; then data come 40 s after their time, and later by an unknown clock."""
    page = open_page()
    page.goto(fresh.url)
    wait_until(page, CONNECTED)
    state = page.locator('[data-box="1"] [data-state]')
    ahead = demo.measurement_of(demo.OUTLETS[0], time.time_ns() // 1_000_000 + 60_000, 10**6)
    _publish_until_heard(fresh, page, ahead)
    places = (1, 0, 101.5, ""), (2, 40_000, 102.5, "Late by 4"), (3, 600_000, 103.5, ", by its clock")
    for number, back_ms, rms_v, words in places:
        now_ms = time.time_ns() // 1_000_000
        row = demo.measurement_of(demo.OUTLETS[0], now_ms - back_ms, 10**6 + number)
        bound_ns = None if words.startswith(",") else 1000
        fresh.publish(replace(row, metrics={"rms": Metric(rms_v, rms_v, rms_v)}, uncertainty_ns=bound_ns))
        wait_until(page, SHOWS, arg=[f"{rms_v:.2f}", words, bool(words)])  # until it is silent, or older
    path = page.locator('[data-box="1"] .spark-line').get_attribute("d")
    xs = [float(number) for number in re.findall("[MLH]([0-9.]+)", path)]
    assert xs == sorted(xs), "seconds that came again were replaced"
    page.reload()
    assert "Late by 10\u202fmin, by its clock" in state.text_content()


def test_an_idle_box_is_live_between_heartbeats(idle: demo.Scene, open_page: NewPage) -> None:
    """A Box in idle mode is live between its heartbeats and silent when one is missing."""
    page = open_page(390)
    state = page.locator('[data-box="1"] [data-state]')
    page.clock.install()
    page.goto(idle.url)
    wait_until(page, CONNECTED)
    wait_until(page, AGED, arg=state.text_content())  # its last value has come, within a second
    page.clock.run_for(1000)
    assert re.fullmatch(r"Live, [2-7]\d\u202fs old", state.text_content())  # a page may take its time
    assert "state-live" in state.get_attribute("class")
    page.clock.run_for(60_000)
    assert re.fullmatch(r"Silent for (8\d\u202fs|[12]\u202fmin)", state.text_content())
    assert "state-silent" in state.get_attribute("class")
    assert page.locator("#feed").text_content() == "No Box reports"
    assert "none of them reporting now" in page.locator("#summary").text_content()


COVERED = """() => {
  const fields = [...document.querySelectorAll('main :is(a, select, input, button)')], found = new Set();
  for (let y = 0; y < 1000; y += 20) {
    window.scrollTo(0, y);
    const feed = document.getElementById('feed').getBoundingClientRect();
    for (const field of fields) {
      const box = field.getBoundingClientRect();
      const level = feed.bottom > box.top && feed.top < box.bottom;
      if (level && feed.right > box.left && feed.left < box.right) found.add(field.outerHTML);
    }
  }
  return [...found];
}"""


def test_the_feed_covers_nothing_on_a_phone(tmp_path: Path, open_page: NewPage) -> None:
    page = open_page(390)
    quiet = demo.Scene(tmp_path, poll_s=0.2)
    demo.fill(quiet.store, time.time_ns() - 900 * 10**9, minutes=1)
    with quiet:
        page.goto(f"{quiet.url}/incidents")
        page.locator("#feed", has_text="No Box reports").wait_for()
        assert page.locator("main a").count() > 3
        assert page.evaluate(COVERED) == []


def test_a_disconnected_page_says_its_age(tmp_path: Path, open_page: NewPage) -> None:
    """It does not say which Boxes report."""
    page = open_page(390)
    state, summary = page.locator('[data-box="1"] [data-state]'), page.locator("#summary")
    page.clock.install()
    lost = demo.Scene(tmp_path, poll_s=0.2)
    demo.fill(lost.store, time.time_ns(), minutes=1)
    with lost:
        url = lost.url
        page.goto(url)
        wait_until(page, CONNECTED)
        wait_until(page, AGED, arg=state.text_content())  # its last value has come
    page.locator("#feed", has_text="Connection lost").wait_for(state="attached")  # stale: hidden
    page.clock.run_for(120_000)
    assert re.fullmatch(r"(1\d\d\u202fs|[2-9]\u202fmin) old", state.text_content())
    assert page.locator(".state-live, .state-silent").count() == 0
    assert "without a connection it is not known which report" in summary.text_content()
    assert "its figures are" in page.locator("#stale").text_content()
    with demo.Scene(tmp_path, http_endpoint=url.removeprefix("http://"), poll_s=0.2):
        page.locator("#summary", has_text="none of them reporting now").wait_for()  # now it is known
        assert page.locator('[data-box="1"] .state-silent').count() == 1


def test_scripts_that_come_late_know_the_servers_time(scene: demo.Scene, open_page: NewPage) -> None:
    page = open_page()
    held: list[sync_api.Route] = []
    page.route("**/words.js", lambda route, _request: held.append(route))
    page.goto(scene.url + "/wall", wait_until="commit")
    wait_until(page, "() => performance.now() > 12_000")
    held[0].continue_()
    lead_ms = page.evaluate("import('/static/words.js').then((words) => words.serverNowMs() - Date.now())")
    assert -10_000 < lead_ms < 1000, "of it is only how long the answer took"


@pytest.mark.slow
def test_twelve_tabs_are_live_at_once(fresh: demo.Scene, open_page: NewPage) -> None:
    first = open_page(390)
    tabs = [first, *(first.context.new_page() for _ in range(11))]
    for tab in tabs:
        tab.goto(fresh.url)
    values = [tab.locator('[data-box="1"] [data-value="rms_v"]') for tab in tabs]
    before = values[0].text_content() or ""
    stop_s = time.monotonic() + 360
    number = 10**6
    for tab, value in zip(tabs, values, strict=True):
        while not tab.evaluate(CONNECTED) or value.text_content() == before:
            assert time.monotonic() < stop_s, "a tab is not live"
            number += 1  # PUB drops early messages
            now_ms = time.time_ns() // 1_000_000
            fresh.publish(demo.measurement_of(demo.OUTLETS[0], now_ms, number, low_v=101.0))
            first.wait_for_timeout(100)
    tabs[0].close()
    demo.put_event(fresh.store, [demo.waveform_of(demo.OUTLETS[0], time.time_ns())], "another")
    for tab in tabs[1:]:
        tab.locator('#incidents li[data-incident="2"]').wait_for()
    assert fresh.view.counters.snapshot()["clients_now"] == {"": 1}  # one stream for all of them


def test_pages_are_compressed_and_the_feed_is_not(scene: demo.Scene) -> None:
    asked = {"Accept-Encoding": "gzip"}
    for path, encoding in (("/", "gzip"), ("/static/live.js", "gzip"), ("/live", None)):
        with urllib.request.urlopen(
            urllib.request.Request(scene.url + path, headers=asked), timeout=240
        ) as got:
            assert got.headers["Content-Encoding"] == encoding, path


def test_a_new_incident_appears_without_reload(fresh: demo.Scene, open_page: NewPage) -> None:
    front, listing, shown = open_page(), open_page(), open_page()
    front.goto(fresh.url)
    listing.goto(fresh.url + "/incidents")
    shown.goto(fresh.url + "/incidents/1")
    for page in (front, listing, shown):
        wait_until(page, CONNECTED)
    page_changed = shown.locator("#changed")
    assert page_changed.is_hidden()
    waves = [demo.waveform_of(demo.OUTLETS[0], time.time_ns())]
    demo.put_event(fresh.store, waves, "another")
    first = fresh.store.incident(1)
    assert first
    finding = first.findings[0].finding
    joined = replace(finding, box_id="4", residual_percent=85.6, residual_v=102.7)
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


def test_simultaneous_steady_states_are_one_row(fresh: demo.Scene, open_page: NewPage) -> None:
    """Steady states that begin together are one row of an open page."""
    page = open_page()
    page.goto(fresh.url)
    wait_until(page, CONNECTED)
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
