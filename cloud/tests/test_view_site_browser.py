"""The pages of sites in a real browser: both widths and themes, axe, targets, and the phasors in view."""

import math
import time
from collections.abc import Iterator

import demo
import pytest
from test_view_browser import MIN_TARGET_PX, SMALL

from opq_cloud.store import BoxRecord, CloudStore
from opq_proto.messages import Disturbance, Interval, Measurement

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the dev extra's axe")
TEN_NS = 600 * 10**9
TURNS_DEG = (0.0, -118.5, 121.0)
PLACES = {
    "/sites": "Sites",
    "/sites/mill%20%26%20co": "Site mill & co",
    "/sites/hall": "Site hall",
    "/sites/shed": "Site shed",
}
OUTSIDE = """() => { const svg = document.querySelector('svg.phasors').getBoundingClientRect();
  return [...document.querySelectorAll('svg.phasors text, svg.phasors path')].filter(each => {
    const box = each.getBoundingClientRect();
    return box.left < svg.left || box.right > svg.right || box.top < svg.top || box.bottom > svg.bottom;
  }).map(each => each.outerHTML); }"""
"""Parts of the phasors that are cut off."""


def fill(store: CloudStore, now_ns: int) -> None:
    """A site with phasors and dips, one without GPS, and one of which nothing is stored."""
    start_ns = now_ns // TEN_NS * TEN_NS - TEN_NS
    sites = {"mill & co": ("21", "22", "23"), "hall": ("31", "32", "33"), "shed": ("41", "42")}
    rows, sequence = [], iter(range(1, 10**6))
    for site, boxes in sites.items():
        for number, box_id in enumerate(boxes):
            name = f"distribution board of the press shop, field {number + 1}"
            store.put_box(BoxRecord(box_id, name, site=site, phase=f"L{number + 1}", nominal_v=230.0))
            if site == "shed":
                continue
            volts = 231.5 - 6 * (number == 1)
            own: dict[str, float | tuple[float, ...]] = {
                "rms_v": volts,
                "f_hz": 50.01,
                "thd_ratio": 0.023,
                "harmonics_v": (volts - 0.2, 1.0, 3.0),
            }
            if site != "hall":
                own |= {"angles_deg": (40.0 + TURNS_DEG[number],) * 10, "phasors_v": (volts - 0.2,) * 10}
            uncertainty_ns = 1_000_000 if site == "hall" else 1000
            ten = Interval(600_000, False, 1.0, own)
            at = start_ns, start_ns + TEN_NS, uncertainty_ns
            rows.append(Measurement(box_id, 1, {}, *at, sequence=next(sequence), interval=ten))
            for back in range(60):
                begin_ns = start_ns - back * 9 * TEN_NS - number * 10**7
                found = Disturbance(box_id, "dip", begin_ns, begin_ns + 4 * 10**8, 1000, 120.0 + back, 0)
                span = begin_ns, begin_ns + 4 * 10**8, 1000
                rows.append(Measurement(box_id, 1, {}, *span, sequence=next(sequence), disturbance=found))
    store.intervals.append(rows)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    running = demo.Scene(tmp_path_factory.mktemp("sites"), poll_s=0.2)
    demo.fill(running.store, time.time_ns(), minutes=1)
    fill(running.store, time.time_ns())
    with running:
        yield running


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (390, "dark"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in ((390, "light"), (1440, "light"), (1440, "dark"))
        ),
    ],
)
def test_pages_of_sites_are_sound(
    scene: demo.Scene, browser: "sync_api.Browser", width: int, scheme: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(240_000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    for path, heading in PLACES.items():
        page.goto(scene.url + path)
        assert page.locator("h1").inner_text() == heading
        found = axe.Axe().run(page).response["violations"]
        assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert page.evaluate(SMALL, MIN_TARGET_PX) == [], path
    page.goto(f"{scene.url}/sites/mill%20%26%20co")
    assert page.evaluate(OUTSIDE) == []
    phasor = (
        "document.querySelector('svg.phasors .key-1 path').getAttribute('d').match(/-?[0-9.]+/g).map(Number)"
    )
    x, y = page.evaluate(phasor)[2:]
    assert math.degrees(math.atan2(-y, x)) - 90 == pytest.approx(TURNS_DEG[1], abs=0.5)
    page.goto(f"{scene.url}/sites/hall")
    said = page.locator("main").inner_text()
    assert "by the clocks of its Boxes u2 is uncertain by 18.1" in said and "touches them" not in said
    context.close()
    assert errors == []
