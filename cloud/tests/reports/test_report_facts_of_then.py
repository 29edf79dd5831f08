"""A report and the indices have the facts of their span: what is stated later changes nothing of the past."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opq_cloud.reports.as_json import report_json
from opq_cloud.reports.drawings import voltage_drawing
from opq_cloud.reports.fleet_reading import read_fleet
from opq_cloud.reports.indices import fleet_indices, indices_document
from opq_cloud.reports.limit_table import limit_table
from opq_cloud.reports.many_places import FleetReport
from opq_cloud.reports.place_reading import NoPlaceError, place_choice
from opq_cloud.reports.report_page import report_html
from opq_cloud.reports.week import span_of, week_of
from opq_cloud.reports.written import indices_json
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_proto.decision import Nominal
from opq_proto.measurement.intervals import AT_INSTANTS
from opq_proto.messages import Disturbance, Interval, Measurement

NOMINAL = Nominal(230.0, 50.0)
TEN_NS = 600 * 10**9
NOW_NS = 1_796_000_000 * 10**9


def ns(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def ms(text: str) -> int:
    return ns(text) // 10**6


class Meters:
    """A store of a few Boxes with ten minutes and disturbances."""

    def __init__(self, store: CloudStore) -> None:
        self.store, self._number = store, 0

    def tens(
        self,
        box_id: str,
        first: str,
        last: str,
        volts: float = 230.0,
        turn: float | None = None,
        hertz: float = 50.0,
    ) -> None:
        """Ten minutes of one voltage; `turn`: the angle of its phase at the instants, degrees."""
        rows = []
        for start_ns in range(ns(first), ns(last), TEN_NS):
            self._number += 1
            values: dict[str, object] = {"rms_v": volts, "f_hz": hertz}
            if turn is not None:
                angles, fundamental = AT_INSTANTS
                values |= {angles: (turn,) * 10, fundamental: (volts,) * 10}
            interval = Interval(600_000, False, 1.0, values)  # type: ignore[arg-type]
            end_ns = start_ns + TEN_NS
            rows.append(
                Measurement(box_id, 1, {}, start_ns, end_ns, 5, sequence=self._number, interval=interval)
            )
        self.store.intervals.append(rows)

    def event(self, box_id: str, kind: str, at: str, seconds: float | None, volts: float) -> None:
        """`seconds` None: its end was not seen."""
        self._number += 1
        start_ns = ns(at)
        end_ns = None if seconds is None else start_ns + round(seconds * 1e9)
        found = Disturbance(box_id, kind, start_ns, end_ns, 1000, volts)
        number, last_ns = self._number, end_ns or start_ns
        row = Measurement(box_id, 1, {}, start_ns, last_ns, sequence=number, disturbance=found)
        self.store.intervals.append([row])

    def fleet(self, place: str, week: str) -> FleetReport:
        span = week_of(week, "UTC", NOW_NS)
        fleet = read_fleet(self.store, limit_table("en50160"), span, place_choice(place), NOMINAL)
        assert fleet.broken == ()
        return fleet

    def reports(self, place: str, week: str) -> list[dict[str, object]]:
        return [report_json(each) for each in self.fleet(place, week).reports]

    def indices(self, span: str, place: str = "all") -> dict[str, object]:
        wanted = span_of(span, "UTC", NOW_NS)
        found = fleet_indices(self.store, wanted, place_choice(place), NOMINAL, NOW_NS)
        assert found.broken == ()
        return indices_document(found)


@pytest.fixture
def meters(tmp_path: Path) -> Iterator[Meters]:
    store = open_store(None, tmp_path)
    yield Meters(store)
    store.close()


def test_a_moved_box_leaves_its_past(meters: Meters) -> None:
    put = meters.store.put_box
    put(BoxRecord("1", "Meter 1", nominal_v=230.0, nominal_hz=50.0, site="mill", phase="L1", feeder="f1"))
    put(BoxRecord("2", "Meter 2", nominal_v=230.0, nominal_hz=50.0, site="yard", phase="L2", feeder="f2"))
    meters.tens("1", "2026-10-19", "2026-10-26", 200.0)
    meters.tens("1", "2026-10-26", "2026-10-27")
    meters.tens("2", "2026-10-19", "2026-10-27", 231.0)
    meters.event("1", "dip", "2026-10-20T10:00", 0.2, 150.0)
    before = meters.reports("site:mill", "2026-W43"), meters.reports("site:yard", "2026-W43")
    indices = meters.indices("2026-W43")
    put(BoxRecord("1", "", site="yard", feeder="f2", nominal_v=400.0), ms("2026-10-26"))
    assert (meters.reports("site:mill", "2026-W43"), meters.reports("site:yard", "2026-W43")) == before
    assert meters.indices("2026-W43") == indices
    ((mill,), (yard,)) = before
    assert (mill["box_ids"], mill["verdict"], yard["box_ids"], yard["verdict"]) == (
        ["1"],
        "fail",
        ["2"],
        "pass",
    )
    (after,) = meters.reports("site:yard", "2026-W44")
    assert after["box_ids"] == ["1", "2"]
    with pytest.raises(NoPlaceError, match="no site 'mill' in this span; known: yard"):
        meters.reports("site:mill", "2026-W44")


def test_a_move_within_a_week_is_said(meters: Meters) -> None:
    meters.store.put_box(BoxRecord("1", "Meter 1", nominal_v=230.0, nominal_hz=50.0, site="mill"))
    meters.tens("1", "2026-10-19", "2026-10-26")
    meters.event("1", "dip", "2026-10-20T10:00", 0.2, 150.0)
    meters.event("1", "dip", "2026-10-23T10:00", 0.2, 150.0)
    meters.store.put_box(BoxRecord("1", "", site="yard"), ms("2026-10-22"))
    (mill,), (yard,) = meters.reports("site:mill", "2026-W43"), meters.reports("site:yard", "2026-W43")
    assert [len(each["events"]) for each in (mill, yard)] == [1, 1]  # type: ignore[arg-type]
    assert "Box 1, Meter 1 was at this site until Thu 2026-10-22 00:00." in mill["sentences"]  # type: ignore[operator]
    assert "Box 1, Meter 1 was at this site since Thu 2026-10-22 00:00." in yard["sentences"]  # type: ignore[operator]
    assert mill["coverage"] == pytest.approx(3 / 7, abs=1e-6)


def test_a_new_nominal_voltage_divides_the_week(meters: Meters) -> None:
    meters.store.put_box(BoxRecord("1", "Meter 1", nominal_v=230.0, nominal_hz=50.0))
    meters.tens("1", "2026-10-19", "2026-10-21", 230.0)
    meters.tens("1", "2026-10-21", "2026-10-26", 400.0)
    meters.store.put_box(BoxRecord("1", "", nominal_v=400.0), ms("2026-10-21"))
    first, last = meters.reports("box:1", "2026-W43")
    assert [(each["verdict"], each["hours"], each["coverage"]) for each in (first, last)] == [
        ("pass", 48, 1.0),
        ("pass", 120, 1.0),
    ]
    assert "a nominal value of this place changed" in str(first["sentences"])
    assert [box["nominal_v"] for each in (first, last) for box in each["boxes"]] == [230.0, 400.0]  # type: ignore[attr-defined]


def test_a_divided_week_counts_once_in_means(meters: Meters) -> None:
    """One Box, with the frequency of both parts."""
    meters.store.put_box(BoxRecord("1", "Meter 1", nominal_v=230.0, nominal_hz=50.0))
    meters.tens("1", "2026-10-19", "2026-10-21", 230.0, hertz=49.8)
    meters.tens("1", "2026-10-21", "2026-10-26", 400.0)
    meters.event("1", "interruption", "2026-10-20T10:00", 7200, 0.5)
    meters.event("1", "dip", "2026-10-23T10:00", 0.2, 200.0)
    meters.store.put_box(BoxRecord("1", "", nominal_v=400.0), ms("2026-10-21"))
    fleet = meters.fleet("box:1", "2026-W43")
    assert len(fleet.reports) == 2 and fleet.supply is not None
    assert (indices_json(fleet)["boxes"], fleet.frequency.boxes) == (1, 1)
    assert fleet.frequency.index.nadir_hz == pytest.approx(49.8)
    assert (fleet.supply.interruptions_per_box, fleet.supply.minutes_per_box) == pytest.approx((1.0, 120.0))
    assert (fleet.complete_percent, dict(fleet.sarfi)[70.0]) == pytest.approx((100.0, 1.0))
    labels = voltage_drawing(fleet.reports[0].phases[0], fleet.reports[0])
    assert labels is not None and [each.words for each in labels.x_labels] == ["Mon", "Tue"]


def test_another_phase_makes_no_second_box(meters: Meters) -> None:
    meters.store.put_box(BoxRecord("1", "", nominal_v=230.0, nominal_hz=50.0, site="mill", phase="L1"))
    meters.tens("1", "2026-10-19", "2026-10-26")
    meters.store.put_box(BoxRecord("1", "", phase="L2"), ms("2026-10-22"))
    (report,) = meters.reports("box:1", "2026-W43")
    assert (report["box_ids"], report["coverage"], report["verdict"]) == (["1"], 1.0, "pass")
    assert [box["phase"] for box in report["boxes"]] == ["b"]  # type: ignore[attr-defined]


def test_an_event_has_its_own_box(meters: Meters) -> None:
    """Of a site with one phase, which two Boxes served."""
    for box_id, since in (("1", "2026-10-19"), ("2", "2026-10-22")):
        put = meters.store.put_box
        put(BoxRecord(box_id, "", nominal_v=230.0, nominal_hz=50.0, site="hut", phase="L1"))
        meters.tens(box_id, since, "2026-10-22" if box_id == "1" else "2026-10-26")
    meters.event("1", "dip", "2026-10-20T10:00", 0.2, 150.0)
    meters.event("2", "dip", "2026-10-23T10:00", 0.2, 150.0)
    (report,) = meters.reports("site:hut", "2026-W43")
    assert [each["box_ids"] for each in report["events"]] == [["1"], ["2"]]  # type: ignore[attr-defined]


def test_a_retired_box_counts_for_the_time_before(meters: Meters) -> None:
    for box_id in "12":
        meters.store.put_box(BoxRecord(box_id, f"Meter {box_id}", nominal_v=230.0, nominal_hz=50.0))
        meters.tens(box_id, "2026-10-19", "2026-10-26")
    meters.event("2", "interruption", "2026-10-20T10:00", 7200, 0.5)
    before = meters.indices("2026-W43"), meters.reports("all", "2026-W43")
    retired_ms = ms("2026-10-26")
    meters.store.put_box(BoxRecord("2", "", unplugged=True, retired_ms=retired_ms))
    assert (meters.indices("2026-W43"), meters.reports("all", "2026-W43")) == before
    assert (before[0]["boxes_count"], before[0]["interrupted_minutes_per_box"]) == (2, 60.0)
    assert meters.indices("2026-W44")["boxes_count"] == 1


def test_boxes_serve_a_phase_one_after_the_other(meters: Meters) -> None:
    """u2, the site's interruption and its coverage go on over a replacement."""
    turns = {"1": 0.0, "2": -120.0, "3": 120.0, "4": 0.0}
    for box_id, phase in (("1", "L1"), ("2", "L2"), ("3", "L3"), ("4", "L1")):
        facts = BoxRecord(box_id, "", nominal_v=230.0, nominal_hz=50.0, site="works", phase=phase)
        meters.store.put_box(facts)
        first = "2026-10-21" if box_id == "4" else "2026-10-19"
        last = "2026-10-21" if box_id == "1" else "2026-10-26"
        meters.tens(box_id, first, last, turn=turns[box_id])
    for box_id in "123":
        meters.event(box_id, "interruption", "2026-10-20T10:00", 300, 0.5)
    for box_id in "234":
        meters.event(box_id, "interruption", "2026-10-23T10:00", 240, 0.5)
    before = meters.reports("site:works", "2026-W42"), meters.reports("site:works", "2026-W43")
    indices = meters.indices("2026-W43")
    (report,) = before[1]
    assert [(each["class"], sorted(each["box_ids"])) for each in report["events"]] == [  # type: ignore[attr-defined]
        ("interruption", ["1", "2", "3"]),
        ("interruption", ["2", "3", "4"]),
    ]
    (u2,) = [each for each in report["rows"] if "nbalance" in each["quantity"]]  # type: ignore[attr-defined]
    assert (u2["count"], u2["verdict"], report["coverage"]) == (1008, "pass", 1.0)
    assert (indices["boxes_count"], indices["interruptions_per_box"], indices["complete_percent"]) == (
        3,
        2.0,
        100.0,
    )
    meters.store.put_box(BoxRecord("1", "", unplugged=True, retired_ms=ms("2026-10-26")))
    assert (meters.reports("site:works", "2026-W42"), meters.reports("site:works", "2026-W43")) == before
    assert meters.indices("2026-W43") == indices


def test_a_restated_phase_has_two_columns(meters: Meters) -> None:
    """A Box that measures L1, then L3, within one week is a column of each, with the verdict of each."""
    put = meters.store.put_box
    put(BoxRecord("1", "Meter 1", nominal_v=230.0, nominal_hz=50.0, site="mill", phase="L1"))
    put(BoxRecord("1", "", phase="L3"), ms("2026-10-22"))
    meters.tens("1", "2026-10-19", "2026-10-22", 231.0)
    meters.tens("1", "2026-10-22", "2026-10-26", 200.0)
    meters.event("1", "interruption", "2026-10-20T10:00", 20.0, 1.0)
    meters.event("1", "interruption", "2026-10-24T10:00", 400.0, 1.0)
    fleet = meters.fleet("site:mill", "2026-W43")
    (found,) = fleet.reports
    told = report_json(found)
    volts = [row for row in told["rows"] if row["quantity"] == "voltage" and row["count"]]
    assert [(row["box_id"], row["phase"], row["lowest"]) for row in volts[::2]] == [
        ("1", "a", pytest.approx(100 * 231 / 230, abs=1e-3)),
        ("1", "c", pytest.approx(100 * 200 / 230, abs=1e-3)),
    ]
    assert [box["complete_percent"] for box in told["boxes"]] == pytest.approx([300 / 7, 400 / 7], abs=1e-3)
    assert [(each["class"], each["box_ids"]) for each in told["events"]] == [("interruption", ["1"])] * 2
    page = report_html(fleet, "now")
    assert "<b>100.4 %</b>" in page and "<b>86.96 %</b>" in page
    (row,) = meters.indices("2026-W43", "site:mill")["boxes"][:1]
    assert (row["interruptions"], row["short_interruptions"]) == (0, 1)


def test_a_feeder_has_its_boxes_of_then(meters: Meters) -> None:
    """Each feeder of a Box has its part of the span, the same as in indices of that feeder alone."""
    for box_id in "12":
        meters.store.put_box(BoxRecord(box_id, "", nominal_v=230.0, nominal_hz=50.0, feeder="f1"))
        meters.tens(box_id, "2026-10-19", "2026-10-26")
    meters.event("1", "interruption", "2026-10-20T10:00", 3600, 0.5)
    meters.event("1", "interruption", "2026-10-24T10:00", 7200, 0.5)
    meters.store.put_box(BoxRecord("1", "", feeder="f2"), ms("2026-10-22"))
    found: Any = meters.indices("2026-W43")
    assert [row["feeder"] for row in found["boxes"]] == [None, "f1"]
    feeders = {row["feeder"]: row for row in found["feeders"]}
    assert {name: row["boxes_count"] for name, row in feeders.items()} == {"f1": 2, "f2": 1}
    assert feeders["f1"]["interrupted_minutes_per_box"] == pytest.approx(60 / (1 + 3 / 7))
    for name, row in feeders.items():
        supply = meters.fleet(f"feeder:{name}", "2026-W43").supply
        assert supply is not None and supply.minutes_per_box == pytest.approx(
            row["interrupted_minutes_per_box"]
        )
        own = meters.indices("2026-W43", f"feeder:{name}")
        assert row == {"feeder": name, **{key: own[key] for key in row if key != "feeder"}}


@pytest.mark.parametrize("seconds", [4 * 3600.0, None])
def test_minutes_end_where_the_box_left(meters: Meters, seconds: float | None) -> None:
    """A Box moves in an interruption: the report and the indices of the place have its minutes there."""
    meters.store.put_box(BoxRecord("1", "", nominal_v=230.0, nominal_hz=50.0, site="mill"))
    meters.tens("1", "2026-10-21", "2026-10-21T22:00")
    meters.event("1", "interruption", "2026-10-21T22:00", seconds, 0.5)
    meters.store.put_box(BoxRecord("1", "", site="yard"), ms("2026-10-22"))
    (report,) = meters.reports("site:mill", "2026-W43")
    assert "1 interruption, longer than 180 s: 120.0 minutes of the week" in str(report["sentences"])
    found: Any = meters.indices("2026-W43", "site:mill")
    (row,) = found["boxes"]
    assert (row["interruptions"], row["interrupted_minutes"]) == (1, 120.0)
    supply = meters.fleet("all", "2026-W43").supply
    assert supply is not None and (supply.interruptions_per_box, supply.minutes_per_box) == (1.0, 120.0)


def test_counts_of_nothing_are_unknown(meters: Meters) -> None:
    """A Box that measured nothing has no 0, and does not halve the means."""
    for box_id in "12":
        meters.store.put_box(BoxRecord(box_id, "", nominal_v=230.0, nominal_hz=50.0))
    meters.tens("1", "2026-10-19", "2026-10-26")
    meters.event("1", "dip", "2026-10-20T10:00", 0.2, 100.0)
    meters.event("1", "interruption", "2026-10-21T10:00", 600, 0.5)
    found: Any = meters.indices("2026-W43")
    measured, nothing = found["boxes"]
    assert (measured["interruptions"], measured["sarfi"]["70"]) == (1, 1)
    assert (nothing["interruptions"], nothing["interrupted_minutes"]) == (None, None)
    assert {*nothing["sarfi"].values()} == {None}
    assert (found["interruptions_per_box"], found["sarfi"]["70"], found["complete_percent"]) == (
        1.0,
        1.0,
        50.0,
    )
    fleet = meters.fleet("all", "2026-W43")
    assert fleet.supply is not None and fleet.supply.interruptions_per_box == 1.0
    assert dict(fleet.sarfi)[70.0] == 1.0
    (report,) = meters.reports("box:2", "2026-W43")
    assert report["boxes"][0]["interruptions"] is None and {*report["sarfi"].values()} == {None}
    found = meters.indices("2026-W43", "box:2")
    assert (found["interruptions_per_box"], found["sarfi"]["90"], found["boxes_count"]) == (None, None, 1)


def test_a_divided_week_has_a_whole_weeks_means(meters: Meters) -> None:
    """Nothing is known of one part: the events of the other are those of the whole week."""
    meters.store.put_box(BoxRecord("1", "", nominal_v=230.0, nominal_hz=50.0))
    meters.store.put_box(BoxRecord("1", "", nominal_v=240.0), ms("2026-10-21"))
    meters.tens("1", "2026-10-19", "2026-10-21")
    meters.event("1", "dip", "2026-10-20T10:00", 0.2, 100.0)
    fleet = meters.fleet("box:1", "2026-W43")
    assert len(fleet.reports) == 2
    found: Any = meters.indices("2026-W43", "box:1")
    assert dict(fleet.sarfi)[70.0] == found["sarfi"]["70"] == 1.0


def test_a_long_dip_alone_makes_counts_known(meters: Meters) -> None:
    """SARFI has events of a minute at most; reports and indices say the same of a Box with a longer one."""
    meters.store.put_box(BoxRecord("1", "", nominal_v=230.0, nominal_hz=50.0))
    meters.event("1", "dip", "2026-10-20T10:00", 90.0, 100.0)
    (report,) = meters.reports("box:1", "2026-W43")
    found: Any = meters.indices("2026-W43", "box:1")
    assert report["boxes"][0]["interruptions"] == found["boxes"][0]["interruptions"] == 0
    assert report["sarfi"] == found["boxes"][0]["sarfi"] == dict.fromkeys(report["sarfi"], 0)


@pytest.mark.parametrize("retired", [True, False])
def test_a_replacement_ends_an_open_interruption(meters: Meters, retired: bool) -> None:
    """The end was not seen by the Box that was without supply; the next one of the phase has supply."""
    for box_id in "14":
        facts = BoxRecord(box_id, "", nominal_v=230.0, nominal_hz=50.0, site="works", phase="L1")
        meters.store.put_box(facts)
    meters.tens("1", "2026-10-20", "2026-10-21")
    meters.event("1", "interruption", "2026-10-21", None, 0.5)
    meters.tens("4", "2026-10-21T02:00", "2026-10-27")
    if retired:
        meters.store.put_box(BoxRecord("1", "", unplugged=True, retired_ms=ms("2026-10-21T02:00")))
    (report,) = meters.reports("site:works", "2026-W43")
    assert "1 interruption, longer than 180 s: 120.0 minutes of the week" in str(report["sentences"])
    for span in ("2026-W43", "2026-10"):
        found = meters.indices(span)
        assert (found["interruptions_per_box"], found["interrupted_minutes_per_box"]) == (1.0, 120.0)
    (after,) = meters.reports("site:works", "2026-W44")
    assert "interruption that began before" not in str(after["sentences"])
    assert meters.indices("2026-W44")["interrupted_minutes_per_box"] == 0.0


@pytest.mark.parametrize(
    ("first", "last", "nominal_v", "columns", "boxes"),
    [
        ("2026-10-21T12:00", "2026-10-26", 230.0, 1, 1),  # half a day beside the one that it replaces
        ("2026-10-21T12:00", "2026-10-21T20:00", 230.0, 2, 2),  # beside the other one for a while
        ("2026-10-22", "2026-10-26", 240.0, 2, 1),  # each is judged by its own nominal voltage
    ],
)
def test_a_replacement_may_overlap(
    meters: Meters, first: str, last: str, nominal_v: float, columns: int, boxes: int
) -> None:
    for box_id, volts in (("1", 230.0), ("4", nominal_v)):
        facts = BoxRecord(box_id, "", nominal_v=volts, nominal_hz=50.0, site="hut", phase="L1")
        meters.store.put_box(facts)
    meters.tens("1", "2026-10-19", "2026-10-22")
    meters.tens("4", first, last, nominal_v)
    (report,) = meters.reports("site:hut", "2026-W43")
    voltages: Any = [each["nominal_v"] for each in report["boxes"]]  # type: ignore[attr-defined]
    assert voltages == [230.0, nominal_v][:columns]
    assert report["verdict"] == ("pass" if columns == 1 else "not_assessed")
    assert [meters.indices(span)["boxes_count"] for span in ("2026-W43", "2026-10")] == [boxes, 1]


def test_boxes_side_by_side_count_each(meters: Meters) -> None:
    """Also in a month of which both measured five days."""
    for box_id in "14":
        facts = BoxRecord(box_id, "", nominal_v=230.0, nominal_hz=50.0, site="hut", phase="L1")
        meters.store.put_box(facts)
        meters.tens(box_id, "2026-10-19", "2026-10-24")
    assert [meters.indices(span)["boxes_count"] for span in ("2026-W43", "2026-10")] == [2, 2]
