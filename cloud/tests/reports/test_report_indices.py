"""Indices of a year, a month and a week: every expected figure follows by counting."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.reports.fleet_reading import read_fleet
from opq_cloud.reports.indices import fleet_indices, indices_document, indices_table
from opq_cloud.reports.limit_table import limit_table
from opq_cloud.reports.place_reading import NoPlaceError, PlaceChoice
from opq_cloud.reports.verdicts import BoxWeek
from opq_cloud.reports.week import ReportSpan, WeekError, span_of, week_of
from opq_cloud.reports.week_report import PlacedBox, site_events
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.view.pages.past.quantities import QUANTITIES
from opq_cloud.view.pages.past.quantity_reading import PastReader
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_cloud.view.web.time_span import read_span
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.decision import Nominal
from opq_proto.messages import Disturbance, Finding, Interval, Measurement
from opq_tools.reports.reports_command import command

S = 10**9
TEN_NS, DAY_NS = 600 * S, 86_400 * S
YEAR = span_of("2026", "UTC", 0)
LATER_NS = YEAR.end_ns + DAY_NS
NOMINAL = Nominal(230.0, 50.0)
LOW_NS = YEAR.start_ns + 40 * DAY_NS
"""The day on which the grid trips, 2026-02-10."""


def row(box_id: str, number: int, start_ns: int, end_ns: int, **what: object) -> Measurement:
    return Measurement(box_id, 1, {}, start_ns, end_ns, 1000, sequence=number, **what)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudStore]:
    """Boxes 1 and 2 are a site on feeder f1, Box 3 is on f2; two days, the second with a trip."""
    made = open_store(None, tmp_path_factory.mktemp("indices"))
    for box_id, feeder, site in (("1", "f1", "mill"), ("2", "f1", "mill"), ("3", "f2", None)):
        made.put_box(
            BoxRecord(box_id, "", feeder=feeder, site=site, phase={"1": "L1", "2": "L2"}.get(box_id))
        )
    rows = []
    for box, wrong_hz in ((1, 0.0), (2, 0.001), (3, -0.3)):
        for day, first in ((0, YEAR.start_ns), (1, LOW_NS)):
            for at in range(144 if box < 3 else 72):
                hertz = 50.0 + 0.001 * math.sin(at) + (wrong_hz if at % 2 else -wrong_hz)
                if day and at in (30, 31):
                    hertz -= 0.24 if at == 30 else 0.06
                start_ns = first + at * TEN_NS
                interval = Interval(
                    600_000, at % 9 == 0 and box == 2, 1.0, {"f_hz": float(np.float32(hertz)), "rms_v": 230.0}
                )
                rows.append(
                    row(str(box), 1000 * day + at + 1, start_ns, start_ns + TEN_NS, interval=interval)
                )
    dip_ns = YEAR.start_ns + 100 * DAY_NS
    events = [
        ("1", "dip", dip_ns, dip_ns + S // 10, 160.0),
        ("2", "dip", dip_ns + S // 50, dip_ns + S // 10, 100.0),  # the same one, by its phases
        ("3", "dip", dip_ns, dip_ns + S // 10, 200.0),
        ("3", "interruption", dip_ns + DAY_NS, dip_ns + DAY_NS + 600 * S, 0.0),
        ("3", "interruption", dip_ns + 2 * DAY_NS, dip_ns + 2 * DAY_NS + 30 * S, 0.0),
        ("1", "dip", YEAR.end_ns + S, YEAR.end_ns + 2 * S, 100.0),  # of the next year
    ]
    for at, (box_id, kind, start_ns, end_ns, volts) in enumerate(events):
        found = Disturbance(box_id, kind, start_ns, end_ns, 1000, volts)
        rows.append(row(box_id, 9000 + at, start_ns, end_ns, disturbance=found))
    made.intervals.append(rows)
    while made.intervals.settle(LATER_NS // 10**6):
        pass
    out_ns = dip_ns + DAY_NS + 300 * S  # an outage that the interruption overlaps by half
    put_findings(made, 1, [Finding("outage", "3", out_ns, out_ns + 600 * S, 1000, True)])
    yield made
    made.close()


def test_a_year_of_a_fleet_is_counted(store: CloudStore) -> None:
    found = indices_document(fleet_indices(store, YEAR, PlaceChoice(), NOMINAL, LATER_NS))
    boxes = {each["box_id"]: each for each in found["boxes"]}
    assert (boxes["3"]["interruptions"], boxes["3"]["interrupted_minutes"]) == (1, 15.0)
    assert boxes["3"]["short_interruptions"] == 1 and boxes["1"]["interruptions"] == 0
    assert found["interruptions_per_box"] == pytest.approx(1 / 3)
    assert found["interrupted_minutes_per_box"] == pytest.approx(5.0)
    assert boxes["1"]["complete_percent"] == pytest.approx(100 * 288 / 52_560, abs=1e-6)
    assert boxes["3"]["complete_percent"] == pytest.approx(100 * 144 / 52_560, abs=1e-6)
    assert boxes["2"]["flagged_percent"] == pytest.approx(100 * 32 / 52_560, abs=1e-6)
    sarfi = {each["place"]: each["sarfi"] for each in found["places"]}
    assert (sarfi["Site mill"]["90"], sarfi["Site mill"]["70"], sarfi["Site mill"]["50"]) == (1, 1, 1)
    assert (sarfi["Box 3"]["90"], sarfi["Box 3"]["70"], sarfi["Box 3"]["10"]) == (2, 1, 1)
    assert found["sarfi"]["90"] == 1.5
    assert [(each["feeder"], each["boxes_count"]) for each in found["feeders"]] == [("f1", 2), ("f2", 1)]


def test_a_grid_trip_is_found_by_agreement(store: CloudStore) -> None:
    """A Box whose frequency is wrong weighs nothing."""
    found = indices_document(fleet_indices(store, YEAR, PlaceChoice(), NOMINAL, LATER_NS))["frequency"]
    assert (found["boxes"], found["nadir_ns"]) == (3, LOW_NS + 30 * TEN_NS)
    assert found["nadir_hz"] == pytest.approx(49.76, abs=0.004), (
        "Box 3, which is off by 0.3 Hz, weighs nothing"
    )
    assert found["median_hz"] == pytest.approx(50.0, abs=0.002)
    assert found["steepest_ns"] == LOW_NS + 29 * TEN_NS
    assert found["steepest_hz_per_s"] == pytest.approx(-0.24 / 600, rel=0.05)


def test_months_and_weeks_hold_their_own_part(store: CloudStore) -> None:
    april, week = span_of("2026-04", "Europe/Berlin", 0), span_of("2026-W07", "Europe/Berlin", 0)
    feeder = PlaceChoice("feeder", "f1")
    found = indices_document(fleet_indices(store, april, feeder, NOMINAL, LATER_NS))
    assert (found["of"], found["sarfi"]["90"], found["complete_percent"]) == ("Site mill", 1.0, 0.0)
    assert found["frequency"]["nadir_hz"] is None and found["frequency"]["boxes"] == 0
    found = indices_document(fleet_indices(store, week, feeder, NOMINAL, LATER_NS))
    assert found["complete_percent"] == pytest.approx(100 * 144 / 1008), "of 2026-02-10"
    assert (found["to"] - found["from"]) == 7 * DAY_NS
    running = indices_document(fleet_indices(store, YEAR, feeder, NOMINAL, YEAR.start_ns + 2 * DAY_NS))
    assert running["complete_percent"] == pytest.approx(50.0), "of the time that is over"
    with pytest.raises(NoPlaceError):
        fleet_indices(store, week, PlaceChoice("feeder", "f9"), NOMINAL, LATER_NS)


@pytest.mark.parametrize("text", ["2026-13", "2026-00", "26", "2026-W60", "1969"])
def test_a_span_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(WeekError):
        span_of(text, "UTC", 0)


def test_the_table_has_a_row_for_each_box(store: CloudStore) -> None:
    table = indices_table(fleet_indices(store, YEAR, PlaceChoice(), NOMINAL, LATER_NS))
    rows = list(table.rows)
    assert [each["box_id"] for each in rows] == ["1", "2", "3", None] and rows[0]["sarfi_70"] == 1
    assert [each["row"] for each in rows] == ["box", "box", "box", "site"]
    assert {column.name for column in table.columns} == set(rows[0])


def test_the_command_prints_indices_as_json_and_csv(store: CloudStore, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    other = open_store(None, folder)
    other.put_box(BoxRecord("1", ""))
    other.close()
    run = CliRunner().invoke
    shown = run(command, ["--indices", "2026", "--data-dir", str(folder)])
    assert json.loads(shown.stdout)["span"] == "2026"
    shown = run(command, ["--indices", "2026-W10", "--format", "csv", "--data-dir", str(folder)])
    assert shown.stdout.splitlines()[-1].startswith("box,1,Box 1,")
    shown = run(command, ["--indices", "2026", "--format", "pdf", "--data-dir", str(folder)])
    assert "indices are json or csv" in shown.output


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["dip", "swell", "interruption"]),
            st.integers(-5, 60),
            st.one_of(st.none(), st.integers(0, 6)),
            st.integers(0, 2),
        ),
        max_size=12,
    )
)
def test_events_of_one_box_equal_its_groups(events: list[tuple[str, int, int | None, int]]) -> None:
    """The shorter way by which most events are found gives the same."""
    span = ReportSpan("x", ZoneInfo("UTC"), 0, 50 * S)
    found = tuple(
        Disturbance("1", kind, at * S, None if lasts is None else (at + lasts) * S, 0, 100.0 + at, number)
        for kind, at, lasts, number in events
    )
    alone = PlacedBox("1", "Box 1", None, BoxWeek("1", 230.0, 50.0, {}), found)
    silent = PlacedBox("2", "Box 2", None, BoxWeek("2", 230.0, 50.0, {}))
    own, beside = site_events([alone], span), site_events([alone, silent], span)
    facts = [(each.start_ns, each.duration_s, each.residual_percent, each.channels) for each in own]
    assert facts == [
        (each.start_ns, each.duration_s, each.residual_percent, each.channels) for each in beside
    ]


def test_the_lowest_day_is_that_of_all_days(tmp_path: Path) -> None:
    """Months whose lowest window is higher than a day's median are not read, and change nothing."""
    made = open_store(None, tmp_path)
    random = np.random.default_rng(3)
    lowest: dict[int, list[float]] = {}
    for box_id in ("1", "2", "3"):
        made.put_box(BoxRecord(box_id, ""))
        rows = []
        for day in range(0, 365, 5):
            start_ns = YEAR.start_ns + day * DAY_NS
            hertz = float(np.float32(50 - random.exponential(0.1)))
            values = {"f_hz": 50.0, "f_min_hz": hertz}
            rows.append(
                row(
                    box_id,
                    day + 1,
                    start_ns,
                    start_ns + TEN_NS,
                    interval=Interval(600_000, False, 1.0, values),
                )
            )
            lowest.setdefault(start_ns, []).append(hertz)
        made.intervals.append(rows)
    while made.intervals.settle(LATER_NS // 10**6):
        pass
    found = fleet_indices(made, YEAR, PlaceChoice(), NOMINAL, LATER_NS).frequency
    day_ns = min(lowest, key=lambda at_ns: float(np.median(lowest[at_ns])))
    assert found.index.nadir_ns == day_ns and found.boxes == 3
    assert found.index.median_hz == pytest.approx(50.0, abs=0.001)
    made.close()


@pytest.mark.parametrize("low", ["windows", "intervals"])
def test_missing_windows_hide_no_lowest_day(tmp_path: Path, low: str) -> None:
    """All send windows on one day of January, and two of five Boxes from March on.

    The lowest day is either one that windows alone show, while the means of ten minutes look well, or one of
    January without windows.
    """
    made = open_store(None, tmp_path)
    deep = {"windows": 80, "intervals": 20}[low]
    for box_id in ("1", "2", "3", "4", "5"):
        made.put_box(BoxRecord(box_id, ""))
        rows = []
        for day in range(0, 120, 2):
            start_ns = YEAR.start_ns + day * DAY_NS
            hertz = 49.5 if low == "intervals" and day == deep else 49.9 if day == 40 else 50.0
            has_windows = day == 22 or (box_id in ("1", "2") and day >= 60)
            values = {"f_hz": hertz}
            if has_windows:
                values["f_min_hz"] = 49.6 if low == "windows" and day == deep else 49.98
            interval = Interval(600_000, False, 1.0, values)
            rows.append(row(box_id, day + 1, start_ns, start_ns + TEN_NS, interval=interval))
        if low == "windows" and box_id in ("1", "2"):
            start_ns = YEAR.start_ns + deep * DAY_NS
            ten_s = Interval(10_000, False, 1.0, {"f_hz": 49.6})
            rows.append(row(box_id, 999, start_ns, start_ns + 10 * S, interval=ten_s))
        made.intervals.append(rows)
    while made.intervals.settle(LATER_NS // 10**6):
        pass
    found = fleet_indices(made, YEAR, PlaceChoice(), NOMINAL, LATER_NS).frequency
    assert found.index.nadir_ns == YEAR.start_ns + deep * DAY_NS
    assert found.index.nadir_hz == pytest.approx({"windows": 49.6, "intervals": 49.5}[low], abs=1e-3)
    made.close()


@pytest.mark.parametrize(
    ("stated", "silent", "nominal_hz", "median_hz"),
    [
        ((60.0, 60.0, 50.0, None), 0, 50.0, 49.965),
        ((60.0, 60.0, 60.0, 50.0), 0, 60.0, 59.98),
        ((60.0, 60.0, 50.0), 2, 50.0, 49.97),
    ],
)
def test_grids_of_two_frequencies_are_not_mixed(
    tmp_path: Path, stated: Sequence[float | None], silent: int, nominal_hz: float, median_hz: float
) -> None:
    """A Box that states no frequency has that of the configuration; of two as common the lower one counts."""
    made = open_store(None, tmp_path)
    first_ns = YEAR.start_ns + 41 * DAY_NS  # of week 7
    for number, hertz in enumerate(stated, 1):
        made.put_box(BoxRecord(str(number), "", nominal_hz=hertz))
        values = {"f_hz": (hertz or NOMINAL.hz) - number / 100}
        if number <= silent:
            continue
        made.intervals.append(
            row(str(number), at + 1, at_ns, at_ns + TEN_NS, interval=Interval(600_000, False, 1.0, values))
            for at, at_ns in enumerate(range(first_ns, first_ns + DAY_NS, TEN_NS))
        )
    while made.intervals.settle(LATER_NS // 10**6):
        pass
    found = indices_document(fleet_indices(made, YEAR, PlaceChoice(), NOMINAL, LATER_NS))["frequency"]
    week = read_fleet(made, limit_table("en50160"), week_of("2026-W07", "UTC", 0), PlaceChoice(), NOMINAL)
    assert found["median_hz"] == pytest.approx(median_hz, abs=1e-3)
    assert week.frequency.index.median_hz == pytest.approx(median_hz, abs=1e-3)
    boxes = sum((each or NOMINAL.hz) == nominal_hz for each in stated[silent:])
    assert (found["nominal_hz"], found["boxes"]) == (week.frequency.nominal_hz, week.frequency.boxes)
    assert (found["nominal_hz"], found["boxes"]) == (nominal_hz, boxes)
    made.close()


@pytest.mark.parametrize(
    ("stated", "hertz", "nominal_hz", "boxes", "median_hz"),
    [
        ((None, None, None), 50.0, None, 3, 50.0),
        ((None, None, 50.0), 60.0, 50.0, 1, 50.0),  # two that state none are in another grid
    ],
)
def test_a_default_decides_no_grid(
    tmp_path: Path,
    stated: Sequence[float | None],
    hertz: float,
    nominal_hz: float | None,
    boxes: int,
    median_hz: float,
) -> None:
    """The configuration's default is 60 Hz, which does not count as stated."""
    made = open_store(None, tmp_path)
    first_ns = YEAR.start_ns + 41 * DAY_NS
    for number, own in enumerate(stated, 1):
        made.put_box(BoxRecord(str(number), "", nominal_hz=own))
        interval = Interval(600_000, False, 1.0, {"f_hz": own or hertz})
        made.intervals.append(
            row(str(number), at + 1, at_ns, at_ns + TEN_NS, interval=interval)
            for at, at_ns in enumerate(range(first_ns, first_ns + DAY_NS, TEN_NS))
        )
    while made.intervals.settle(LATER_NS // 10**6):
        pass
    span, place = week_of("2026-W07", "UTC", 0), PlaceChoice()
    found = indices_document(fleet_indices(made, YEAR, place, DEFAULT_NOMINAL, LATER_NS))["frequency"]
    week = read_fleet(made, limit_table("en50160"), span, place, DEFAULT_NOMINAL)
    assert found["nominal_hz"] == week.frequency.nominal_hz == nominal_hz
    assert found["boxes"] == week.frequency.boxes == boxes
    assert found["median_hz"] == pytest.approx(median_hz) == week.frequency.index.median_hz
    made.close()


def test_each_span_has_the_same_lowest_frequency(tmp_path: Path) -> None:
    """10 s are stored for one day of February alone, whose windows went lower than they did."""
    made = open_store(None, tmp_path)
    made.put_box(BoxRecord("1", ""))
    rows: list[Measurement] = []
    for day in range(31, 59):
        for at in range(6):
            start_ns = YEAR.start_ns + day * DAY_NS + at * TEN_NS
            low = 49.80 if (day, at) == (40, 3) else 49.90 if (day, at) == (50, 2) else 49.98
            interval = Interval(600_000, False, 1.0, {"f_hz": 50.0, "f_min_hz": low, "f_max_hz": 50.02})
            rows.append(row("1", len(rows) + 1, start_ns, start_ns + TEN_NS, interval=interval))
            for second in range(0, 600 if day == 40 else 0, 10):
                ten_s = Interval(10_000, False, 1.0, {"f_hz": 49.85 if (at, second) == (3, 300) else 50.0})
                at_ns = start_ns + second * S
                rows.append(row("1", len(rows) + 1, at_ns, at_ns + 10 * S, interval=ten_s))
    made.intervals.append(rows)
    while made.intervals.settle(LATER_NS // 10**6):
        pass
    lowest_hz, lowest_ns = pytest.approx(49.85, abs=1e-4), YEAR.start_ns + 40 * DAY_NS + 3 * TEN_NS + 300 * S
    for name in ("2026", "2026-02", "2026-W07"):
        index = fleet_indices(made, span_of(name, "UTC", 0), PlaceChoice(), NOMINAL, LATER_NS).frequency.index
        assert index.nadir_hz == lowest_hz and index.nadir_ns == lowest_ns, name
        assert index.median_hz == pytest.approx(50.0, abs=1e-4)
    week = read_fleet(made, limit_table("en50160"), week_of("2026-W07", "UTC", 0), PlaceChoice(), NOMINAL)
    assert week.frequency.index.nadir_hz == lowest_hz and week.frequency.index.nadir_ns == lowest_ns
    box = ShownBox("1", "", None, 230.0, 50.0, False)
    for first, last in (
        ("2026-02-09", "2026-02-16"),
        ("2026-02-01", "2026-03-01"),
        ("2024-06-01", "2027-01-01"),
    ):
        span = read_span(first, last, LATER_NS // 10**6)
        reader = PastReader(made, span, LATER_NS // 10**6, lambda _: 0.0, False, class_a=True)
        past = reader.box(box, [QUANTITIES["f_hz"], QUANTITIES["rocof"]])
        assert past["f_hz"].figures is not None and past["f_hz"].figures[0] == lowest_hz, first
        changes = past["rocof"].figures
        assert changes is not None
        steepest = week.frequency.index.steepest_hz_per_s
        assert max(changes[0], changes[6], key=abs) == pytest.approx(steepest), first
    made.close()


def of_hz(hertz: float) -> Interval:
    return Interval(600_000, False, 1.0, {"f_hz": hertz})


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns"])
def test_reports_and_indices_have_one_frequency(tmp_path: Path, zone: str) -> None:
    """Seven Boxes, of which other five have the most data on each day of the month."""
    made, random = open_store(None, tmp_path), np.random.default_rng(5)
    week = week_of("2026-W07", zone, 0)
    first_ns = week.start_ns // DAY_NS * DAY_NS - 3 * DAY_NS
    for number in range(1, 8):
        made.put_box(BoxRecord(str(number), "", site="mill" if number < 3 else None))
        away = random.integers(0, 11)
        hertz = (50 + random.normal(0, 0.02, 11 * 48)).astype(np.float32).tolist()
        made.intervals.append(
            row(
                str(number),
                at + 1,
                at_ns,
                at_ns + TEN_NS,
                interval=Interval(600_000, False, 1.0, {"f_hz": hertz[at]}),
            )
            for at, at_ns in enumerate(range(first_ns, first_ns + 11 * DAY_NS, 3 * TEN_NS))
            if at // 48 != away
        )
    while made.intervals.settle(LATER_NS // 10**6):
        pass
    found = fleet_indices(made, span_of("2026-W07", zone, 0), PlaceChoice(), NOMINAL, LATER_NS).frequency
    assert read_fleet(made, limit_table("en50160"), week, PlaceChoice(), NOMINAL).frequency == found
    whole = fleet_indices(made, span_of("2026-02", zone, 0), PlaceChoice(), NOMINAL, LATER_NS).frequency
    weeks = [f"2026-W0{number}" for number in (6, 7, 8)]
    lowest = [
        fleet_indices(made, span_of(name, zone, 0), PlaceChoice(), NOMINAL, LATER_NS).frequency.index.nadir_hz
        for name in weeks
    ]
    assert whole.index.nadir_hz == np.nanmin(lowest) and found.boxes == 7
    made.close()
