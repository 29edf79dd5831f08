"""What a reader may raise no writer may store: each extreme of each field is stored, and every page opens.

The first Boxes have what a real message may carry at most.
The others have what the original or a damaged store may hold.
"""

import math
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import demo
import numpy as np
import pytest
from account_scene import FormBrowser, app_routes

from opq_cloud.core.page_parts import parts_failed
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.view import MailSection
from opq_cloud.store import BoxRecord
from opq_cloud.store.records.accounts.account_records import BoxAccess
from opq_cloud.view.api import answers
from opq_cloud.view.app import create_app
from opq_cloud.view.live.hub import LiveHub
from opq_cloud.view.pages import front_page
from opq_cloud.view.pages.boxes import box_page
from opq_cloud.view.pages.boxes.box_card import box_card
from opq_cloud.view.pages.drawing import rendering
from opq_cloud.view.pages.examine import event_page as examine_page
from opq_cloud.view.pages.incidents import incident_page, incident_panels, list_pages
from opq_cloud.view.pages.map import map_drawing, map_pages
from opq_cloud.view.pages.past import course as past_course
from opq_cloud.view.pages.visible import seen_sites
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.web import shares
from opq_cloud.view.web.mail import Mailer
from opq_cloud.view.web.sign_in import SignIn
from opq_cloud.view.web.visitors import FORM_COOKIE, SESSION_COOKIE, Visitors
from opq_proto.decision import Nominal
from opq_proto.measurement.fields import LIMITS, MOST_NUMBER
from opq_proto.measurement.wire import MeasurementReader, measurement_to_wire
from opq_proto.messages import (
    UNKNOWN_UNCERTAINTY_NS,
    Disturbance,
    Finding,
    Interval,
    Measurement,
    Metric,
    TimeSource,
    Trend,
    Trigger,
    Waveform,
)

SECOND_NS, DAY_NS = 10**9, 86_400 * 10**9


@dataclass(frozen=True)
class Extreme:
    """Values that a Box states in each field that can have them."""

    number: float
    """Of quantities that are not in the table."""
    start_ns: int
    """Of spans, less than now."""
    length_ns: int
    text: str = "x"
    whole: int = 1
    counts: tuple[int, ...] = (0, 100, 0, -100)
    v_per_lsb: float = 0.01
    rate_millihz: int = 12_000_000

    def metric(self, key: str) -> Metric:
        least, most = LIMITS[key]
        value = {"least": least, "most": most}.get(self.text, self.number)
        return Metric(value, value, value)


REAL = {
    "11": Extreme(0.0, 3600 * SECOND_NS, 10**6, text="least", whole=0, counts=(0,), v_per_lsb=1e-12),
    "12": Extreme(1e8, -23 * 3600 * SECOND_NS, 6 * SECOND_NS, "most", MOST_NUMBER, (32767,), 1e3, 10**10),
}
"""Box -> what its real messages may carry."""
OLDER = {
    "21": Extreme(-1e38, DAY_NS, -SECOND_NS),
    "22": Extreme(3e38, 3 * DAY_NS, 0, v_per_lsb=1e300),
    "23": Extreme(math.nan, 2 * DAY_NS, 3 * DAY_NS, text="", v_per_lsb=math.nan, counts=(5,)),
    "24": Extreme(math.inf, 3600 * SECOND_NS, 60 * SECOND_NS, "\u202e<b>" * 500, v_per_lsb=math.inf),
    "25": Extreme(-math.inf, -400 * DAY_NS, SECOND_NS, "a\nb", 2**63 - 1, (-32768,), 0.0, 1),
    "26": Extreme(1e-38, 20_000 * DAY_NS, 20_000 * DAY_NS, "%s{{7*7}}", 0, (1, -1), -1.0, 1000),
}
"""Box -> what a store may hold that a wire does not bring."""
NOT_NUMBERS = ("23", "25")
"""Files and reports are made of these and of real messages alone: each takes a process of its own."""


def measurements(box_id: str, extreme: Extreme, now_ns: int) -> list[Measurement]:
    """A window, an interval and a disturbance."""
    start_ns = max(0, now_ns - extreme.start_ns)
    end_ns = start_ns + extreme.length_ns
    metrics = {key: extreme.metric(key) for key in LIMITS}
    window = Measurement(
        box_id,
        end_ns // 10**6,
        metrics,
        start_ns,
        end_ns,
        UNKNOWN_UNCERTAINTY_NS,
        TimeSource.GPS,
        extreme.whole,
        0,
        first_sample=extreme.whole,
        samples=min(extreme.whole, 10**9),
    )
    number = extreme.number
    values: dict[str, float | tuple[float, ...]] = {
        name: min(number, 1e4) if extreme.text == "most" else number
        for name in (
            "rms_v",
            "urms_min_v",
            "urms_max_v",
            "f_hz",
            "thd_ratio",
            "under_ratio",
            "over_ratio",
            "pst",
        )
    }
    values["harmonics_v"] = (number,) * 50
    rest = replace(window, metrics={})
    rows = [window, replace(window, start_ns=start_ns + 1, end_ns=end_ns + 1, crossing=True)]
    for length_ms in (3_000, 10_000, 600_000, 7_200_000):
        interval = Interval(length_ms, True, number if math.isnan(number) else 0.5, values)
        rows.append(replace(rest, interval=interval))
    for kind in ("dip", "swell", "interruption"):
        for end in (end_ns, None):
            found = Disturbance(box_id, kind, start_ns + (end is None), end, 5, number, extreme.whole)
            rows.append(replace(rest, start_ns=found.start_ns, disturbance=found))
    step = -1 if extreme.whole > 1 else 1
    return [replace(row, sequence=extreme.whole + step * at) for at, row in enumerate(rows)]


def store_real(store: Any, box_id: str, rows: list[Measurement]) -> None:
    """Through the wire and its reader, as Makai does."""
    reader = MeasurementReader()
    reader.read([[b"%04d" % int(box_id), measurement_to_wire(row)] for row in rows])
    assert not reader.malformed and not reader.refused, reader.refused
    store.append_measurements((), reader.batches(lambda *_: Nominal(120.0, 60.0)))
    store.intervals.append(reader.intervals)


def store_older(store: Any, rows: list[Measurement]) -> None:
    """By the store's writers, past the reader."""
    store.append_measurements([row for row in rows if row.is_window])
    store.intervals.append([row for row in rows if not row.is_window])


def store_rest(store: Any, box_id: str, extreme: Extreme, now_ns: int) -> None:
    """Trends, an event with a waveform, and a finding."""
    start_ns = max(0, now_ns - extreme.start_ns)
    minute_ms = start_ns // 60_000_000_000 * 60_000
    number = extreme.number
    store.put_trends([Trend(box_id, minute_ms, dict.fromkeys(("rms", "f", "thd", "trans"), (number,) * 3))])
    counts = np.array(extreme.counts * 600, np.int16)
    wave = Waveform(
        box_id,
        start_ns,
        5,
        TimeSource.NTP,
        extreme.rate_millihz,
        extreme.v_per_lsb,
        extreme.whole,
        counts,
    )
    end_ns = start_ns + max(1, extreme.length_ns)
    trigger = Trigger(f"t{box_id}", start_ns, end_ns, (box_id,), box_id, extreme.text[:200])
    event_id = store.open_event(trigger, trigger.because)
    store.put_waveform(event_id, wave)
    store.finish_event(event_id)
    finding = Finding(
        "sag",
        box_id,
        start_ns,
        start_ns + extreme.length_ns,
        5,
        residual_v=number,
        residual_percent=number,
        duration_cycles=number,
        confidence=number,
        because=extreme.text,
        figures=(("depth_v", number),),
    )
    demo.put_together(store, event_id, [finding])
    store.mark_analysed(event_id)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    running = demo.Scene(tmp_path_factory.mktemp("extremes"), poll_s=0.2)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("REQUEST_BURST", "EXPORT_BURST"):  # one visitor opens all pages within a minute
            patch.setattr(answers, name, 10_000)
        patch.setattr(shares, "CPU_BURST_S", 1_000.0)
        try:
            fill(running.store, time.time_ns())
            running.__enter__()
            yield running
        finally:
            running.__exit__(None, None, None)


def fill(store: Any, now_ns: int) -> None:
    """Stores every extreme, of a Box each that everybody sees."""
    demo.fill(store, now_ns, minutes=1)
    for box_id, extreme in {**REAL, **OLDER}.items():
        store.put_box(
            BoxRecord(box_id, extreme.text[:100] or "-", site=None if box_id == "24" else "extremes")
        )
        rows = measurements(box_id, extreme, now_ns)
        if box_id in REAL:
            store_real(store, box_id, rows)
        else:
            store_older(store, rows)
        store_rest(store, box_id, extreme, now_ns)
        store.people.change_access(box_id, lambda _, box_id=box_id: BoxAccess(box_id, None, (), "all"))


def paths(scene: demo.Scene) -> list[str]:
    """Every address that is read, for every Box, event and incident."""
    counters = ServiceCounters()
    services = ViewServices(
        scene.store,
        LiveHub(counters),
        counters,
        visitors=Visitors(scene.store.people, scene.config),
        mailer=Mailer(MailSection(), counters),
    )
    routes = (each for each in app_routes(create_app(services).routes) if each.startswith("GET"))
    boxes = [*REAL, *OLDER]
    incidents = [str(each.incident_id) for each in scene.store.incidents(limit=100)]
    found = []
    for route in routes:
        path = route.partition(" ")[2].replace("{name:path}", "extremes").replace("{file}", "dark.css")
        if "live" in path or "{rule_id}" in path or "{view_id}" in path or "mauka.svg" in path:
            continue  # a stream, of others, of a service
        for box_id in boxes if "{box_id}" in path else ("",):
            numbers = incidents if "_id}" in path.replace("{box_id}", "") else ("",)
            for number in numbers:
                made = path.replace("{box_id}", box_id)
                for name in ("{incident_id}", "{event_id}"):
                    made = made.replace(name, number)
                found.append(made.replace("{account_id}", "none"))
    week = "{}-W{:02d}".format(*datetime.now(UTC).isocalendar())
    for box_id in (*REAL, *NOT_NUMBERS):
        place = urlencode({"place": f"box:{box_id}"})
        found += [
            f"/report?{place}&span={week}",
            f"/report?{place}&span={week[:4]}",
            f"/report/week?{place}&week={week}",
            f"/past?box={box_id}",
            f"/past?box={box_id}&span=month",
            f"/incidents?box={box_id}",
            f"/search/found?q={box_id}",
            *(f"/api/v1/reports/week?{place}&week={week}&format={form}" for form in ("json", "csv", "html")),
            *(f"/api/v1/reports/indices?{place}&span={week}&format={form}" for form in ("json", "csv")),
            *(
                f"/api/v1/boxes/{box_id}/intervals?length={each}&from=now-3d"
                for each in ("3s", "10min", "2h")
            ),
            *(
                f"/api/v1/exports/measurements?box={box_id}&from=now-5d&format={form}"
                for form in ("csv", "json")
            ),
            *(f"/api/v1/exports/{each}?box={box_id}" for each in ("incidents", "findings")),
            f"/api/v1/boxes/{box_id}/disturbances?from=now-300d",
        ]
    for number in incidents:
        found += [f"/api/v1/incidents/{number}/export?format={form}" for form in ("csv", "comtrade", "pqdif")]
    return found


def some_paths(found: list[str], every: int) -> list[str]:
    """One of `every` addresses, in no order, with at least one of each route, format and length."""
    drawn = random.Random(5).sample(found, len(found))
    firsts = dict.fromkeys({re.sub(r"\d+", "", path): path for path in drawn}.values())
    return list({**firsts, **dict.fromkeys(drawn)})[: max(len(firsts), -(-len(drawn) // every))]


def session_of_an_administrator(scene: demo.Scene, name: str) -> dict[str, str]:
    """The cookie of a new account's session."""
    admin = scene.store.people.add_account(f"{name}@example.org", name, "admin", "no-hash")
    assert admin is not None
    return {SESSION_COOKIE: SignIn(scene.store.people).begin_session(admin, "127.0.0.1", "test")}


def test_a_third_has_every_route_and_format() -> None:
    blocks = [[f"/report/{box}?format={form}" for form in ("csv", "json", "html")] for box in range(7)]
    found = [path for block in blocks for path in block]
    third = some_paths(found, 3)
    assert len(third) == 7 and set(third) < set(found)
    assert {path.partition("=")[2] for path in third} == {"csv", "json", "html"}
    assert sorted(some_paths(found, 1)) == sorted(found) and len(some_paths(found, 99)) == 3


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_every_page_opens_with_every_extreme(scene: demo.Scene, every: int) -> None:
    """As an administrator and as a stranger; each is answered, never by 500, and each value is written.

    A third of the addresses always (`some_paths`): a route has several, one for each extreme.
    """
    wrong = []
    for cookies in (session_of_an_administrator(scene, f"admin{every}"), {}):
        browser = FormBrowser(scene.url, {FORM_COOKIE: "a-browser", **cookies})
        for path in some_paths(paths(scene), every):
            if not cookies and ("format=" in path or path.endswith("/export")):
                continue  # what an account has in a file, a stranger has too
            browser.get(path)
            if browser.status >= 500 or browser.status == 429:
                wrong.append((path, browser.status, "admin" if cookies else "public"))
            for found in re.finditer(rf"(?<!this part )(?<!Its way ){rendering.NOT_WRITTEN}", browser.text):
                wrong.append((path, browser.text[max(0, found.start() - 100) : found.end()], "a value"))
    assert wrong == []
    assert scene.view.counters.total("requests_failed") == 0


def test_a_part_that_fails_leaves_the_page(scene: demo.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older intervals with infinite voltages, and a card that raises; a sentence stands there."""
    browser = FormBrowser(scene.url, {FORM_COOKIE: "a-browser"})
    for outlet in demo.OUTLETS:
        access = BoxAccess(outlet.box_id, None, (), "all")
        scene.store.people.change_access(outlet.box_id, lambda _, access=access: access)
    week = "{}-W{:02d}".format(*datetime.now(UTC).isocalendar())
    before = parts_failed()
    ends_s = time.monotonic() + 200
    while True:  # what the public sees is read again each second
        browser.get(f"/report/week?place=all&week={week}")
        assert browser.status == 200 and ": this part cannot be shown" in browser.text
        if "workshop" in browser.text:
            break
        assert time.monotonic() < ends_s
        time.sleep(0.2)

    def card(context: Any, box: Any, *rest: Any, **named: Any) -> Any:
        if box.box_id == "24":
            raise OverflowError("cannot convert float infinity to integer")
        return box_card(context, box, *rest, **named)

    monkeypatch.setattr(front_page, "box_card", card)
    browser.get("/")
    assert browser.status == 200 and "Box 24: this part cannot be shown" in browser.text
    assert "workshop" in browser.text and parts_failed() > before
    browser.get("/metrics")
    assert f"opq_view_parts_failed_total {float(parts_failed())}" in browser.text


def test_a_panel_that_fails_leaves_its_page(scene: demo.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each kind of page: a sentence stands there, and the page is made."""
    session = session_of_an_administrator(scene, "panels")  # who sees waveforms, whatever others may see
    browser = FormBrowser(scene.url, {FORM_COOKIE: "a-browser", **session})
    number = next(each.incident_id for each in scene.store.incidents(limit=100) if "11" in each.box_ids)

    def fails(*_: Any, **__: Any) -> Any:
        raise OverflowError("cannot convert float infinity to integer")

    for module, function, path, part in (
        (box_page, "changes_listed", "/boxes/11", "What changed"),
        (incident_page, "facts_table", f"/incidents/{number}", "Facts"),
        (incident_page, "curves_chart", f"/incidents/{number}", "The ITIC curve"),
        (incident_page, "past_before", f"/incidents/{number}", "Before"),
        (incident_panels, "incident_panels", f"/incidents/{number}", "The charts"),
        (examine_page, "_time_panel", f"/incidents/{number}/examine", "Waveform"),
        (examine_page, "_harmonics", f"/incidents/{number}/examine?panel=harmonics", "Harmonics"),
        (past_course, "_chart", "/past?box=11", "Voltage"),
        (map_pages, "draw_map", "/map", "The map"),
        (map_pages, "groups_with_figures", "/map", "Grids and regions"),
        (map_pages, "incident_lines", "/map", "Newest incidents"),
        (map_pages, "silent_words", "/wall", "Whether Boxes report"),
        (list_pages, "plane", "/incidents", "Magnitudes and durations"),
        (list_pages, "scatter_of", "/incidents", "The scatter chart"),
        (list_pages, "count_words", "/incidents", "Their number"),
        (list_pages, "work_counts", "/incidents", "Counts of work"),
        (list_pages, "work_words", "/incidents", "Their work"),
        (seen_sites, "site_now", "/sites/extremes", "Phases"),
        (seen_sites, "site_events", "/sites/extremes", "Events"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, function, fails)
            assert browser.get(path) == 200, path
        assert f"{part}: this part cannot be shown" in browser.text, (path, browser.text)


def test_a_mark_that_fails_leaves_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    marks: Any = [SimpleNamespace(mark_id=f"box-{n}", label=f"Box {n}", text="well") for n in range(3)]

    def figures(mark: Any) -> dict[str, str]:
        if mark.label == "Box 1":
            raise OverflowError("cannot convert float infinity to integer")
        return {"u": "100"}

    monkeypatch.setattr(map_drawing, "mark_figures", figures)
    shown, by_mark, failed = map_drawing._marks_with_figures(marks)
    assert list(shown) == [marks[0], marks[2]] and by_mark["box-2"] == {"u": "100", "text": "well"}
    assert [each.name for each in failed] == ["Box 1"]


def test_an_unwritable_value_leaves_its_row() -> None:
    before = parts_failed()
    rows = rendering._templates().from_string("{% for v in values %}{{ v | number(1) }} {% endfor %}")
    assert rows.render(values=[1.0, "many", 2.0]) == f"1.0 {rendering.NOT_WRITTEN} 2.0 "
    assert parts_failed() == before + 1
