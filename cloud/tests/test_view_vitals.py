"""What a page costs who looks at it: layout shift, largest paint, bytes on the wire, as Chromium counts.

As Lighthouse measures them (web.dev: CLS, LCP), of every page of `view_states.py`, for an administrator, on
a desktop and an emulated phone. Shift and bytes do not depend on how fast the machine is; the time of the
largest paint does, and its limit here only says that the page is not stuck.
"""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from account_scene import add_people
from view_states import PAGES, PARTS

from opq_cloud.view import demo
from opq_cloud.view.accounts.sign_in import SignIn
from opq_cloud.view.accounts.visitors import SESSION_COOKIE
from opq_cloud.view.demo_grid import fill_island

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cheap_argon2")]
MOST_SHIFT = 0.02
MOST_BYTES = 150_000
LONGEST_PAINT_MS = 20_000
WIDE = 2
"""The number of the incident at twelve Boxes."""
INCIDENT = f"/incidents/{WIDE}"
PATHS = (
    INCIDENT,
    *(path.replace("/incidents/1", INCIDENT) for path in PAGES.values() if path not in PARTS),
)
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
PHONE = {
    "viewport": {"width": 390, "height": 844}, "device_scale_factor": 3, "is_mobile": True, "has_touch": True,
}  # fmt: skip
SLOWER = 4
"""How many times a phone's processor is slower, as Lighthouse has it."""
OBSERVE = """
window.vitals = { shift: 0, paint: 0, moved: [] };
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    window.vitals.shift += entry.value;
    for (const { node } of entry.sources) window.vitals.moved.push(node?.className ?? node?.nodeName);
  }
}).observe({ type: "layout-shift", buffered: true });
new PerformanceObserver((list) => {
  window.vitals.paint = list.getEntries().at(-1).startTime;
}).observe({ type: "largest-contentful-paint", buffered: true });
"""
READ = """() => {
  const entries = ["navigation", "resource"].flatMap((type) => performance.getEntriesByType(type));
  return { ...window.vitals, bytes: entries.reduce((sum, entry) => sum + entry.transferSize, 0) };
}"""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    running = demo.Scene(tmp_path_factory.mktemp("view"))
    now_ns = time.time_ns()
    demo.fill(running.store, now_ns, minutes=30)
    wave = demo.waveform_of(demo.OUTLETS[0], now_ns - 60 * 10**9)
    waves = [
        replace(wave, box_id=str(number), v_per_lsb=wave.v_per_lsb * (1 - number / 100))
        for number in range(31, 43)
    ]
    wide = demo.put_event(running.store, waves, "wide")
    assert wide is not None and wide.incident_id == WIDE
    fill_island(running.store, now_ns, minutes=30)
    add_people(running, ada="admin")
    with running:
        yield running


def measured(
    scene: demo.Scene, browser: "sync_api.Browser", path: str, device: dict[str, object]
) -> dict[str, object]:
    """Shift, paint and bytes of a page that an administrator opens for the first time."""
    context = browser.new_context(**device)
    (account,) = scene.store.people.accounts()
    secret = SignIn(scene.store.people).begin_session(account, "127.0.0.1", "vitals")
    context.add_cookies([{"name": SESSION_COOKIE, "value": secret, "url": scene.url}])
    page = context.new_page()
    if device is PHONE:
        context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    page.add_init_script(OBSERVE)
    page.goto(scene.url + path, timeout=60_000)
    page.wait_for_function(
        "() => !document.querySelector('.scripted .plot:not([data-drawn], .plot-failed)')", timeout=60_000
    )
    page.wait_for_function("() => window.vitals.paint > 0", timeout=60_000)
    page.wait_for_timeout(1500)  # what comes late moves late: the hub's answers, the sparklines, the ages
    found: dict[str, object] = page.evaluate(READ)
    context.close()
    return found


def faults(found: dict[str, object]) -> list[str]:
    shift, size, paint = (float(str(found[name])) for name in ("shift", "bytes", "paint"))
    return [
        said
        for said, wrong in (
            (f"shift {shift:.4f} by {found['moved']}", shift > MOST_SHIFT),
            (f"{size:.0f} bytes", not 1_000 < size <= MOST_BYTES),
            (f"paint after {paint:.0f} ms", paint > LONGEST_PAINT_MS),
        )
        if wrong
    ]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_no_page_of_the_table_jumps_or_is_heavy(
    scene: demo.Scene, browser: "sync_api.Browser", device: dict[str, object]
) -> None:
    wrong = []
    for path in PATHS:
        found = measured(scene, browser, path, device)
        shift, paint, size = (float(str(found[name])) for name in ("shift", "paint", "bytes"))
        print(f"{path}: shift {shift:.4f}, paint {paint:.0f} ms, {size:.0f} bytes")
        wrong += [f"{path}: {fault}" for fault in faults(found)]
    assert wrong == []
