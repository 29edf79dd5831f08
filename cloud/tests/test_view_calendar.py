"""The calendar of quality: local days, worst and number of incidents, percentiles, what was measured."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from fastapi.testclient import TestClient
from open_view import open_services

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.view.app import create_app
from opq_cloud.view.pages.past.day_quality import read_days
from opq_proto.messages import Finding, Trend, Trigger

BERLIN, HONOLULU, UTC_ZONE = (ZoneInfo(name) for name in ("Europe/Berlin", "Pacific/Honolulu", "UTC"))
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
NOW = round(datetime(2026, 4, 2, 12, tzinfo=UTC).timestamp() * 1000)


def put_hours(store: CloudStore, first_ms: int, last_ms: int, rms_v: float, share: float = 1.0) -> None:
    """One minute in ten stands for all of them."""
    covered_ms = round(600_000 * share)
    store.put_trends(
        Trend("1", start, {"rms": (rms_v - 1, rms_v + 1, rms_v)}, covered_ms=covered_ms)
        for start in range(first_ms, last_ms, 600_000)
    )
    while store.roll_up(NOW, 1000):
        pass


def put_sag(store: CloudStore, at: datetime, residual: float, box_id: str = "1") -> None:
    start_ns = round(at.timestamp()) * 10**9
    trigger = Trigger(f"t{start_ns}-{box_id}", start_ns, start_ns + 10**9, (box_id,), box_id, "x")
    sag = Finding(
        "sag",
        box_id,
        start_ns,
        start_ns + 10**8,
        0,
        True,
        residual * 1.2,
        residual,
        6.0,
        None,
        None,
        None,
        0.9,
        "",
    )
    put_findings(store, store.open_event(trigger, "x"), [sag])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    opened = open_store(None, tmp_path)
    opened.put_box(BoxRecord("1", "kitchen", region="north", nominal_v=120.0, nominal_hz=60.0))
    opened.put_box(BoxRecord("2", "cellar", region="north", nominal_v=120.0, nominal_hz=60.0))
    yield opened
    opened.close()


@pytest.fixture
def client(store: CloudStore) -> TestClient:
    return TestClient(create_app(open_services(store, now_ns=lambda: NOW * 1_000_000)))


def test_an_incident_counts_on_its_day_by_the_clock_of_the_zone(store: CloudStore) -> None:
    put_sag(store, datetime(2026, 3, 15, 5, tzinfo=UTC), 70.0)  # the 14th in Honolulu
    put_sag(store, datetime(2026, 3, 15, 23, 30, tzinfo=UTC), 40.0)  # the 16th in Berlin
    for zone, counts in ((UTC_ZONE, {15: 2}), (HONOLULU, {14: 1, 15: 1}), (BERLIN, {15: 1, 16: 1})):
        found, _ = read_days(store, {"1": 1.0}, "rms_v", date(2026, 3, 1), 31, zone, NOW, ("1",))
        assert {each.day.day: each.incidents for each in found if each.incidents} == counts, zone
    worst = next(each.worst for each in found if each.day.day == 16)
    assert worst is not None and worst.residual_percent == 40.0


def test_a_day_of_23_hours_that_was_measured_throughout_is_whole(store: CloudStore) -> None:
    first = round(datetime(2026, 3, 28, tzinfo=BERLIN).timestamp() * 1000)
    put_hours(store, first, first + 2 * DAY_MS - HOUR_MS, 123.0)
    put_hours(store, first + 2 * DAY_MS - HOUR_MS, first + 3 * DAY_MS - HOUR_MS, 117.0, share=0.4)
    found, _ = read_days(store, {"1": 100 / 120}, "rms_v", date(2026, 3, 28), 3, BERLIN, NOW, ("1",))
    assert [each.coverage for each in found] == pytest.approx([1.0, 1.0, 0.4], abs=0.001)
    assert [each.high for each in found] == pytest.approx([102.5, 102.5, 97.5], rel=1.2e-3)
    assert (found[1].end_ms - found[1].start_ms) / HOUR_MS == 23


def test_a_day_that_has_not_begun_says_nothing_and_the_present_one_counts_to_now(store: CloudStore) -> None:
    put_hours(store, NOW - 12 * HOUR_MS, NOW, 120.0)
    found, _ = read_days(store, {"1": 1.0}, "rms_v", date(2026, 4, 1), 30, UTC_ZONE, NOW, ("1",))
    assert found[0].coverage == 0.0 and found[2].coverage is None and found[2].low is None
    assert found[1].coverage == pytest.approx(1.0, abs=0.01)


def test_the_month_says_class_and_value_in_words_and_leads_to_the_day(
    client: TestClient, store: CloudStore
) -> None:
    put_sag(store, datetime(2026, 3, 15, 5, tzinfo=UTC), 70.0)
    put_hours(store, NOW - 20 * DAY_MS, NOW - 15 * DAY_MS, 123.0, share=0.5)
    page = client.get("/calendar?box=1&month=2026-03&by=class&day=2026-03-15").text
    assert 'aria-label="Sunday, 15 March 2026: 1 incident; the worst Sag, 70.0\u202f%; severity' in page
    assert 'class="tag tag-down">Sag</span></a>' in page and page.count(" day-thin") >= 5
    assert "/incidents?box=1&amp;from=2026-03-15T00%3A00%3A00&amp;to=2026-03-16T00%3A00%3A00" in page
    assert 'data-incident="1"' in page.partition('id="day"')[2], "the day's incidents stand below"
    assert "month=2026-02" in page and "month=2026-04" in page
    volts = client.get("/calendar?region=north&month=2026-03&by=rms_v").text
    assert 'class="day day-3 day-thin"' in volts and "2.5" in volts


def test_a_day_of_another_length_says_so(client: TestClient) -> None:
    page = client.get("/calendar?box=1&month=2026-03&tz=Europe/Berlin&day=2026-03-29").text
    assert page.count("23 hours long, as the clock changes") == 2, "its cell, and the day below"
    assert "hours long" not in client.get("/calendar?box=1&month=2026-03&tz=Pacific/Honolulu").text
    autumn = client.get("/calendar?box=1&year=2025&tz=America/New_York").text
    assert "2 November 2025: 0 incidents; 0\u202f% measured; 25 hours long" in autumn


def test_a_year_is_twelve_months_of_the_same_days(client: TestClient, store: CloudStore) -> None:
    put_hours(store, NOW - 40 * DAY_MS, NOW - 38 * DAY_MS, 120.0)
    page = client.get("/calendar?box=1&year=2026&by=count&tz=Europe/Berlin").text
    assert page.count('<table class="month">') == 12 and page.count('class="day-number"') == 365
    assert "of a year they are those of days by UTC" in page


def test_what_no_calendar_can_show_is_refused_in_words(client: TestClient) -> None:
    for query, code, said in (
        ("month=2026-13", 400, "month is &#39;2026-13&#39;; want one such as 2026-11"),
        ("year=0001", 400, "want one such as 2026"),
        ("day=tomorrow", 400, "want one such as 2026-11-14"),
        ("by=mood", 404, "there are severity, class, count"),
        ("least=200", 400, "want 0 to 100 percent"),
        ("box=9", 404, "No Box with this id is known"),
    ):
        answer = client.get(f"/calendar?{query}")
        assert answer.status_code == code and said in answer.text, (query, answer.status_code)
