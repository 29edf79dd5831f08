"""Boxes, groups and weeks in one chart: local time, rows together, coverage, the address, who sees what."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from fastapi.testclient import TestClient
from open_view import open_services

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.store.incidents.index import IncidentFilter, IndexedIncident
from opq_cloud.view.app import create_app
from opq_cloud.view.pages.boxes.box_card import Card
from opq_cloud.view.pages.drawing.local_weeks import (
    LocalSpan,
    day_span,
    midnight_ms,
    read_zone,
    skipped_places,
    week_place_ms,
    week_span,
    whole_hours,
)
from opq_cloud.view.pages.past import course, past_page
from opq_cloud.view.pages.past.box_choice import read_groups
from opq_cloud.view.pages.past.line_reading import rows_for
from opq_cloud.view.pages.past.lines_together import after_one_another, joined
from opq_cloud.view.pages.past.quantities import MAIN, QUANTITIES
from opq_cloud.view.pages.past.quantity_reading import PastReader
from opq_cloud.view.pages.past.series import PastSeries, Spread, in_week, spread_of, without_skipped
from opq_cloud.view.pages.visible.counted import HiddenBox
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.time_span import TimeSpan, read_span
from opq_cloud.view.web.visitors import VISITOR, Visitor
from opq_proto.measurement.continuity import FLAGGED
from opq_proto.measurement.measurement_json import figures_json, figures_values
from opq_proto.messages import Finding, Incident, Measurement, Metric, Trend, Trigger
from opq_proto.time_units import HOUR_MS, WEEK_MS

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


def data_of(page: str) -> dict[str, Any]:
    """What the page's script draws from."""
    text = page.partition('id="past-data">')[2].partition("</template>")[0]
    found: dict[str, Any] = json.loads(text)
    return found


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
def test_a_local_week_has_167_to_169_hours(moment: str, hours: int) -> None:
    week = week_span(at(moment), BERLIN)
    assert (week.end_ms - week.start_ms) / HOUR_MS == hours
    assert week.first.weekday() == 0 and week_place_ms(week.start_ms, week.first, BERLIN) == 0


def test_a_moment_keeps_its_place_in_the_week() -> None:
    """Noon on Sunday is at one place, whether the week lost an hour, gained one, or neither."""
    places = {
        week_place_ms(at(noon), week_span(at(noon), BERLIN).first, BERLIN)
        for noon in ("2026-03-22T11:00", "2026-03-29T10:00", "2026-10-25T11:00")
    }
    assert places == {6 * DAY + 12 * HOUR_MS}


def test_the_clock_skips_or_repeats_one_hour() -> None:
    """No moment lies in the skipped hour; two moments have the same place in the repeated one."""
    for moment, missing, twice in (("2026-03-29T12:00", 1, 0), ("2026-10-25T12:00", 0, 1)):
        week = week_span(at(moment), BERLIN)
        places = [week_place_ms(t, week.first, BERLIN) for t in range(week.start_ms, week.end_ms, HOUR_MS)]
        assert len(set(range(0, WEEK_MS, HOUR_MS)) - set(places)) == missing
        assert len(places) - len(set(places)) == twice


def test_zones_need_not_be_whole_hours_from_utc() -> None:
    assert midnight_ms(date(2026, 1, 2), HONOLULU) == at("2026-01-02T10:00")
    assert not whole_hours(week_span(at("2026-01-14T12:00"), KATHMANDU), KATHMANDU)
    assert whole_hours(week_span(at("2026-01-14T12:00"), BERLIN), BERLIN)
    short = day_span(date(2026, 3, 29), BERLIN)
    assert short.end_ms - short.start_ms == 23 * HOUR_MS
    with pytest.raises(ValueError, match="tz is 'Mars/Base'; want a zone such as"):
        read_zone("Mars/Base")


def shown(box_id: str, nominal_v: float = 120.0) -> ShownBox:
    return ShownBox(box_id, "", None, nominal_v, 60.0, False)


def series_of(
    store: CloudStore, span: TimeSpan, box_id: str = "1", rows: int = 750, **given: object
) -> PastSeries:
    """The voltage of a Box as the page reads it; `heard_ms`, `percent`, `nominal_v`, `stay` in `given`."""
    heard = given.get("heard_ms", 0.0)
    reader = PastReader(store, span, NOW, lambda _: heard, bool(given.get("percent")), rows=rows)  # type: ignore[arg-type,return-value]
    if stay := given.get("stay"):
        reader = replace(reader, stays=(stay,))  # type: ignore[arg-type]
    box = shown(box_id, float(str(given.get("nominal_v", 120.0))))
    return reader.box(box, [QUANTITIES["rms_v"]])["rms_v"]


def week_series(store: CloudStore, box_id: str, week: LocalSpan, zone: ZoneInfo) -> PastSeries:
    span = read_span(str(week.start_ms), str(week.end_ms), NOW)
    return in_week(series_of(store, span, box_id, rows=170), week, zone)


def test_weeks_overlap_despite_a_skipped_hour(store: CloudStore) -> None:
    """130 V from 12:00 to 13:00 local on two Sundays, of which one has 23 hours."""
    for noon in ("2025-03-23T11:00", "2025-03-30T10:00"):
        put_minutes(store, "1", range(at(noon) - 2 * DAY, at(noon), 10 * MINUTE), 120.0, 10 * MINUTE)
        put_minutes(store, "1", range(at(noon), at(noon) + HOUR_MS, 10 * MINUTE), 130.0, 10 * MINUTE)
    for back in (0, 1):
        week = week_span(at("2025-03-30T12:00"), BERLIN, back)
        found = week_series(store, "1", week, BERLIN)
        assert found.at_ms[found.mean > 125].tolist() == [6 * DAY + 12 * HOUR_MS]


def test_an_hour_that_comes_twice_is_one_row(store: CloudStore) -> None:
    week = week_span(at("2025-10-26T12:00"), BERLIN)
    put_minutes(store, "1", range(week.start_ms, week.end_ms, 10 * MINUTE), 120.0, 10 * MINUTE)
    found = week_series(store, "1", week, BERLIN)
    assert found.at_ms.tolist() == list(range(0, WEEK_MS, HOUR_MS))
    assert found.gaps == () and found.mean.tolist() == [pytest.approx(120.0)] * 168


def test_a_skipped_hour_is_not_a_gap(store: CloudStore) -> None:
    week = week_span(at("2025-03-30T12:00"), BERLIN)
    put_minutes(store, "1", range(at("2025-03-29T00:00"), at("2025-03-30T22:00"), MINUTE), 120.0)
    found = week_series(store, "1", week, BERLIN)
    assert without_skipped(found.gaps, week, BERLIN) == ((0, 5 * DAY + HOUR_MS),)
    nothing = week_series(store, "2", week, BERLIN)
    assert without_skipped(nothing.gaps, week, BERLIN) == (
        (0, 6 * DAY + 2 * HOUR_MS),
        (6 * DAY + 3 * HOUR_MS, 7 * DAY),
    )
    lord_howe = ZoneInfo("Australia/Lord_Howe")  # skips half an hour
    october = week_span(at("2025-10-05T12:00"), lord_howe)
    assert skipped_places(october, lord_howe) == ((6 * DAY + 2 * HOUR_MS, 6 * DAY + 2 * HOUR_MS + 1_800_000),)
    assert skipped_places(week_span(at("2025-10-26T12:00"), BERLIN), BERLIN) == ()


def test_the_present_hour_is_drawn(store: CloudStore) -> None:
    """Its week, or the span that was asked for, ends later."""
    put_minutes(store, "1", range(NOW - 20 * MINUTE, NOW - 2 * MINUTE, MINUTE), 120.0)
    week = week_span(NOW, BERLIN)
    found = week_series(store, "1", week, BERLIN)
    place = week_place_ms(NOW - HOUR_MS, week.first, BERLIN)
    assert found.at_ms.tolist() == [place] and found.gaps == ((0, place),)
    days = series_of(store, read_span("now-1d", str(NOW + 20 * DAY), NOW))
    assert days.at_ms.tolist() == [NOW - HOUR_MS]


# Rows of Boxes


def test_boxes_of_a_group_become_one_row(store: CloudStore) -> None:
    """The widest limits, the mean weighted by time, the quantiles of the joint histogram."""
    starts = range(NOW - 3 * HOUR_MS, NOW - HOUR_MS, MINUTE)
    put_minutes(store, "1", starts, 118.0)
    put_minutes(store, "2", starts, 124.0, covered_ms=MINUTE // 2)
    span = read_span(str(NOW - 3 * HOUR_MS), str(NOW - HOUR_MS), NOW)
    found = joined("both", [series_of(store, span, each, rows=12) for each in "12"])
    assert len(found.at_ms) == 12 and found.gaps == () and found.box_ids == ("1", "2")
    assert (found.low[0], found.high[0]) == (117.0, 125.0)
    assert found.mean[0] == pytest.approx((118 * 2 + 124) / 3)
    assert found.coverage[0] == found.measured == pytest.approx(0.75)
    figures = found.figures
    assert figures is not None
    least, p05, _, mean, p95, _, most = figures
    assert (least, most) == (117.0, 125.0) and mean == pytest.approx((118 * 2 + 124) / 3)
    assert (p05, p95) == pytest.approx((118.0, 124.0), rel=1.2e-3)


def test_hidden_boxes_count_in_medians_of_three() -> None:
    """A hidden Box is shown only in figures of its region. A row needs three of them."""

    def flat(box_id: str, volts: float, starts: range) -> PastSeries:
        count = len(starts)
        values = np.full(count, volts)
        return PastSeries(
            box_id, (box_id,), "trends", 600_000, np.array(starts, np.int64), values - 1, values, values + 1,
            np.ones(count), np.zeros(count, np.bool_), 0, 1_800_000, spread_of(values, np.ones(count)),
        )  # fmt: skip

    whole, short = range(0, 1_800_000, 600_000), range(0, 600_000, 600_000)
    seen = flat("1", 100.0, whole)
    hidden = [flat("7", 90.0, whole), flat("8", 104.0, whole), flat("9", 110.0, short)]
    owned = [HiddenBox(ShownBox(k, "", None, 100.0, 50.0, False), f"owner {k}", "north") for k in "789"]
    found = joined("region", [seen, *hidden], owned)
    assert found.mean.tolist() == [102.0, 100.0, 100.0], "two hidden Boxes give no figure"
    assert found.low[0] == 101.0 and found.high[0] == 103.0, "the extreme of no single Box"
    only_hidden = joined("region", hidden, owned)
    assert only_hidden.at_ms.tolist() == [0], "rows of two Boxes are not shown"
    of_two = [replace(each, owner=each.owner.replace("9", "8")) for each in owned]
    assert not len(joined("region", hidden, of_two).at_ms), "who owns two of three Boxes would read the third"
    flags = [replace(each, flagged=np.ones(len(each.at_ms), np.bool_)) for each in hidden]
    assert not joined("region", [seen, *flags], owned).flagged.any(), "one hidden Box alone sets a flag"


def test_percent_is_of_each_boxs_own_nominal_voltage(store: CloudStore) -> None:
    starts = range(NOW - 2 * HOUR_MS, NOW - HOUR_MS, MINUTE)
    put_minutes(store, "1", starts, 114.0)
    put_minutes(store, "4", starts, 253.0)
    span = read_span("now-2h", str(NOW - HOUR_MS), NOW)
    parts = [
        series_of(store, span, "1", percent=True),
        series_of(store, span, "4", percent=True, nominal_v=230.0),
    ]
    figures = joined("both", parts).figures
    assert figures is not None
    assert (figures[1], figures[4]) == pytest.approx((95.0, 110.0), rel=1.2e-3)
    assert figures[3] == pytest.approx(102.5)


def test_what_one_box_missed_is_its_gap(store: CloudStore) -> None:
    put_minutes(store, "1", range(NOW - 3 * HOUR_MS, NOW - 2 * HOUR_MS, MINUTE), 120.0)
    put_minutes(store, "2", range(NOW - 3 * HOUR_MS, NOW - HOUR_MS, MINUTE), 121.0)
    span = read_span("now-3h", "now", NOW)
    first, second = (series_of(store, span, box_id, rows=20) for box_id in "12")
    assert first.gaps[0][0] == NOW - 2 * HOUR_MS and second.gaps[0][0] == NOW - HOUR_MS
    assert first.measured == pytest.approx(1 / 3, abs=0.02)
    assert second.measured == pytest.approx(2 / 3, abs=0.02)
    assert joined("both", [first, second]).gaps == second.gaps


@pytest.mark.parametrize("silent", ["1", "2", "4"])
def test_a_silent_box_leaves_its_hole(store: CloudStore, silent: str) -> None:
    """Boxes 1, 2 and 4 served one phase for an hour each."""
    first = NOW - 4 * HOUR_MS
    hours = {
        box_id: (first + hour * HOUR_MS, first + (hour + 1) * HOUR_MS) for hour, box_id in enumerate("124")
    }
    for box_id in hours.keys() - {silent}:
        put_minutes(store, box_id, range(*hours[box_id], MINUTE), 120.0)
    span = read_span(str(first), str(first + 3 * HOUR_MS), NOW)
    parts = {
        box_id: series_of(store, span, box_id, stay=(start * 10**6, end * 10**6))
        for box_id, (start, end) in hours.items()
    }
    line = after_one_another("phase", list(parts.values()))
    assert line.gaps == (hours[silent],) and line.measured == pytest.approx(2 / 3)
    assert line.box_ids == ("1", "2", "4")
    del parts["1" if silent == "4" else "4"]
    assert after_one_another("phase", list(parts.values())).gaps == (hours[silent],), "one of them sent"


def test_a_gap_needs_a_box_heard_before(store: CloudStore) -> None:
    put_minutes(store, "1", range(NOW - HOUR_MS, NOW - MINUTE, MINUTE), 120.0)
    span = read_span("now-3h", "now", NOW)
    one = series_of(store, span, heard_ms=float(NOW - HOUR_MS))
    assert one.measured > 0.95 and one.start_ms == NOW - HOUR_MS and one.gaps == ()
    never = series_of(store, span, "2", heard_ms=None)
    assert never.gaps == () and never.figures is None


def test_long_spans_and_many_boxes_have_few_rows(store: CloudStore) -> None:
    put_minutes(store, "1", range(NOW - HOUR_MS, NOW - MINUTE, MINUTE), 120.0)
    for words, boxes, step_ms in (
        ("now-24h", 1, 10 * MINUTE),
        ("now-7d", 3, HOUR_MS),
        ("now-5y", 50, DAY),
        ("now-1h", 50, MINUTE),
    ):
        found = series_of(store, read_span(words, "now", NOW), rows=rows_for(boxes))
        assert found.step_ms == step_ms, words


@pytest.mark.parametrize(("days", "step_ms"), [(1, 10 * MINUTE), (7, HOUR_MS), (400, DAY)])
def test_one_flagged_minute_costs_no_day(store: CloudStore, days: int, step_ms: int) -> None:
    """The limits of a minute of 51 Hz are without its flagged windows, which its mean of 60 Hz has."""
    minutes = [Trend("1", NOW - 2 * DAY + 3 * HOUR_MS, {"f": (50.9, 51.1, 60.0), FLAGGED: (0.0, 2.0, 0.1)})]
    minutes += [
        Trend("1", start, {"f": (49.9, 50.1, 50.0)})
        for start in range(NOW - 2 * DAY + 20 * HOUR_MS, NOW - 2 * DAY + 21 * HOUR_MS, 10 * MINUTE)
    ]
    store.put_trends(minutes)
    while store.roll_up(NOW, 1000):
        pass
    span = read_span(f"now-{days + 1}d", f"{NOW - DAY}", NOW)
    found = PastReader(store, span, NOW, lambda _: 0.0, False).box(shown("1"), [QUANTITIES["f_hz"]])["f_hz"]
    assert found.step_ms == step_ms and found.figures is not None
    least, most = found.figures[0], found.figures[-1]
    assert (least, most) == pytest.approx((49.9, 50.1 if step_ms == 10 * MINUTE else 51.1))
    assert least <= found.figures[3] <= most and found.flagged_share > 0


def test_a_quantile_is_a_share_of_time() -> None:
    """It is the lowest value that the voltage did not exceed for that share of the time."""
    spread = Spread(np.array([1.0, 2.0, 5.0]), np.array([10.0, 85.0, 5.0]))
    shares = (0.05, 0.1, 0.11, 0.95, 0.951, 1.0)
    assert [spread.quantile(each) for each in shares] == [1.0, 1.0, 2.0, 2.0, 5.0, 5.0]


def test_every_quantity_of_the_form_has_a_source() -> None:
    assert all(each.key or each.interval for each in MAIN)
    assert {"h2", "h50", "i0", "i49"} <= QUANTITIES.keys() and "h51" not in QUANTITIES


def test_a_span_of_seconds_is_drawn_of_measurements(store: CloudStore, client: TestClient) -> None:
    store.append_measurements(
        Measurement("1", t, {"rms": Metric(119, 121, 120)}, (t - 1000) * 10**6, t * 10**6, 500, sequence=t)
        for t in range(NOW - 60_000, NOW, 1000)
    )
    page = client.get("/past?box=1&q=rms_v&from=now-30s&to=now").text
    assert "Each bar is 2\u202fs" in page and "Measurements</span>" in page


# The address and the page


def test_one_address_says_the_view(client: TestClient, store: CloudStore) -> None:
    put_minutes(store, "1", range(NOW - 2 * HOUR_MS, NOW - HOUR_MS, MINUTE), 118.0)
    query = "box=1,2&q=rms_v&y=percent&from=now-2h&to=now"
    page = client.get(f"/past?{query}").text
    assert f'href="?{query.replace("&", "&amp;")}">Link' in page, "the link to this view is this view"
    first, second = data_of(page)["charts"][0]["series"]
    assert (first["words"], second["at"]) == ("Box 1, name-1", [])
    assert first["mean"][0] == pytest.approx(100 * 118.0 / 120.0, abs=0.01)
    assert first["low"][0] < first["mean"][0] < first["high"][0]
    ticked = client.get("/past?box=1&box=2&q=rms_v&y=percent&from=now-2h&to=now").text
    assert f'href="?{query.replace("&", "&amp;")}">Link' in ticked, "boxes ticked in the form are the same"
    group = client.get("/past?of=region:north&q=rms_v&together=1&from=now-2h").text
    assert "Region north, 2 Boxes." in group and len(data_of(group)["charts"][0]["series"]) == 1


def test_the_first_span_fits_what_is_stored(client: TestClient, store: CloudStore) -> None:
    put_minutes(store, "1", range(NOW - 20 * MINUTE, NOW - MINUTE, MINUTE), 118.0)
    assert "from=now-1h&amp;to=now" in client.get("/past?boxes=1").text, "by the other name of the field"
    put_minutes(store, "2", range(NOW - 10 * HOUR_MS, NOW - 9 * HOUR_MS, MINUTE), 118.0)
    for query in ("box=1,2", "of=region:north"):
        assert "from=now-24h&amp;to=now" in client.get(f"/past?{query}").text, "what all of them need"


def test_a_week_marks_all_its_incidents(client: TestClient, store: CloudStore) -> None:
    """The incident is on Friday; the span ends on Tuesday, and a plain span does not mark it."""
    friday_ns = at("2025-12-26T12:00") * 10**6
    event_id = store.open_event(Trigger("t", friday_ns, friday_ns + 10**9, ("1",), "1", "x"), "x")
    sag = Finding("sag", "1", friday_ns, friday_ns + 10**8, 0, True, 84.0, 70.0, 6.0)
    put_findings(store, event_id, [sag])
    span = "&from=2025-12-23&to=2025-12-23T12:00"
    marks = data_of(client.get(f"/past?box=1&weeks=1&tz=Europe/Berlin{span}").text)["marks"]
    assert marks == [[4 * DAY + 13 * HOUR_MS, "down"]]
    assert data_of(client.get(f"/past?box=1{span}").text)["marks"] == []


@pytest.mark.parametrize("query", ["of=region:north", "of=feeder:F1", "box=1,2", "box=1"])
@pytest.mark.parametrize(("marked", "readings"), [(4, 1), (3, 2)])
def test_a_span_has_its_longest_and_deepest(
    client: TestClient,
    store: CloudStore,
    monkeypatch: pytest.MonkeyPatch,
    query: str,
    marked: int,
    readings: int,
) -> None:
    """Both lists are of the span and the Boxes, and their links lead to such incidents. If there are more
    than are marked, all are read once more."""
    monkeypatch.setattr(course, "INCIDENTS_MARKED", marked)
    wanted: list[str] = []
    find = store.find_incidents

    def counted(of: IncidentFilter, limit: int) -> list[IndexedIncident]:
        wanted.append(of.order)
        return find(of, limit)

    numbers = []
    of_box_1 = ("1", 1, 70.0, 0.2), ("1", 2, 20.0, 0.1), ("1", 3, 80.0, 40.0)
    for box_id, hour, percent, seconds in (*of_box_1, ("77", 4, 10.0, 50.0)):
        start_ns = (NOW - hour * HOUR_MS) * 10**6
        end_ns = start_ns + round(seconds * 1e9)
        event_id = store.open_event(Trigger("t", start_ns, end_ns, (box_id,), box_id, f"{hour}"), f"{hour}")
        sag = Finding("sag", box_id, start_ns, end_ns, 0, True, 1.2 * percent, percent, 60 * seconds)
        numbers.append(put_findings(store, event_id, [sag])[0].incident_id)
    with monkeypatch.context() as counting:
        counting.setattr(store, "find_incidents", counted)
        page = client.get(f"/past?{query}&from=now-6h&to=now").text
    assert len(wanted) == readings
    lists = page.partition("Longest and deepest")[2].partition("</details>")[0]
    longest, _, deepest = lists.partition("Deepest</h2>")
    short, deep, long, elsewhere = numbers
    assert re.findall(r'data-incident="(\d+)"', longest) == [str(each) for each in (long, short, deep)]
    assert re.findall(r'data-incident="(\d+)"', deepest) == [str(each) for each in (deep, short, long)]
    links = re.findall(r'href="(/incidents\?[^"]+)"', page)
    assert len(links) == 6 and "from=now-6h" in links[-1]
    for link in links:
        found = client.get(link.replace("&amp;", "&"))
        assert found.status_code == 200 and f'data-incident="{elsewhere}"' not in found.text


def test_page_reads_its_incidents_once(
    client: TestClient, store: CloudStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is in three lists; and the page waits for one turn of a thread, not for two."""
    start_ns = (NOW - HOUR_MS) * 10**6
    event_id = store.open_event(Trigger("t", start_ns, start_ns + 10**9, ("1",), "1", "x"), "x")
    put_findings(store, event_id, [Finding("sag", "1", start_ns, start_ns + 10**8, 0, True, 84.0, 70.0, 6.0)])
    read: list[Sequence[int]] = []
    turns: list[object] = []
    read_incidents, take_turn = store.incidents_of, past_page.in_thread

    def counted(numbers: Sequence[int]) -> list[Incident]:
        read.append(numbers)
        return read_incidents(numbers)

    async def taken(work: Callable[..., Any], *args: Any) -> Any:
        turns.append(work)
        return await take_turn(work, *args)

    monkeypatch.setattr(store, "incidents_of", counted)
    monkeypatch.setattr(past_page, "in_thread", taken)
    page = client.get("/past?box=1&from=now-6h&to=now").text
    assert page.count('data-incident="') == 3 and [len(each) for each in read] == [1]
    assert len(turns) == 1


REFUSED = (
    ("/past?box=77", 404, "No Box with this id is known"),
    ("/past?box=../x", 404, "No Box with this id is known"),
    ("/past?of=region:nowhere", 404, "No region of this name has a Box"),
    ("/past?of=planet:mars", 404, "No group of this name has a Box"),
    ("/past?q=watts", 404, "there are rms_v, f_hz, thd_percent"),
    ("/past?q=h2,h3,h4,h5,h6,h7,h8", 400, "want 6 or fewer"),
    ("/past?y=furlongs", 400, "want one of V, percent"),
    ("/past?weeks=9", 400, "weeks is &#39;9&#39;; want one of 0, 1, 2, 3, 4, 5"),
    ("/past?weeks=2&tz=Mars", 400, "want a zone such as Pacific/Honolulu"),
    ("/past?from=noon", 400, "from is &#39;noon&#39;"),
    ("/past?standard=../x", 400, "want one of en50160"),
    ("/past?show=all", 400, "want one of course"),
    ("/past?box=" + ",".join(map(str, range(60))), 400, "want 50 or fewer"),
)


def test_what_cannot_be_shown_is_refused_in_words(client: TestClient) -> None:
    for address, status, said in REFUSED:
        answer = client.get(address)
        assert answer.status_code == status and said in answer.text, address


def test_a_group_holds_boxes_the_visitor_sees(
    store: CloudStore,
) -> None:
    """The public learns neither site nor feeder of Box 4, and no region of one hidden Box."""
    for box_id in "14":
        store.put_box(BoxRecord(box_id, "", site="mill"))
    for box_id, region in (("6", "east"), ("7", "east"), ("8", "east"), ("9", "west")):
        store.put_box(BoxRecord(box_id, "", region=region, grid="2"))
        store.people.change_access(box_id, lambda was, b=box_id: replace(was, owner_id=f"owner {b}"))
    services = open_services(store, "beyond_loopback")
    token = VISITOR.set(Visitor(full=frozenset("1"), public=frozenset("4"), regional=frozenset("46789")))
    try:
        found = read_groups(VisitorContext(services), services)
    finally:
        VISITOR.reset(token)
    assert found["region"] == {"east": ("6", "7", "8"), "north": ("1",), "south": ("4",)}
    assert found["feeder"] == {"F1": ("1",)} and found["site"] == {"mill": ("1",)}
    assert found["grid"] == {"1": ("1", "4"), "2": ("6", "7", "8")}, "one hidden Box does not count"


def test_a_hole_is_named_with_its_span(store: CloudStore, client: TestClient) -> None:
    first = NOW - 2 * HOUR_MS
    put_minutes(store, "1", range(first, first + 30 * MINUTE, MINUTE), 120.0)
    put_minutes(store, "1", range(first + 50 * MINUTE, first + 90 * MINUTE, MINUTE), 120.0)
    page = client.get(f"/past?box=1&q=rms_v&from={first}&to={first + 90 * MINUTE}").text
    listed = re.sub(r"<[^>]*>", "", page.partition("Not measured, or lost")[2].partition("</details>")[0])
    assert "2026-01-01 03:30:00 to 2026-01-01 03:50:00 UTC" in listed, listed


def test_a_channel_of_a_boxs_program_is_drawn(client: TestClient, store: CloudStore) -> None:
    """With its own words and unit, from the trends, on a day and in the last minutes."""
    starts = range(NOW - 4 * HOUR_MS, NOW - HOUR_MS, MINUTE)
    for start in starts:
        metrics = {"rms": (119.0, 121.0, 120.0), "own_oil_temp_c": (40.0, 44.0, 41.5)}
        store.put_trends([Trend("1", start, metrics, covered_ms=MINUTE)])
    while store.roll_up(NOW, 1000):
        pass
    for span in ("now-1d", "now-5h"):
        page = client.get(f"/past?box=1&box=2&q=rms_v,own_oil_temp_c&from={span}&to=now").text
        assert "<strong>Oil temp, °C</strong>" in page and 'value="own_oil_temp_c"' in page
        chart = data_of(page)["charts"][1]
        means = [each for each in chart["series"][0]["mean"] if each is not None]
        assert means and set(means) == {41.5}, chart
    for name in ("own_", "own_oil", "own_Oil_c", "own_oil_C", "own_oil-c"):
        refused = client.get(f"/past?box=1&q={name}")
        assert refused.status_code == 404 and "channels of a Box" in refused.text


def test_a_channels_newest_value_is_shown() -> None:
    newest = {"rms": Metric(119.0, 121.0, 120.0), "own_oil_c": Metric(40.0, 44.0, 41.56789)}
    figures = figures_json(newest)
    assert figures["own_oil_c"] == 41.568 and not figures_values(newest)
    card = Card("1", "1", 120.0, 60.0, True, "", None, figures, None, "", None)
    shown, value, about = card.figures[-1]
    assert (shown.words, shown.unit, shown.name, value) == ("Oil", "°C", "own_oil_c", 41.568)
    assert about == "by the Box's program, own_oil_c"
