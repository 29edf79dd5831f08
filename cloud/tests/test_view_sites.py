"""Sites: phases side by side, phasors, unbalance and polyphase events; on pages, map and in the API."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from map_boxes import map_marks
from open_view import open_services
from test_view_public_map import BOX, HONOLULU

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.operations.site_now import site_now, sites_of, wrong_wirings
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.view.app import create_app
from opq_cloud.view.pages.map.map_frame import frame_of
from opq_proto.messages import Disturbance, Finding, Interval, Measurement, Trigger

TEN_NS = 600 * 10**9
NOW_NS = 1_800_000_000 * 10**9 // TEN_NS * TEN_NS + 60 * 10**9
START_NS = NOW_NS - 60 * 10**9 - TEN_NS
MILL = "mill & co"


def interval(
    sequence: int, box_id: str, values: dict[str, float | tuple[float, ...]], place: str = "", back: int = 0
) -> Measurement:
    start_ns = START_NS - back * TEN_NS
    ten = Interval(600_000, False, 1.0, values, place)
    return Measurement(box_id, 1, {}, start_ns, start_ns + TEN_NS, 100, sequence=sequence, interval=ten)


def dip(sequence: int, box_id: str, begin_ms: int, end_ms: int, volts: float, number: int) -> Measurement:
    at = START_NS + begin_ms * 10**6, START_NS + end_ms * 10**6
    found = Disturbance(box_id, "dip", *at, 100, volts, number)
    return Measurement(box_id, 1, {}, *at, 100, sequence=sequence, disturbance=found)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    opened = open_store(None, tmp_path)
    for box_id, phase in (("3", "L3"), ("1", "L1"), ("2", "L2")):
        opened.put_box(BoxRecord(box_id, f"hall {phase}", site=MILL, phase=phase, nominal_v=230.0))
    opened.put_box(BoxRecord("7", "alone"))
    volts = {"1": 231.0, "2": 228.0, "3": 231.0}
    rows = [
        interval(1, box_id, {"rms_v": each, "thd_ratio": 0.02, "harmonics_v": (each - 0.5, 1.0)})
        for box_id, each in volts.items()
    ]
    together: dict[str, float | tuple[float, ...]] = {
        "u2_ratio": 0.0043,
        "u0_ratio": 0.0044,
        "clock_ratio": 2e-4,
        "angle_b_deg": -119.5,
        "angle_c_deg": 120.25,
    }
    rows += [interval(2, "1", together, MILL), interval(3, "1", {**together, "u2_ratio": 0.5}, MILL, back=1)]
    rows += [
        dip(4, "1", 1000, 1200, 184.0, 9),
        dip(4, "2", 1150, 1300, 161.0, 9),
        dip(4, "3", 1250, 1400, 207.0, 0),
    ]
    opened.intervals.append(rows)
    yield opened
    opened.close()


@pytest.fixture
def client(store: CloudStore) -> TestClient:
    return TestClient(create_app(open_services(store, now_ns=lambda: NOW_NS)))


def words_of(text: str) -> str:
    main = re.sub(r"<(svg|script)\b.*?</\1>", "", text[text.index("<main") :], flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", main)).replace("\u202f", " ").split())


def test_a_site_has_its_phases_side_by_side(client: TestClient) -> None:
    assert client.get("/api/v1/sites").json()["items"] == [{"name": MILL, "box_ids": ["1", "2", "3"]}]
    found = client.get("/api/v1/sites/mill%20%26%20co").json()
    assert [(each["phase"], each["rms_v"], each["angle_deg"]) for each in found["phases"]] == [
        ("a", 231.0, 0.0),
        ("b", 228.0, -119.5),
        ("c", 231.0, 120.25),
    ]
    assert found["u2_ratio"] == pytest.approx(0.0043) and found["start_ns"] == START_NS
    assert found["angle_doubt_deg"] == pytest.approx(math.degrees(3 * 2e-4))
    assert found["magnitudes_percent"] == pytest.approx(100 * 2 / 230)
    (event,) = found["events"]
    assert event["box_ids"] == ["1", "2", "3"] and event["worst_box_id"] == "2"
    assert (event["end_ns"] - event["start_ns"]) / 1e6 == 400 and event["residual_percent"] == pytest.approx(
        70
    )
    assert client.get("/api/v1/sites/hall").status_code == client.get("/sites/hall").status_code == 404


def test_the_page_says_the_same(client: TestClient) -> None:
    page = client.get("/sites/mill%20%26%20co").text
    said = words_of(page)
    links = re.findall(r'href="(/(?:report|past)[^"]*)"', page[page.index("<main") :])
    assert len(links) == 4
    for path in links:
        assert client.get(unescape(path)).status_code == 200, path
    for part in (
        "b 228.00 227.50 −119.50 2.00 Box 2, hall L2",
        "Unbalance u2 0.43 %",
        "u0 0.44 %",
        "uncertain by 0.034 degrees",
        "70.0",
    ):
        assert part in said, part
    tips = [tuple(map(float, each)) for each in re.findall(r'd="M0 0L(\S+) (\S+)"', page)]
    angles = [math.degrees(math.atan2(-y, x)) - 90 for x, y in tips]
    assert [(angle + 540) % 360 - 180 for angle in angles] == pytest.approx([0, -119.5, 120.25], abs=0.1)
    assert f"/sites/{MILL.replace(' ', '%20').replace('&', '%26')}" in client.get("/sites").text
    assert 'href="/sites/mill%20%26%20co"' in client.get("/boxes/2").text
    assert "/sites" not in client.get("/boxes/7").text


def test_angles_without_gps_are_not_known(store: CloudStore) -> None:
    poor: dict[str, float | tuple[float, ...]] = {"u2_ratio": 0.1, "clock_ratio": 0.13, "angle_b_deg": 3.0}
    store.intervals.append([interval(9, each, {"rms_v": 230.0}, back=-1) for each in "123"])
    store.intervals.append([interval(10, "1", poor, MILL, back=-1)])
    records = sites_of(store.boxes())[MILL]
    found = site_now(store.intervals, MILL, records, 230.0)
    assert found.start_ns == START_NS + TEN_NS and all(each.tip is None for each in found.phases)
    apart = site_now(store.intervals, MILL, records, 230.0, together=False)
    assert math.isnan(apart.u2_ratio) and math.isnan(apart.clock_ratio)


def test_incidents_name_the_site(store: CloudStore, client: TestClient) -> None:
    trigger = Trigger("t", START_NS, START_NS + 10**9, ("2",), "2", "x")
    sag = Finding("sag", "2", START_NS, START_NS + 10**8, 0, True, 161.0, 70.0, 6.0)
    put_findings(store, store.open_event(trigger, "x"), [sag])
    (found,) = client.get("/api/v1/incidents").json()["items"]
    assert found["sites"] == [MILL]
    assert 'href="/sites/mill%20%26%20co">mill &amp; co</a>' in client.get(f"/incidents/{found['id']}").text


def test_a_site_keeps_what_its_boxes_saw(store: CloudStore, client: TestClient) -> None:
    """Its page, its events and its incidents, after one of its Boxes has moved, and after all have."""
    trigger = Trigger("t", START_NS, START_NS + 10**9, ("2",), "2", "x")
    sag = Finding("sag", "2", START_NS, START_NS + 10**8, 0, True, 161.0, 70.0, 6.0)
    put_findings(store, store.open_event(trigger, "x"), [sag])
    events = client.get("/api/v1/sites/mill%20%26%20co").json()["events"]
    assert events
    for box_id in "213":
        store.put_box(BoxRecord(box_id, "", site="yard", nominal_v=400.0), NOW_NS // 10**6 - 1)
        assert client.get("/api/v1/sites/mill%20%26%20co").json()["events"] == events
        (found,) = client.get("/api/v1/incidents").json()["items"]
        assert found["sites"] == [MILL]
    assert "None." in words_of(client.get("/sites/yard").text)
    assert client.get("/sites/mill%20%26%20co").status_code == 200


def test_a_site_is_one_mark_of_the_map() -> None:
    north = (HONOLULU[0] + 0.05, HONOLULU[1])
    boxes = [
        replace(BOX, box_id="1", site=MILL),
        replace(BOX, box_id="2", site=MILL, at=north),
        replace(BOX, box_id="3", label="Box 3", at=north),
        replace(BOX, box_id="4", label="Box 4", site="alone"),
    ]
    frame = frame_of([HONOLULU, north])
    marks = {mark.label: mark for mark in map_marks(boxes, (), frame, 2.0)}
    site = marks[f"Site {MILL}"]
    assert (site.boxes, site.href, site.name) == (2, "/sites/mill%20%26%20co", f"Site {MILL}")
    assert sum(mark.boxes for mark in marks.values()) == 4 and len(marks) == 3


@pytest.mark.parametrize(
    ("angles", "said"),
    [
        ((119.5, -120.25), "L2 and L3 (Box 2 and Box 3) are exchanged, or two others of the three"),
        ((60.5, 120.25), "Box 2 on L2 is turned round by 180 degrees"),
        ((59.0, -61.0), "Box 1 on L1 is turned round by 180 degrees"),
        ((-119.0, -0.5), "Box 1 and Box 3 measure one phase"),
    ],
)
def test_a_wrong_connection_is_said(tmp_path: Path, angles: tuple[float, float], said: str) -> None:
    """Page, API and report say which, and none of them judges unbalance."""
    opened = open_store(None, tmp_path)
    for box_id in ("1", "2", "3"):
        opened.put_box(BoxRecord(box_id, f"Box {box_id}", site="mill", phase=f"L{box_id}", nominal_v=230.0))
    rows = [interval(1, each, {"rms_v": 230.0, "harmonics_v": (230.0, 1.0)}) for each in ("1", "2", "3")]
    names = ("u2_ratio", "u0_ratio", "clock_ratio", "angle_b_deg", "angle_c_deg")
    rows.append(interval(2, "1", dict(zip(names, (0.001, 0.001, 2e-4, *angles), strict=True)), "mill"))
    opened.intervals.append(rows)
    client = TestClient(create_app(open_services(opened, now_ns=lambda: NOW_NS)))
    found = client.get("/api/v1/sites/mill").json()
    assert found["wiring"].startswith(said) and found["u2_ratio"] is None
    page = words_of(client.get("/sites/mill").text)
    assert said in page and "Unbalance u2" not in page
    assert wrong_wirings(opened.intervals, opened.boxes())["mill"].startswith(said)
    day = datetime.fromtimestamp(START_NS / 1e9, UTC).isocalendar()
    report = client.get(f"/api/v1/reports/week?place=site:mill&week={day.year}-W{day.week:02}&format=json")
    assert said in report.json()["sentences"][0]
    span = (datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat()[:19] for at_ns in (START_NS, NOW_NS))
    past = words_of(client.get("/past?of=site:mill&q=unbalance_percent&from={}&to={}".format(*span)).text)
    assert said in past and "unbalance is not shown" in past
    (u2,) = [row for row in report.json()["rows"] if row["quantity"] == "unbalance u2"]
    assert u2["verdict"] == "not_assessed" and "not connected as stated" in u2["why"]
    opened.close()
