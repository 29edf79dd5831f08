"""What an incident was at one place: class, depth, length and Boxes of a title, and of a list of a place."""

import re
from collections.abc import Iterator
from html import unescape

import pytest
from fastapi.testclient import TestClient
from open_view import open_services

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.notifications.message_texts import incident_headline
from opq_cloud.operations.incident_edits import IncidentEditor
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.view.app import create_app
from opq_cloud.view.web.words import headline
from opq_proto.messages import Finding

NOW_NS = 1_795_000_000 * 10**9
Low = tuple[str, str, int, float | None]
"""Class, Box, length in ms, residual voltage in percent."""
JUMPS = (("1", 190), ("3", 189))
CASES: list[tuple[str, list[Low], dict[str, str | None]]] = [
    (
        "Sag to 60.0 % at Box 1, rapid voltage change at Box 3",  # Box 1 is at the quay, and moves after it
        [("sag", "1", 100, 60.0), ("rapid_voltage_change", "3", 120, None)],
        {
            "site=quay": "Sag 60.0 % 100 ms Box 1",
            "site=mill": None,
            "site=yard&class=sag": None,
            "region=south": "Rapid voltage change – 120 ms Box 3",
            "feeder=F south": "Rapid voltage change – 120 ms Box 3",
        },
    ),
    (
        "Sag to 40.0 % at Boxes 1 and 2, sag to 70.0 % at Box 3",
        [("sag", "1", 80, 40.0), ("sag", "2", 81, 40.5), ("sag", "3", 80, 70.0)],
        {"": "Sag 40.0 % 80.0 ms Boxes 1 and 2, of 3", "site=yard": "Sag 70.0 % 80.0 ms Box 3"},
    ),
    (
        "Swell to 118.0 % at Box 3, sag to 85.0 % at Box 1",
        [("swell", "3", 100, 118.0), ("sag", "1", 100, 85.0)],
        {"box=1&class=sag": "Sag 85.0 % 100 ms Box 1", "box=1&class=swell": None, "class=sag": None},
    ),
    (
        "Sag to 60.0 % at Box 2, sag to 60.0 % at Box 1",
        [("sag", "1", 100, 60.0), ("sag", "2", 900, 60.0)],
        {"": "Sag 60.0 % 900 ms Box 2, of 2", "box=1": "Sag 60.0 % 100 ms Box 1"},
    ),
    (
        "Sag to 85.2 % at Box 1, rapid voltage change at Box 3",
        [("sag", "1", 158, 85.2), *(("rapid_voltage_change", box, ms, None) for box, ms in JUMPS)],
        {
            "": "Sag 85.2 % 158 ms Box 1, of 2",
            "box=3&class=rapid_voltage_change": "Rapid voltage change – 189 ms Box 3",
            "box=1&class=rapid_voltage_change": None,
        },
    ),
    (
        "Interruption to 0.5 % at Box 1, sag to 31.0 % at Box 3",
        [("interruption", "1", -5000, 0.5), ("sag", "3", 150, 31.0)],
        {"box=1": "Interruption 0.5 % open at the end Box 1", "box=3": "Sag 31.0 % 150 ms Box 3"},
    ),
    (
        "Harmonics and sag to 72.0 % at Box 1, sag to 80.0 % at Box 2",
        [("harmonics+sag", "1", 200, 72.0), ("sag", "2", 150, 80.0)],
        {
            "site=mill&class=harmonics": "Harmonics and sag 72.0 % 200 ms Box 1, of 2",
            "box=2&class=harmonics": None,
        },
    ),
    (
        "Interruption to 0.0 % at Box 4, sags to between 20.0 % and 70.0 % at 11 more",
        [("interruption", "4", 20_000, 0.0), *(("sag", f"{n}", 150, 5.0 * n - 5) for n in range(5, 16))],
        {
            "": "Interruption 0.0 % 20.00 s Box 4 (Cellar), of 12",
            "box=9&class=interruption": None,
            "box=9": "Sag 40.0 % 150 ms Box 9",
            "box=9,11": "Sag 40.0 % 150 ms Box 9, of 2",
        },
    ),
    (
        "Interruption to 3.0 % at Box 2, undervoltage to 82.0 % at Box 1, swell to 111.0 % at Box 3",
        [("undervoltage", "1", 90_000, 82.0), ("interruption", "2", 90_000, 3.0), ("swell", "3", 90, 111.0)],
        {"box=1": "Undervoltage 82.0 % 1 min 30 s Box 1", "region=south": "Swell 111.0 % 90.0 ms Box 3"},
    ),
    (
        "Swell to 60.0 % at Box 1, rapid voltage change at Box 3",  # a person says that its sag was a swell
        [("sag", "1", 100, 60.0), ("rapid_voltage_change", "3", 120, None)],
        {
            "box=1": "Swell 60.0 % 100 ms Box 1",
            "box=1&class=swell": "Swell 60.0 % 100 ms Box 1",
            "box=1&class=sag": None,
            "box=3": "Rapid voltage change – 120 ms Box 3",
        },
    ),
]
TITLES = [title for title, _, _ in CASES]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudStore]:
    """One incident an hour, in the order of the cases."""
    opened = open_store(None, tmp_path_factory.mktemp("places"))
    places = {"1": ("quay", "north"), "2": ("mill", "north"), "3": ("yard", "south")}
    for number in range(1, 16):
        site, region = places.get(str(number), ("town", "east"))
        name = "Cellar" if number == 4 else ""
        feeder = f"F {region}"
        opened.put_box(BoxRecord(str(number), name, site=site, region=region, feeder=feeder, nominal_v=230.0))
    for place, (_, lows, _) in enumerate(CASES):
        start_ns = NOW_NS - (20 - place) * 3600 * 10**9
        found = [
            Finding(
                kind, box_id, start_ns, start_ns + abs(ms) * 10**6, 1000, ms > 0, residual_percent=percent
            )
            for kind, box_id, ms, percent in lows
        ]
        put_findings(opened, place + 1, found)
        if not place:
            opened.put_box(BoxRecord("1", "", site="mill", feeder="F north"), start_ns // 10**6 + 60_000)
    IncidentEditor(opened).label_incident(len(CASES), "swell", ["sag", "swell"])
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def client(store: CloudStore) -> TestClient:
    return TestClient(create_app(open_services(store, now_ns=lambda: NOW_NS)))


@pytest.mark.parametrize("number", range(1, len(CASES) + 1), ids=TITLES)
def test_a_title_names_one_boxs_event(store: CloudStore, client: TestClient, number: int) -> None:
    (incident,) = store.incidents_of([number])
    title = headline(incident).replace("\u202f", " ")
    assert title == TITLES[number - 1]
    told = client.get(f"/api/v1/incidents/{number}").json()
    assert told["summary"].replace("\u202f", " ").replace(" (Cellar)", "") == title
    first, _, rest = incident_headline(incident).partition(", ")
    assert "+" in incident.kind or title.startswith(first)
    assert all(part in rest for part in title.split(", ")[1:])


QUERIES = [(place + 1, *case) for place, (_, _, rows) in enumerate(CASES) for case in rows.items()]


@pytest.mark.parametrize(("number", "query", "shown"), QUERIES)
def test_a_narrowed_list_has_what_was_there(
    client: TestClient, number: int, query: str, shown: str | None
) -> None:
    page = client.get(f"/incidents?{query}").text
    row = re.search(rf'<tr data-incident="{number}".*?</tr>', page, re.S)
    assert (row is None) == (shown is None)
    if row is not None:
        cells = re.findall(r"<td[^>]*>(.*?)</td>", row[0], re.S)
        texts = [re.sub(r"<[^>]+>", "", unescape(each)).strip().replace("\u202f", " ") for each in cells]
        assert " ".join((texts[0], *texts[2:4], texts[5])) == shown
    if query.startswith("box=") and "," not in query:
        items = client.get(f"/api/v1/incidents?{query}").json()["items"]
        there = [each for each in items if each["id"] == number]
        assert bool(there) == (shown is not None)
        for each in there:
            assert each["box_ids"] == [re.findall(r"\d+", query)[0]]
            assert each["residual_percent"] is None or f"{each['residual_percent']:.1f} %" in str(shown)
