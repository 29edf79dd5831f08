"""What a page costs who looks at it: layout shift, largest paint, bytes on the wire, as Chromium counts; and
what Lighthouse itself says, where it is installed.

All of every page of `view_states.py`, for an administrator, on a desktop and an emulated phone. Shift and
bytes do not depend on how fast the machine is: scripts come late on purpose, so that what they move is always
seen moving. The time of the largest paint does, and is printed only.

    npm install --prefix FOLDER lighthouse       # Node 20; nothing of it is needed to run View, nor by CI
    export OPQ_LIGHTHOUSE=FOLDER/node_modules/.bin/lighthouse
    pytest -m slow cloud/tests/test_view_vitals.py -k lighthouse
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import demo
import pytest
from account_scene import add_people
from demo_grid import fill_island
from page_waits import wait_until
from view_states import PAGES, PARTS

from opq_cloud.view.web.sign_in import SignIn
from opq_cloud.view.web.visitors import SESSION_COOKIE

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cheap_argon2")]
LIGHTHOUSE = os.environ.get("OPQ_LIGHTHOUSE") or shutil.which("lighthouse")
MIN_SCORES = {"accessibility": 1.0, "best-practices": 1.0}
PERFORMANCE = {"desktop": 0.95, "phone": 0.90}
TRIES = 4
"""Lighthouse reckons with the times of its trace, so a busy machine only takes away: the best one counts."""
MIN_INDEX = 750
"""Lighthouse's own benchmark of the machine; below it the performance is the machine's, not a page's."""
MAX_SHIFT = 0.02
MAX_BYTES = 150_000
PATIENCE_MS = 180_000
"""At a load of 140 a limit of time failed, most likely: 20 s to the largest paint, 60 s to all else."""
SCRIPTS_LATE_S = 0.2
WIDE = 2
"""The number of the incident at twelve Boxes."""
INCIDENT = f"/incidents/{WIDE}"
NOT_HERE = {"/share/incidents/1", "/account/notifications/0123456789abcdef"}
"""Addresses of nothing in this scene: a link that was not made, a rule."""
PATHS = (
    INCIDENT,
    *(path.replace("/incidents/1", INCIDENT) for path in PAGES.values() if path not in PARTS | NOT_HERE),
)
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 3,
    "is_mobile": True,
    "has_touch": True,
}
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


@pytest.fixture(scope="module")
def session(scene: demo.Scene) -> str:
    """The cookie of an administrator."""
    (account,) = scene.store.people.accounts()
    return SignIn(scene.store.people).begin_session(account, "127.0.0.1", "vitals")


def measured(
    scene: demo.Scene, session: str, browser: "sync_api.Browser", path: str, device: dict[str, object]
) -> dict[str, object]:
    """Shift, paint and bytes of a page that an administrator opens for the first time."""
    context = browser.new_context(**device)
    context.add_cookies([{"name": SESSION_COOKIE, "value": session, "url": scene.url}])
    page = context.new_page()
    page.route("**/*.js", late)
    if device is PHONE:
        context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    page.add_init_script(OBSERVE)
    answer = page.goto(scene.url + path, timeout=PATIENCE_MS)
    assert answer is not None and answer.status == 200, path
    wait_until(
        page,
        "() => !document.querySelector('.scripted .plot:not([data-drawn], .plot-failed)')",
        timeout=PATIENCE_MS,
    )
    wait_until(page, "() => window.vitals.paint > 0", timeout=PATIENCE_MS)
    page.wait_for_timeout(1500)  # what comes late moves late: the hub's answers, the sparklines, the ages
    found: dict[str, object] = page.evaluate(READ)
    context.close()
    return found


def late(route: "sync_api.Route") -> None:
    """A script that comes when the page has been painted without it, as over a slow line."""
    time.sleep(SCRIPTS_LATE_S)
    route.continue_()


def faults(found: dict[str, object]) -> list[str]:
    shift, size = (float(str(found[name])) for name in ("shift", "bytes"))
    return [
        said
        for said, wrong in (
            (f"shift {shift:.4f} by {found['moved']}", shift > MAX_SHIFT),
            (f"{size:.0f} bytes", not 1_000 < size <= MAX_BYTES),
        )
        if wrong
    ]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_no_page_jumps_or_is_heavy(
    scene: demo.Scene, session: str, browser: "sync_api.Browser", device: dict[str, object]
) -> None:
    wrong = []
    for path in PATHS:
        found = measured(scene, session, browser, path, device)
        shift, paint, size = (float(str(found[name])) for name in ("shift", "paint", "bytes"))
        print(f"{path}: shift {shift:.4f}, paint {paint:.0f} ms, {size:.0f} bytes")
        wrong += [f"{path}: {fault}" for fault in faults(found)]
    assert wrong == []


def scores(url: str, session: str, device: str, folder: Path) -> dict[str, float]:
    """What Lighthouse says of one page, each category 0 to 1, and the layout shift."""
    path = folder / "report.json"
    command = [
        str(LIGHTHOUSE),
        url,
        "--quiet",
        "--output=json",
        f"--output-path={path}",
        f"--only-categories=performance,{','.join(MIN_SCORES)}",
        "--chrome-flags=--headless=new --no-sandbox --disable-gpu",
        "--extra-headers=" + json.dumps({"Cookie": f"{SESSION_COOKIE}={session}"}),
        *(["--preset=desktop"] if device == "desktop" else []),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:  # a busy machine may cost Lighthouse its trace (NO_NAVSTART): a run that says nothing
        print(f"{url}: {done.stderr[-300:]}")
        return dict.fromkeys(("performance", *MIN_SCORES, "shift", "index"), 0.0)
    report = json.loads(path.read_text())
    found = {name: category["score"] or 0.0 for name, category in report["categories"].items()}
    shift = report["audits"]["cumulative-layout-shift"].get("numericValue", 0.0)
    return found | {"shift": shift, "index": report["environment"]["benchmarkIndex"]}


@pytest.mark.skipif(
    not LIGHTHOUSE, reason="needs Lighthouse: npm install lighthouse, OPQ_LIGHTHOUSE=its command"
)
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("device", PERFORMANCE)
def test_lighthouse_is_content_with_every_page(
    scene: demo.Scene, session: str, tmp_path: Path, device: str
) -> None:
    wrong, not_judged = [], []
    for path in PATHS:
        runs = []
        while len(runs) < TRIES and not any(run["performance"] >= PERFORMANCE[device] for run in runs):
            runs.append(scores(scene.url + path, session, device, tmp_path))
        found = {name: max(run[name] for run in runs) for name in runs[0]}
        print(f"{path}: {found}")
        least = MIN_SCORES | {"performance": PERFORMANCE[device]}
        too_low = [name for name in least if found[name] < least[name]]
        if too_low == ["performance"] and found["index"] < MIN_INDEX:
            not_judged.append(path)
        else:
            wrong += [f"{path}: {name} {found[name]}" for name in too_low]
        wrong += [f"{path}: shift {found['shift']}"] if found["shift"] > MAX_SHIFT else []
    assert wrong == []
    if not_judged:
        pytest.skip(f"the machine is too busy to judge the performance of {', '.join(not_judged)}")
