"""Reports: the months that the store holds, one of them as a summary to print, and who sees what of them."""

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from html import unescape
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from fastapi.testclient import TestClient
from open_view import open_services

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.store.incidents.index import IndexedIncident
from opq_cloud.view.app import create_app
from opq_cloud.view.pages.past import month_report
from opq_cloud.view.pages.past.month_report import LocalMonth, read_month_lines, read_month_report, summary_of
from opq_cloud.view.pages.past.report_pages import ReportPages
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.visitors import VISITOR, Visitor
from opq_proto.messages import Finding, Trend, Trigger

BERLIN, UTC_ZONE = ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
NOW = round(datetime(2026, 4, 2, 12, tzinfo=UTC).timestamp() * 1000)
SAGS = (
    ("1", datetime(2026, 3, 31, 22, 30, tzinfo=UTC), 40.0, 3.0),
    ("1", datetime(2026, 3, 5, tzinfo=UTC), 70.0, 0.1),
    ("2", datetime(2026, 3, 6, tzinfo=UTC), 20.0, 0.2),
    ("1", datetime(2025, 12, 1, tzinfo=UTC), 60.0, 0.2),
)
"""Box, start, residual in percent, seconds; the first begins in April by Berlin's clock."""


def ms(*moment: int) -> int:
    return round(datetime(*moment, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type]


def put_hours(store: CloudStore, box_id: str, first_ms: int, last_ms: int, rms_v: float) -> None:
    """One minute in ten stands for all of them."""
    metrics = {"rms": (rms_v - 2, rms_v + 2, rms_v), "f": (59.9, 60.1, 60.0), "thd": (0.01, 0.03, 0.02)}
    store.put_trends(
        Trend(box_id, start, metrics, covered_ms=600_000) for start in range(first_ms, last_ms, 600_000)
    )
    while store.roll_up(NOW, 1000):
        pass


def put_sag(store: CloudStore, box_id: str, at: datetime, residual: float, seconds: float) -> None:
    start_ns = round(at.timestamp()) * 10**9
    trigger = Trigger(f"t{start_ns}", start_ns, start_ns + 10**9, (box_id,), box_id, "x")
    sag = Finding(
        "sag",
        box_id,
        start_ns,
        start_ns + round(seconds * 1e9),
        0,
        True,
        residual * 1.2,
        residual,
        seconds * 60.0,
    )
    put_findings(store, store.open_event(trigger, "x"), [sag])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudStore]:
    """Box 1 has ten days of March, 120 V for five and then 126 V for five; the others are not measured."""
    opened = open_store(None, tmp_path_factory.mktemp("reports"))
    for box_id, nominal_v in (("1", 120.0), ("2", 120.0), ("4", 230.0)):
        region = "north" if box_id != "4" else "south"
        opened.put_box(
            BoxRecord(box_id, f"name-{box_id}", region=region, nominal_v=nominal_v, nominal_hz=60.0)
        )
    put_hours(opened, "1", ms(2026, 3, 2), ms(2026, 3, 7), 120.0)
    put_hours(opened, "1", ms(2026, 3, 7), ms(2026, 3, 12), 126.0)
    for each in SAGS:
        put_sag(opened, *each)
    yield opened
    opened.close()


@pytest.fixture
def client(store: CloudStore) -> TestClient:
    return TestClient(create_app(open_services(store, now_ns=lambda: NOW * 1_000_000)))


def words_of(client: TestClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    main = re.sub(r"<(svg|script)\b.*?</\1>", "", answer.text[answer.text.index("<main") :], flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", main)).replace("\u202f", " ").split())


# What a month was like


def test_a_month_has_the_hours_of_its_clock() -> None:
    march = LocalMonth.of(date(2026, 3, 17), BERLIN)
    assert (march.first, march.days) == (date(2026, 3, 1), 31)
    assert (march.end_ms - march.start_ms) / HOUR_MS == 31 * 24 - 1
    assert LocalMonth.of(date(2025, 12, 31), UTC_ZONE).end_ms == ms(2026, 1, 1)


def test_the_list_has_the_months_that_hold_something(store: CloudStore) -> None:
    months = [LocalMonth.of(date(2025, 11, 1), UTC_ZONE)]
    while len(months) < 6:
        months.append(LocalMonth.of(date.fromtimestamp(months[-1].end_ms / 1000 + DAY_MS / 1000), UTC_ZONE))
    lines, whole = read_month_lines(store, ["1"], ("1",), months, NOW)
    assert whole and [each.month.first for each in lines] == [date(2025, 12, 1), date(2026, 3, 1)]
    assert lines[0].coverage is None and lines[0].count == 1
    assert lines[1].coverage == pytest.approx(10 / 31) and lines[1].count == 2
    everywhere, _ = read_month_lines(store, ["1", "2"], None, months, NOW)
    assert everywhere[1].coverage == pytest.approx(5 / 31) and everywhere[1].count == 3


def test_months_of_which_not_all_incidents_are_read_state_their_number(
    store: CloudStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(month_report, "MAX_LISTED", 2)
    months = [
        LocalMonth.of(date(year, month, 1), UTC_ZONE) for year, month in ((2025, 12), (2026, 3), (2026, 4))
    ]
    lines, whole = read_month_lines(store, ["1"], None, months, NOW)
    assert not whole and [(each.count, each.incidents) for each in lines] == [(1, None), (3, None)]
    later, _ = read_month_lines(store, ["1"], None, months[1:], NOW)
    assert later[0].count == 3, "the month in which reading ended is counted"


def test_an_incident_over_the_end_of_a_month_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(month_report, "MAX_LISTED", 1)
    march, april = (LocalMonth.of(date(2026, month, 1), UTC_ZONE) for month in (3, 4))
    with closing(open_store(None, tmp_path)) as store:
        put_sag(store, "1", datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC), 40.0, 3.0)
        put_sag(store, "1", datetime(2026, 4, 1, 5, tzinfo=UTC), 40.0, 3.0)
        lines, _ = read_month_lines(store, ["1"], None, (march, april), NOW)
    assert [each.count for each in lines] == [1, 1]


def test_the_figures_of_a_month_are_those_of_its_rows(store: CloudStore) -> None:
    month = LocalMonth.of(date(2026, 3, 1), UTC_ZONE)
    found = read_month_report(store, "Box 1", {"1": 1.0}, {"1": 100 / 120}, ("1",), month, UTC_ZONE, NOW)
    assert found.coverage == found.voltage.coverage == pytest.approx(10 / 31)
    assert found.voltage.gaps == (
        (ms(2026, 3, 1), ms(2026, 3, 2)),
        (ms(2026, 3, 12), ms(2026, 4, 1)),
    )
    assert found.voltage.figures is not None
    figures = found.voltage.figures
    assert (figures.least, figures.most, figures.mean) == (118.0, 128.0, pytest.approx(123.0))
    assert (figures.p05, figures.p95) == (pytest.approx(120, rel=1.2e-3), pytest.approx(126, rel=1.2e-3))
    hertz, thd = found.figures["f_hz"], found.figures["thd_percent"]
    assert hertz is not None and hertz.mean == pytest.approx(60.0)
    assert thd is not None and (thd.least, thd.most) == (pytest.approx(1.0), pytest.approx(3.0))
    by_day = {each.day.day: each for each in found.days}
    assert by_day[3].mean == pytest.approx(100.0) and by_day[8].mean == pytest.approx(105.0)
    assert by_day[3].coverage == 1.0 and by_day[20].coverage == 0.0 and by_day[20].mean is None
    assert (by_day[5].incidents, by_day[31].incidents, found.incidents.count) == (1, 1, 2)


def test_an_incident_belongs_to_the_month_in_which_it_began_by_that_clock(store: CloudStore) -> None:
    counts = []
    for zone in (UTC_ZONE, BERLIN):
        for number in (3, 4):
            month = LocalMonth.of(date(2026, number, 1), zone)
            found = read_month_report(store, "x", {"1": 1.0}, {"1": 1.0}, ("1",), month, zone, NOW)
            counts.append(found.incidents.count)
    assert counts == [2, 0, 1, 1]


def test_incidents_are_summed_by_class_and_severity() -> None:
    assert summary_of([]).longest is None and summary_of([]).deepest is None
    rows = [
        IndexedIncident(1, 0, 2 * 10**9, "sag", 80.0, 1.0, None),
        IndexedIncident(2, 0, 10**8, "sag", 30.0, 8.0, None),
        IndexedIncident(3, 0, 10**9, "swell", 130.0, 3.9, None),
        IndexedIncident(4, 0, 9 * 10**9, "phase_jump", None, None, None),
    ]
    found = summary_of(rows)
    assert [(each.kind, each.count, each.longest_s, each.furthest) for each in found.classes] == [
        ("sag", 2, 2.0, 30.0),
        ("phase_jump", 1, 9.0, None),
        ("swell", 1, 1.0, 130.0),
    ]
    assert found.bands == (1, 1, 0, 0, 1) and found.count == 4
    assert found.longest is rows[3] and found.deepest is rows[1]


# The pages


def test_the_list_leads_to_what_a_report_needs(client: TestClient) -> None:
    text = client.get("/reports?box=1&tz=Europe/Berlin").text
    assert "limits of a standard" in words_of(client, "/reports")
    span = "from=2026-02-28T23%3A00%3A00&amp;to=2026-03-31T22%3A00%3A00"
    for address in (
        "/reports/month?box=1&amp;month=2026-03&amp;tz=Europe%2FBerlin",
        "/calendar?box=1&amp;month=2026-03&amp;tz=Europe%2FBerlin",
        f"/incidents?box=1&amp;{span}",
        f"/boxes/1?{span}#past",
        *(
            f"/api/v1/exports/{table}?box=1&amp;{span}&amp;format=csv"
            for table in ("incidents", "findings", "measurements")
        ),
    ):
        assert f'href="{address}"' in text, address
        assert client.get(unescape(address)).status_code == 200, address
    exported = client.get(unescape(f"/api/v1/exports/incidents?box=1&amp;{span}&amp;format=csv")).text
    assert exported.count(",sag,") == 1


def test_months_are_paged_and_a_region_names_its_boxes(client: TestClient) -> None:
    words = words_of(client, "/reports?region=north")
    assert "The months of region north, 2 Boxes" in words and "Box 1, name-1 Box 2, name-2" in words
    assert "April" in words and "March 2026 16.1 % 3" in words, "two Boxes, one of them not measured"
    assert "December 2025 – 1" in words
    earlier = words_of(client, "/reports?box=1&until=2025-11")
    assert "Nothing of these months is stored." in earlier and "Later months" in earlier
    assert "Later months" not in words


def test_a_report_states_its_span_in_both_times_and_where_it_comes_from(client: TestClient) -> None:
    words = words_of(client, "/reports/month?box=1&month=2026-03&tz=Europe/Berlin")
    assert "2026-03-01 00:00 UTC+01:00 to 2026-04-01 00:00 UTC+02:00 , Europe/Berlin" in words
    assert "2026-02-28 23:00:00 to 2026-03-31 22:00:00 UTC" in words
    assert "opq-toolkit" in words and "2026-04-02 12:00:00 UTC" in words and "limits of a standard" in words
    assert "Voltage, V 118.00" in words and "Sag 1 100 ms 70.0" in words and "Nominal: 120 V" in words
    assert "that other Boxes saw too counts with its figures at all of them" in words
    assert "other Boxes saw too" not in words_of(client, "/reports/month?month=2026-03")
    present = words_of(client, "/reports/month?box=1")
    assert "the month is not over" in present and "April 2026" in present and "Month after" not in present


def test_boxes_of_different_nominal_voltages_are_in_percent(client: TestClient) -> None:
    words = words_of(client, "/reports/month?month=2026-03")
    assert "all 3 Boxes" in words and "Voltage, % 98.33" in words


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/reports?until=2026", 400),
        ("/reports/month?month=2026-13", 400),
        ("/reports/month?month=1969-01", 400),
        ("/reports?box=77", 404),
        ("/reports/month?box=../1", 404),
        ("/reports?region=nowhere", 404),
        ("/reports?page=2", 404),
        ("/reports?tz=Nowhere/Land", 400),
    ],
)
def test_what_is_no_report_is_refused(client: TestClient, path: str, code: int) -> None:
    assert client.get(path).status_code == code


def test_a_visitor_sees_the_part_of_their_boxes_alone(store: CloudStore) -> None:
    services = open_services(store, "beyond_loopback", now_ns=lambda: NOW * 1_000_000)
    token = VISITOR.set(Visitor(everything=False, accounts_in_use=True, public=frozenset("2")))
    try:
        pages = ReportPages(VisitorContext(services), lambda *_, **values: values)  # type: ignore[arg-type,return-value]
        request = type("Request", (), {"query_params": {"region": "north", "month": "2026-03"}})()
        values = pages.month(request)
        assert values["scope"].box_ids == ("2",) and values["found"].incidents.count == 1  # type: ignore[index]
        assert values["found"].coverage == 0.0 and values["chart"] is None  # type: ignore[index]
    finally:
        VISITOR.reset(token)


def test_a_year_of_many_boxes_is_listed_from_few_rows(store: CloudStore, client: TestClient) -> None:
    """At most BOXES_READ Boxes are read, however many there are."""
    read: list[str] = []

    class Counted:
        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        def trend_rows(self, box_id: str, *span: int) -> list[Trend]:
            read.append(box_id)
            return store.trend_rows(box_id, *span)

        def measurements(self, *_: object) -> list[object]:
            raise AssertionError("a report of months reads no Measurement")

    for number in range(100, 160):
        store.put_box(BoxRecord(str(number), "", region="west"))
    services = open_services(Counted(), now_ns=lambda: NOW * 1_000_000)  # type: ignore[arg-type]
    assert TestClient(create_app(services)).get("/reports?region=west").status_code == 200
    assert len(read) == 5
