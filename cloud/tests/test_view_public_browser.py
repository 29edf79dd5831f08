"""Map, grid, wall, share link in a real browser: live, by keyboard, without script."""

import contextlib
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import demo
import pytest
from demo_grid import ISLAND, fill_island, island_measurement
from page_waits import CONNECTED, wait_until

from opq_cloud.view.live.feed_streams import PageStream
from opq_cloud.view.live.hub import LiveHub

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")

PAGES = ("/map", "/past?of=grid:", "/wall")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    running = demo.Scene(tmp_path_factory.mktemp("public"), poll_s=0.2)
    fill_island(running.store, time.time_ns(), minutes=60)
    with running:
        yield running


def publish(scene: demo.Scene, volts: float | None = None) -> None:
    """The present second of the island; `volts` at its first Box."""
    now_ms = time.time_ns() // 1_000_000
    outlets = [ISLAND[0] if volts is None else replace(ISLAND[0], steady_v=volts), *ISLAND[1:]]
    scene.publish(*(island_measurement(outlet, now_ms, now_ms) for outlet in outlets))


def test_mark_row_and_sentence_follow_the_voltage(scene: demo.Scene, page: "sync_api.Page") -> None:
    """On an open page."""
    page.goto(f"{scene.url}/map")
    for volts, tone, words in ((120.0, "normal", "within 5 %"), (90.0, "too-low", "more than 10 % below")):
        end_s = time.monotonic() + 240
        while time.monotonic() < end_s:  # a socket that has just opened may not hear the first
            publish(scene, volts)
            if page.locator(f'[data-mark="box-21"] .map-{tone}').count():
                break
            page.wait_for_timeout(200)
        page.wait_for_selector(f'[data-mark="box-21"] .map-{tone}', state="attached")
        wait_until(
            page,
            """words => document.querySelector('[data-row="box-21"] [data-cell="state"]')
                        .textContent.includes(words)""",
            arg=words,
        )
    wait_until(page, "() => document.querySelector('[data-summary]').textContent.includes('at 1 of them')")


def follows(scene: demo.Scene, page: "sync_api.Page", volts: float, tone: str) -> None:
    """Publishes until the page shows it: a socket that has just opened may not hear the first."""
    end_s = time.monotonic() + 240
    while time.monotonic() < end_s and not page.locator(f'[data-mark="box-21"] .map-{tone}').count():
        publish(scene, volts)
        page.wait_for_timeout(200)
    streams, seen = scene.view.counters.of("clients_now", ""), page.evaluate("document.visibilityState")
    assert page.locator(f'[data-mark="box-21"] .map-{tone}').count(), f"{streams} streams, the page is {seen}"


def test_a_map_polls_without_its_feed(
    scene: demo.Scene, page: "sync_api.Page", monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it has the feed, it is sent what it shows."""
    page.route("**/map/state", lambda route: route.abort())  # what comes, the live feed brings
    page.goto(f"{scene.url}/map")
    other = page.context.new_page()  # by the same stream
    other.route("**/map/state", lambda route: route.abort())
    other.goto(f"{scene.url}/map")
    follows(scene, page, 90.0, "too-low")
    other.wait_for_selector('[data-mark="box-21"] .map-too-low', state="attached")
    wait_until(page, CONNECTED)
    end_s = time.monotonic() + 240
    while scene.view.counters.of("clients_now", "") != 1:  # that of the test before it ends, too
        assert time.monotonic() < end_s, "both maps have one stream"
        page.wait_for_timeout(50)
    other.close()
    page.unroute("**/map/state")

    def end(_: LiveHub, stream: PageStream) -> tuple[list[bytes], float]:
        stream.closed = True
        return [], 0.0

    with page.expect_response("**/map/state"):
        monkeypatch.setattr(LiveHub, "full", lambda _: True)
        monkeypatch.setattr(LiveHub, "page_parts", end)
    follows(scene, page, 120.0, "normal")


def _window(page: "sync_api.Page") -> tuple[float, float, float]:
    """Latitude, longitude and width of the window in the address."""
    found = re.search(r"at=(-?[0-9.]+)(?:%2C|,)(-?[0-9.]+)&km=([0-9.]+)", page.url)
    assert found, page.url
    return float(found[1]), float(found[2]), float(found[3])


def test_back_undoes_a_maps_movement(scene: demo.Scene, page: "sync_api.Page") -> None:
    """A map is moved by hand and back undoes it."""
    start = f"{scene.url}/map?at=21.3000,-157.8000&km=60.0"
    page.goto(start)
    box = page.locator(".map-drawing").bounding_box()
    assert box
    x, y = box["x"] + box["width"] * 0.05, box["y"] + box["height"] * 0.1  # where no mark is

    def loads(url: str, act: Callable[[], object]) -> tuple[float, float, float]:
        with page.expect_navigation():
            act()
        assert page.url != url
        return _window(page)

    def drag() -> None:
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + box["width"] / 8, y, steps=4)
        page.mouse.move(x + box["width"] / 4, y, steps=4)
        page.mouse.up()

    latitude, longitude, km = loads(start, drag)
    east_km = (longitude + 157.8) * 111.2 * math.cos(math.radians(21.3))
    assert east_km == pytest.approx(-60 / 4, abs=0.4)
    assert (latitude, km) == (pytest.approx(21.3, abs=0.002), pytest.approx(60.0, abs=0.2))
    nearer = loads(page.url, lambda: page.mouse.dblclick(box["x"] + box["width"] / 2, y))
    assert nearer[2] == pytest.approx(30.0, abs=0.2) and nearer[0] > latitude, "what is above comes nearer"
    page.go_back()
    assert _window(page) == (latitude, longitude, km)
    session = page.context.new_cdp_session(page)

    def pinch() -> None:
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        for kind, apart in (("touchStart", 100), ("touchMove", 70), ("touchMove", 50), ("touchEnd", 0)):
            points = [{"x": middle[0] + side * apart, "y": middle[1], "id": side + 1} for side in (-1, 1)]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points if apart else []})

    assert loads(page.url, pinch)[2] == pytest.approx(120.0, rel=0.02)
    page.goto(f"{scene.url}/map")
    publish(scene)
    page.locator('[data-mark="box-21"] .map-shape').click()
    page.wait_for_url("**/boxes/21")


def test_a_wall_does_not_grow_over_weeks(scene: demo.Scene, page: "sync_api.Page") -> None:
    """4,000 states, of which each has other words and other incidents."""
    page.goto(f"{scene.url}/wall")
    page.wait_for_selector("#feed:not([hidden])")
    probe = page.context.new_cdp_session(page)
    probe.send("Performance.enable")

    def measured() -> dict[str, float]:
        probe.send("HeapProfiler.collectGarbage")
        rows = probe.send("Performance.getMetrics")["metrics"]
        return {row["name"]: row["value"] for row in rows}

    play = """async count => {
        const { showState } = await import('/static/grid.js');
        const answer = await (await fetch('/map/state')).json();
        const incident = answer.incidents[0];
        for (let k = 0; k < count; k++) {
            answer.summary = `Look ${k}`;
            const row = (_, n) => ({ ...incident, id: k + n, outline: `${k} ${n}` });
            answer.incidents = Array.from({ length: 6 + (k % 7) }, row);
            for (const name of Object.keys(answer.figures)) answer.figures[name] = String(k);
            showState(answer);
        }
        return document.querySelectorAll('.incident').length;
    }"""
    assert page.evaluate(play, 200) == 6
    before = measured()
    assert page.evaluate(play, 4_000) == 6
    after = measured()
    assert after["Nodes"] - before["Nodes"] < 200
    assert after["JSEventListeners"] <= before["JSEventListeners"] + 2
    assert after["JSHeapUsedSize"] - before["JSHeapUsedSize"] < 1_000_000


def test_a_wall_reloads_after_failure_and_change(scene: demo.Scene, page: "sync_api.Page") -> None:
    """It goes on after a failure, and reloads when the pages change."""
    page.clock.install()
    page.goto(f"{scene.url}/wall")
    connected = page.locator("#feed", has_text=re.compile("^(Live|No Box reports)"))
    connected.wait_for()  # as old as its Boxes' values are
    page.route("**/map/state", lambda route: route.abort())
    page.clock.run_for(3000)
    page.locator("#feed", has_text="Connection lost").wait_for()
    page.unroute("**/map/state")
    page.clock.run_for(31_000)
    connected.wait_for()
    loads: list[str] = []
    page.on("load", lambda _: loads.append("again"))
    page.evaluate("document.querySelector('main').dataset.version = 'of before'; window.old = true")
    end_s = time.monotonic() + 240
    while not loads and time.monotonic() < end_s:  # the next look finds the other version; then it waits
        with contextlib.suppress(sync_api.Error):  # a page that goes answers nothing
            page.clock.run_for(3000)
        page.wait_for_timeout(100)
    wait_until(
        page,
        "count => window.old === undefined && document.querySelectorAll('.map-mark').length === count",
        arg=len(ISLAND),
    )


@pytest.mark.parametrize("page", [{"java_script_enabled": False}], indirect=True)
def test_without_a_script_the_pages_say_the_same(scene: demo.Scene, page: "sync_api.Page") -> None:
    page.goto(f"{scene.url}/map")
    assert page.locator(".map-mark").count() == page.locator("[data-row]").count() == len(ISLAND)
    assert page.locator(".map-drawing a").first.is_visible(), "a list of the marks"
    page.goto(f"{scene.url}/wall")
    assert page.locator("noscript meta[http-equiv=refresh]").count() == 1


def _looked_over(scene: demo.Scene, page: "sync_api.Page", pages: Sequence[str] = PAGES) -> None:
    """It fits, can be touched (WCAG 2.2, 2.5.8), and axe finds nothing."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    for path in pages:
        page.goto(scene.url + path)
        page.wait_for_selector("html.scripted")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        small = page.evaluate(
            """() => [...document.querySelectorAll('main a:not(svg a), main button, main summary')]
               .filter(item => item.getBoundingClientRect().height > 0)
               .filter(item => item.getBoundingClientRect().height < 24).map(item => item.outerHTML)"""
        )
        assert small == [], path
        results = axe.Axe().run(page)
        assert results.violations_count == 0, f"{path}: {results.generate_report()}"


PHONE, DESK = {"width": 390, "height": 844}, {"width": 1440, "height": 900}


@pytest.mark.parametrize("page", [{"viewport": PHONE, "color_scheme": "dark"}], indirect=True)
def test_pages_fit_a_phone_and_axe_finds_nothing(scene: demo.Scene, page: "sync_api.Page") -> None:
    _looked_over(scene, page, ("/map",))


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        {"viewport": DESK, "color_scheme": "light"},
        {"viewport": DESK, "color_scheme": "dark"},
        {"viewport": PHONE, "color_scheme": "light"},
    ],
    indirect=True,
)
def test_all_pages_fit_and_axe_finds_nothing(scene: demo.Scene, page: "sync_api.Page") -> None:
    _looked_over(scene, page)
