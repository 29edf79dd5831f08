"""Boxes, groups and weeks in one chart: local time, rows together, coverage, the address, who sees what."""

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
from opq_cloud.view.pages.drawing.local_weeks import (
    HOUR_MS,
    WEEK_MS,
    day_span,
    midnight_ms,
    read_zone,
    skipped_places,
    week_place_ms,
    week_span,
    whole_hours,
)
from opq_cloud.view.pages.past.box_choice import read_groups
from opq_cloud.view.pages.past.past_chart import past_chart, shared_gaps
from opq_cloud.view.pages.past.past_series import read_span_series, read_week_series, step_for
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.time_span import read_span
from opq_cloud.view.web.visitors import VISITOR, Visitor
from opq_proto.messages import Finding, Measurement, Metric, Trend, Trigger

MINUTE, DAY = 60_000, 86_400_000
NOW = 1_767_225_600_000 + 5 * HOUR_MS
"""2026-01-01 05:00, UTC."""
BERLIN, HONOLULU = ZoneInfo("Europe/Berlin"), ZoneInfo("Pacific/Honolulu")
KATHMANDU = ZoneInfo("Asia/Kathmandu")


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def put_minutes(
    store: CloudStore, box_id: str, starts: range, rms_v: float, covered_ms: int = MINUTE
) -> None:
    """A minute at each start; its mean is `rms_v`."""
    store.put_trends(
        Trend(box_id, start, {"rms": (rms_v - 1, rms_v + 1, rms_v)}, covered_ms=covered_ms)
        for start in starts
    )
    while store.roll_up(NOW, 1000):
        pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    opened = open_store(None, tmp_path)
    for box_id, region, feeder in (("1", "north", "F1"), ("2", "north", "F2"), ("4", "south", "F1")):
        opened.put_box(BoxRecord(box_id, f"name-{box_id}", region=region, feeder=feeder, nominal_v=120.0))
    yield opened
    opened.close()


@pytest.fixture
def client(store: CloudStore) -> TestClient:
    return TestClient(create_app(open_services(store, now_ns=lambda: NOW * 1_000_000)))


# Local weeks


@pytest.mark.parametrize(
    ("moment", "hours"),
    [("2026-01-14T12:00", 168), ("2026-03-29T12:00", 167), ("2026-10-25T12:00", 169)],
)
def test_a_week_has_as_many_hours_as_the_clock_says(moment: str, hours: int) -> None:
    week = week_span(at(moment), BERLIN)
    assert (week.end_ms - week.start_ms) / HOUR_MS == hours
    assert week.first.weekday() == 0 and week_place_ms(week.start_ms, week.first, BERLIN) == 0


def test_a_moment_keeps_its_weekday_and_hour_over_a_change_of_hour() -> None:
    """Noon on Sunday is at one place, whether the week lost an hour, gained one, or neither."""
    places = {
        week_place_ms(at(noon), week_span(at(noon), BERLIN).first, BERLIN)
        for noon in ("2026-03-22T11:00", "2026-03-29T10:00", "2026-10-25T11:00")
    }
    assert places == {6 * DAY + 12 * HOUR_MS}


def test_the_hour_that_is_left_out_has_no_moment_and_the_one_that_comes_twice_has_two() -> None:
    for moment, missing, twice in (("2026-03-29T12:00", 1, 0), ("2026-10-25T12:00", 0, 1)):
        week = week_span(at(moment), BERLIN)
        places = [week_place_ms(t, week.first, BERLIN) for t in range(week.start_ms, week.end_ms, HOUR_MS)]
        assert len(set(range(0, WEEK_MS, HOUR_MS)) - set(places)) == missing
        assert len(places) - len(set(places)) == twice


def test_days_and_weeks_of_zones_that_are_no_whole_hours_from_utc() -> None:
    assert midnight_ms(date(2026, 1, 2), HONOLULU) == at("2026-01-02T10:00")
    assert not whole_hours(week_span(at("2026-01-14T12:00"), KATHMANDU), KATHMANDU)
    assert whole_hours(week_span(at("2026-01-14T12:00"), BERLIN), BERLIN)
    short = day_span(date(2026, 3, 29), BERLIN)
    assert short.end_ms - short.start_ms == 23 * HOUR_MS
    with pytest.raises(ValueError, match="tz is 'Mars/Base'; want a zone such as"):
        read_zone("Mars/Base")


def test_two_weeks_lie_on_one_another_though_an_hour_was_left_out(store: CloudStore) -> None:
    """130 V from 12:00 to 13:00 local on two Sundays, of which one has 23 hours."""
    for noon in ("2025-03-23T11:00", "2025-03-30T10:00"):
        put_minutes(store, "1", range(at(noon) - 2 * DAY, at(noon), 10 * MINUTE), 120.0, 10 * MINUTE)
        put_minutes(store, "1", range(at(noon), at(noon) + HOUR_MS, 10 * MINUTE), 130.0, 10 * MINUTE)
    high = []
    for back in (0, 1):
        week = week_span(at("2025-03-30T12:00"), BERLIN, back)
        found = read_week_series(store, "x", {"1": 1.0}, "rms_v", week, BERLIN, NOW)
        high.append([row.at_ms for row in found.rows if row.mean > 125])
    assert high == [[6 * DAY + 12 * HOUR_MS]] * 2


def test_an_hour_that_the_clock_skips_is_no_gap(store: CloudStore) -> None:
    week = week_span(at("2025-03-30T12:00"), BERLIN)
    put_minutes(store, "1", range(at("2025-03-29T00:00"), at("2025-03-30T22:00"), MINUTE), 120.0)
    found = read_week_series(store, "x", {"1": 1.0}, "rms_v", week, BERLIN, NOW)
    assert found.gaps == ((0, 5 * DAY + HOUR_MS),)
    nothing = read_week_series(store, "x", {"2": 1.0}, "rms_v", week, BERLIN, NOW)
    assert nothing.gaps == ((0, 6 * DAY + 2 * HOUR_MS), (6 * DAY + 3 * HOUR_MS, 7 * DAY))
    lord_howe = ZoneInfo("Australia/Lord_Howe")  # skips half an hour
    october = week_span(at("2025-10-05T12:00"), lord_howe)
    assert skipped_places(october, lord_howe) == ((6 * DAY + 2 * HOUR_MS, 6 * DAY + 2 * HOUR_MS + 1_800_000),)
    assert skipped_places(week_span(at("2025-10-26T12:00"), BERLIN), BERLIN) == ()


def test_the_present_hour_is_drawn_though_its_week_or_span_ends_later(store: CloudStore) -> None:
    put_minutes(store, "1", range(NOW - 20 * MINUTE, NOW - 2 * MINUTE, MINUTE), 120.0)
    week = week_span(NOW, BERLIN)
    found = read_week_series(store, "x", {"1": 1.0}, "rms_v", week, BERLIN, NOW)
    place = week_place_ms(NOW - HOUR_MS, week.first, BERLIN)
    assert [row.at_ms for row in found.rows] == [place] and found.gaps == ((0, place),)
    span = read_span("now-1d", str(NOW + 20 * DAY), NOW)
    days = read_span_series(store, "x", {"1": 1.0}, "rms_v", span, HOUR_MS, NOW)
    assert [row.at_ms for row in days.rows] == [NOW - HOUR_MS]


# Rows of Boxes


def test_boxes_of_a_group_become_one_row_by_limits_weights_and_histograms(store: CloudStore) -> None:
    starts = range(NOW - 3 * HOUR_MS, NOW - HOUR_MS, MINUTE)
    put_minutes(store, "1", starts, 118.0)
    put_minutes(store, "2", starts, 124.0, covered_ms=MINUTE // 2)
    span = read_span(str(NOW - 3 * HOUR_MS), str(NOW - HOUR_MS), NOW)
    found = read_span_series(store, "x", {"1": 1.0, "2": 1.0}, "rms_v", span, 600_000, NOW)
    assert len(found.rows) == 12 and found.gaps == ()
    row = found.rows[0]
    assert (row.low, row.high) == (117.0, 125.0)
    assert row.mean == pytest.approx((118 * 2 + 124) / 3)
    assert row.band is not None and row.band == pytest.approx((118.0, 124.0), rel=1.2e-3)
    assert row.coverage == found.coverage == pytest.approx(0.75)
    assert found.figures is not None and found.figures.p05 == pytest.approx(118, rel=1.2e-3)
    assert found.figures.p95 == pytest.approx(124, rel=1.2e-3)


def test_percent_is_of_each_boxs_own_nominal_voltage(store: CloudStore) -> None:
    starts = range(NOW - 2 * HOUR_MS, NOW - HOUR_MS, MINUTE)
    put_minutes(store, "1", starts, 114.0)
    put_minutes(store, "4", starts, 253.0)
    span = read_span("now-2h", str(NOW - HOUR_MS), NOW)
    factors = {"1": 100 / 120, "4": 100 / 230}
    found = read_span_series(store, "x", factors, "rms_v", span, 600_000, NOW)
    assert found.figures is not None
    assert (found.figures.p05, found.figures.p95) == pytest.approx((95.0, 110.0), rel=1.2e-3)
    assert found.figures.mean == pytest.approx(102.5)


def test_what_one_box_missed_is_its_gap_and_hatched_only_where_all_missed_it(store: CloudStore) -> None:
    put_minutes(store, "1", range(NOW - 3 * HOUR_MS, NOW - 2 * HOUR_MS, MINUTE), 120.0)
    put_minutes(store, "2", range(NOW - 3 * HOUR_MS, NOW - HOUR_MS, MINUTE), 121.0)
    span = read_span("now-3h", "now", NOW)
    first, second = (read_span_series(store, b, {b: 1.0}, "rms_v", span, 600_000, NOW) for b in "12")
    assert first.gaps[0][0] == NOW - 2 * HOUR_MS and second.gaps[0][0] == NOW - HOUR_MS
    assert first.coverage == pytest.approx(1 / 3, abs=0.02) and second.coverage == pytest.approx(
        2 / 3, abs=0.02
    )
    chart = past_chart([first, second], span.start_ms, span.end_ms, 120.0)
    assert chart is not None and chart.nominal_percent is not None
    (gap,) = chart.gaps
    assert gap.percent == pytest.approx(200 / 3, abs=0.1)
    assert "L" not in chart.series[0].means + chart.series[1].bars, "nothing is slanted"
    assert shared_gaps([[(0, 4), (6, 9)], [(3, 7)]]) == ((3, 4), (6, 7))


def test_before_a_box_was_first_heard_there_is_no_gap_and_nothing_is_missing(store: CloudStore) -> None:
    put_minutes(store, "1", range(NOW - HOUR_MS, NOW - MINUTE, MINUTE), 120.0)
    span = read_span("now-3h", "now", NOW)
    heard = {"1": float(NOW - HOUR_MS)}
    one = read_span_series(store, "1", {"1": 1.0}, "rms_v", span, 600_000, NOW, heard.get)
    assert one.coverage > 0.95 and one.since_ms == NOW - HOUR_MS
    chart = past_chart([one], span.start_ms, span.end_ms, 120.0)
    assert chart is not None and chart.gaps == ()
    (before,) = chart.not_installed
    assert (before.percent, before.width) == (0.0, pytest.approx(200 / 3, abs=0.1))
    never = read_span_series(store, "2", {"2": 1.0}, "rms_v", span, 600_000, NOW, heard.get)
    both = past_chart([one, never], span.start_ms, span.end_ms, 120.0)
    assert both is not None and both.not_installed == chart.not_installed


def test_rows_are_few_whatever_the_span_and_the_boxes(store: CloudStore) -> None:
    for words, boxes, step_ms in (
        ("now-24h", 1, 10 * MINUTE),
        ("now-7d", 3, HOUR_MS),
        ("now-5y", 50, DAY),
        ("now-1h", 50, MINUTE),
    ):
        assert step_for(store, ["1"] * boxes, read_span(words, "now", NOW)) == step_ms


def test_a_span_of_seconds_is_drawn_of_measurements(store: CloudStore, client: TestClient) -> None:
    store.append_measurements(
        Measurement("1", t, {"rms": Metric(119, 121, 120)}, (t - 1000) * 10**6, t * 10**6, 500, sequence=t)
        for t in range(NOW - 60_000, NOW, 1000)
    )
    page = client.get("/compare?box=1&from=now-30s&to=now").text
    assert "Each bar is 2\u202fs" in page and "±\u202f500\u202fns" in page


# The address and the page


def test_one_address_says_the_view(client: TestClient, store: CloudStore) -> None:
    put_minutes(store, "1", range(NOW - 2 * HOUR_MS, NOW - HOUR_MS, MINUTE), 118.0)
    query = "box=1,2&metric=rms_v&y=percent&from=now-2h&to=now"
    page = client.get(f"/compare?{query}").text
    assert f'href="/compare?{query.replace("&", "&amp;")}"' in page, "the link to this view is this view"
    assert "Voltage, %" in page and page.count('class="past-means"') == 2
    ticked = client.get("/compare?box=1&box=2&metric=rms_v&y=percent&from=now-2h&to=now").text
    assert f'href="/compare?{query.replace("&", "&amp;")}"' in ticked, "boxes ticked in the form are the same"
    assert "metric=f_hz&amp;y=percent" in client.get("/compare?box=1&metric=f_hz&y=percent").text
    group = client.get("/compare?region=north&together=1&from=now-2h").text
    assert "Region north, 2 Boxes as one." in group and group.count('class="past-means"') == 1


def test_it_opens_on_a_span_that_fits_what_is_stored(client: TestClient, store: CloudStore) -> None:
    put_minutes(store, "1", range(NOW - 20 * MINUTE, NOW - MINUTE, MINUTE), 118.0)
    assert "from=now-1h&amp;to=now" in client.get("/compare?boxes=1").text
    put_minutes(store, "2", range(NOW - 10 * HOUR_MS, NOW - 9 * HOUR_MS, MINUTE), 118.0)
    for query in ("boxes=1,2", "region=north"):
        assert "from=now-24h&amp;to=now" in client.get(f"/compare?{query}").text, "what all of them need"
    assert "box=1&amp;metric" in client.get("/compare?boxes=1").text, "a Box by the other name of the field"


def test_the_rows_of_a_chart_are_what_is_drawn(client: TestClient, store: CloudStore) -> None:
    put_minutes(store, "1", range(NOW - 2 * HOUR_MS, NOW - HOUR_MS, MINUTE), 118.0)
    page = client.get("/compare?box=1,2&metric=rms_v&y=percent&from=now-2h&to=now").text
    address = page.partition('data-rows="')[2].partition('"')[0].replace("&amp;", "&")
    start, end = (int(page.partition(f'data-{name}="')[2].partition('"')[0]) for name in ("start", "end"))
    first, second = client.get(address).json()["series"]
    assert (first["words"], first["number"], second["rows"]) == ("Box 1, name-1", 0, [])
    at_ms, low, mean, high = first["rows"][0]
    assert start <= at_ms < end and low <= mean <= high
    assert mean == pytest.approx(100 * 118.0 / 120.0, abs=0.01)
    weeks = client.get("/compare/rows?box=1&weeks=2&tz=Pacific/Honolulu").json()["series"]
    assert len(weeks) == 3 and all(0 <= row[0] < WEEK_MS for each in weeks for row in each["rows"])
    assert client.get("/compare/rows?box=77").status_code == 404


def test_incidents_of_the_whole_week_are_marked_though_the_span_ends_before(
    client: TestClient, store: CloudStore
) -> None:
    friday_ns = at("2025-12-26T12:00") * 10**6
    event_id = store.open_event(Trigger("t", friday_ns, friday_ns + 10**9, ("1",), "1", "x"), "x")
    sag = Finding("sag", "1", friday_ns, friday_ns + 10**8, 0, True, 84.0, 70.0, 6.0)
    put_findings(store, event_id, [sag])
    page = client.get("/compare?box=1&weeks=1&tz=Europe/Berlin&from=2025-12-23&to=2025-12-23T12:00").text
    assert "1 incident marked" in page
    assert "incident marked" not in client.get("/compare?box=1&from=2025-12-23&to=2025-12-23T12:00").text


REFUSED = (
    ("box=77", 404, "No Box with this id is known"),
    ("box=../x", 404, "No Box with this id is known"),
    ("region=nowhere", 404, "No region of this name has a Box"),
    ("metric=watts", 404, "there are rms_v, f_hz, thd_percent"),
    ("y=furlongs", 400, "want V or percent"),
    ("weeks=9", 400, "weeks is &#39;9&#39;; want 0 to 5"),
    ("weeks=2&tz=Mars", 400, "want a zone such as Pacific/Honolulu"),
    ("from=noon", 400, "from is &#39;noon&#39;"),
    ("box=" + ",".join(map(str, range(60))), 400, "want 50 or fewer"),
)


def test_what_cannot_be_shown_is_refused_in_words(client: TestClient) -> None:
    for query, status, said in REFUSED:
        answer = client.get(f"/compare?{query}")
        assert answer.status_code == status and said in answer.text, query


def test_a_group_holds_the_boxes_that_the_visitor_sees_and_a_feeder_is_not_said_to_the_public(
    store: CloudStore,
) -> None:
    services = open_services(store, "beyond_loopback")
    token = VISITOR.set(Visitor(full=frozenset("1"), public=frozenset("4")))
    try:
        found = read_groups(VisitorContext(services))
    finally:
        VISITOR.reset(token)
    assert found.regions == {"north": ("1",), "south": ("4",)}
    assert found.feeders == {"F1": ("1",)}
