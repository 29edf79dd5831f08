"""Reports of Boxes, sites and feeders out of a store, and as HTML, PDF, JSON and CSV."""

import builtins
import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from golden_weeks import TEN_MS, TWO_HOURS_MS, columns, disturbance, golden_week, harmonics, starts_of
from stored_weeks import StoreInMemory, WeeksInMemory

from opq_cloud.reports.fleet_reading import read_fleet
from opq_cloud.reports.grid_frequency import spread_hz
from opq_cloud.reports.limit_table import limit_table
from opq_cloud.reports.place_reading import NoPlaceError, PlaceChoice, chosen_places
from opq_cloud.reports.report_page import PdfMissingError
from opq_cloud.reports.week import ReportWeek
from opq_cloud.reports.written import ReportForm, indices_json, written
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.incidents.index import IndexedIncident
from opq_proto.decision import Nominal

NOMINAL = Nominal(230.0, 50.0)
NOW_NS = 1_764_201_600 * 10**9
RECORDS = (
    BoxRecord("3", "<b>hall</b> c", site="mill", phase="L3", feeder="F1"),
    BoxRecord("1", "hall a", site="mill", phase="L1", feeder="F1"),
    BoxRecord("2", "hall b", site="mill", phase="L2", feeder="F1"),
    BoxRecord("10", "Box 10", feeder="F2", nominal_v=120.0),
    BoxRecord("4", "Box 4", feeder="F1"),
    BoxRecord("5", "gone", retired_ms=1),
)
EN50160 = limit_table("en50160")


def stored(week: ReportWeek) -> StoreInMemory:
    """Three phases, of which b is low for 60 intervals, and two Boxes alone; Box 4 was without supply."""
    weeks = WeeksInMemory()
    starts = starts_of(week, TEN_MS)
    for number, box_id in enumerate(("1", "2", "3", "4", "10")):
        volts = np.full(len(starts), 120.0 if box_id == "10" else 230.0)
        if box_id == "2":
            volts[300:360] = 200.0
        values = {
            "rms_v": volts,
            "f_hz": 50.0 + 0.001 * number,
            "f_min_hz": 49.9972,
            "f_max_hz": 50.1,
            "thd_ratio": 0.03,
            "thd_max_ratio": 0.04,
            "harmonics_v": harmonics(len(starts), 230.0, h5=3.0),
        }
        weeks.columns[box_id, TEN_MS] = columns(starts, TEN_MS, values, box_id=box_id)
        weeks.columns[box_id, TWO_HOURS_MS] = columns(
            starts_of(week, TWO_HOURS_MS), TWO_HOURS_MS, {"plt": 0.5}, box_id=box_id
        )
        residual = 70 if box_id != "10" else 70 * 120 / 230  # the same share of its own nominal voltage
        weeks.events.append(disturbance(week, "dip", 5000.0 + 0.01 * number, 0.3, residual, box_id))
    weeks.columns["mill", TEN_MS] = columns(starts, TEN_MS, {"u2_ratio": 0.01}, box_id="mill")
    outage = IndexedIncident(
        1, week.start_ns + 3600 * 10**9, week.start_ns + 4200 * 10**9, "outage", None, None, "local"
    )
    return StoreInMemory(RECORDS, weeks, [outage])


def test_places_are_sites_and_boxes_without_one() -> None:
    span = 0, 2 * 10**18
    found = chosen_places(RECORDS, PlaceChoice(), *span)
    assert [(each.site, each.box_ids) for each in found] == [
        ("mill", ("1", "2", "3")),
        (None, ("4",)),
        (None, ("10",)),
    ]
    assert [each.name for each in chosen_places(RECORDS, PlaceChoice("feeder", "F1"), *span)] == [
        "Site mill",
        "Box 4",
    ]
    (alone,) = chosen_places(RECORDS, PlaceChoice("box", "2"), *span)
    assert (alone.name, alone.site) == ("Box 2, hall b", None)
    assert chosen_places((), PlaceChoice(), *span) == []
    with pytest.raises(NoPlaceError, match="there is no site 'mall'; known: mill"):
        chosen_places(RECORDS, PlaceChoice("site", "mall"), *span)
    with pytest.raises(NoPlaceError, match="there is no box '77'; known: 1, 2, 3, 4, 5, 10"):
        chosen_places(RECORDS, PlaceChoice("box", "77"), *span)


def test_a_site_has_its_phases_side_by_side() -> None:
    week = golden_week()
    fleet = read_fleet(stored(week), EN50160, week, PlaceChoice("site", "mill"), NOMINAL)
    (report,) = fleet.reports
    assert fleet.words == "Site mill" and report.verdict == "fail"
    assert [phase.box.phase for phase in report.phases] == ["a", "b", "c"]
    assert [(row.box_id, row.verdict) for row in report.rows if row.limit.name == "voltage"] == [
        ("1", "pass"),
        ("1", "pass"),
        ("2", "fail"),
        ("2", "pass"),
        ("3", "pass"),
        ("3", "pass"),
    ]
    assert report.together[0].verdict == "pass"
    (event,) = report.events
    assert event.channels == ("1", "2", "3")


def test_all_places_are_counted_together() -> None:
    week = golden_week()
    fleet = read_fleet(stored(week), EN50160, week, PlaceChoice(), NOMINAL)
    assert [each.place.name for each in fleet.reports] == ["Site mill", "Box 4", "Box 10"]
    assert [each.place.name for each in fleet.failed] == ["Site mill"]
    assert fleet.supply is not None
    # The outage of ten minutes is said of each of the five Boxes by this store.
    assert (indices_json(fleet)["boxes"], fleet.supply.interruptions_per_box) == (5, 1.0)
    assert fleet.supply.minutes_per_box == pytest.approx(10.0)
    assert dict(fleet.sarfi)[80.0] == 1.0 and fleet.complete_percent == pytest.approx(100.0)
    assert fleet.frequency.boxes == 5 and fleet.frequency.index.median_hz == pytest.approx(50.002, abs=1e-4)
    document = json.loads(written(fleet, "json", NOW_NS))
    assert document["of"] == "all places" and len(document["reports"]) == 3
    assert document["failed"] == ["Site mill"]


def test_only_the_quantities_of_the_standard_are_read() -> None:
    week = golden_week()
    store = stored(week)
    read_fleet(store, EN50160, week, PlaceChoice("box", "4"), NOMINAL)
    asked = {length: names for _, length, names in store.intervals.asked}
    assert asked[3000] == ("signalling_v",)
    assert asked[10_000] == ("f_hz",) and asked[TWO_HOURS_MS] == ("plt",)
    assert (
        asked[TEN_MS] is not None
        and "harmonics_v" in asked[TEN_MS]
        and "interharmonics_v" not in asked[TEN_MS]
    )
    store.intervals.asked.clear()
    read_fleet(store, limit_table("ieee519"), week, PlaceChoice("box", "4"), NOMINAL)
    assert ("4", 3000, ("harmonics_v", "thd_ratio")) in store.intervals.asked


def test_a_wrong_box_weighs_less() -> None:
    rng = np.random.default_rng(7)
    true = 50 + 0.01 * rng.standard_normal(500)
    by_box = {
        str(box): true + spread * rng.standard_normal(500)
        for box, spread in enumerate((1e-3, 1e-3, 1e-3, 0.1))
    }
    found = spread_hz(by_box)
    assert found["3"] > 20 * max(found[each] for each in "012")
    assert spread_hz({"1": true}) == {"1": 1.0}


@pytest.fixture(scope="module")
def pages() -> dict[ReportForm, bytes]:
    week = golden_week(169)
    fleet = read_fleet(stored(week), EN50160, week, PlaceChoice(), NOMINAL)
    forms: tuple[ReportForm, ...] = ("html", "json", "csv")
    return {form: written(fleet, form, NOW_NS) for form in forms}


def test_the_page_is_complete_alone(pages: dict[ReportForm, bytes]) -> None:
    """The page needs nothing beside it and hides nothing."""
    page = pages["html"].decode()
    assert "&lt;b&gt;hall&lt;/b&gt; c" in page and "<b>hall</b>" not in page
    assert not re.search(r'(src|href)="', page) and "@import" not in page and "<script" not in page
    assert "prefers-color-scheme: dark" in page and "--ground" in page
    assert "1 of 3 places did not meet every limit" in page
    assert "Voltage at Box 2, hall b, phase b: 60 of 1014 values of 10 min" in page
    assert "Not confirmed." in page and "one source says it" in page
    assert page.count('class="place"') == 4 and "169 hours" in page


def test_a_frequency_has_three_decimals(pages: dict[ReportForm, bytes]) -> None:
    """Four digits made 50 Hz of it, where the page of indices has 49.997 Hz."""
    page = pages["html"].decode()
    assert page.count("<dd>49.997 Hz</dd>") == 4, "the summary, and three places"
    assert "<dd>50 Hz</dd>" not in page


def test_the_table_has_each_limit_and_box(pages: dict[ReportForm, bytes]) -> None:
    lines = pages["csv"].decode().splitlines()
    rows = list(csv.DictReader(io.StringIO("\n".join(lines))))
    own = [limit for limit in EN50160.limits if limit.quantity != "u2_ratio"]
    assert len(rows) == 5 * len(own) + 3
    low = next(row for row in rows if row["box_id"] == "2" and row["quantity"] == "voltage")
    assert (low["site"], low["phase"], low["verdict"], low["outside"]) == ("mill", "b", "fail", "60")
    assert float(low["share_percent"]) == pytest.approx(100 * 954 / 1014, abs=1e-5)


def test_a_pdf_has_pages() -> None:
    week = golden_week()
    fleet = read_fleet(stored(week), EN50160, week, PlaceChoice("box", "4"), NOMINAL)
    try:
        made = written(fleet, "pdf", NOW_NS)
    except PdfMissingError as error:
        pytest.skip(str(error))
    assert made.startswith(b"%PDF-") and len(made) > 10_000
    again = replace(fleet, reports=())
    assert written(again, "pdf", NOW_NS).startswith(b"%PDF-")  # of nothing there is a page too


def test_a_report_of_nothing_says_so() -> None:
    week = golden_week()
    fleet = read_fleet(StoreInMemory((), WeeksInMemory()), EN50160, week, PlaceChoice(), NOMINAL)
    assert "There is no such place." in written(fleet, "html", NOW_NS).decode()
    assert json.loads(written(fleet, "json", NOW_NS))["complete_percent"] is None
    empty = read_fleet(
        StoreInMemory(RECORDS, WeeksInMemory()), EN50160, week, PlaceChoice("site", "mill"), NOMINAL
    )
    page = written(empty, "html", NOW_NS).decode()
    assert "Nothing could be judged at Site mill" in page and "not assessed" in page


@pytest.mark.parametrize(
    ("error", "helps"),
    [
        (ModuleNotFoundError("No module named 'weasyprint'"), r"pip install 'opq-toolkit\[report\]'"),
        (
            OSError("cannot load library 'libpango': libpango: no file"),
            r"'libpango'\): sudo apt install libpan",
        ),
    ],
)
def test_without_its_library_a_pdf_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, helps: str
) -> None:
    """The module, or the libraries of the system that it loads, may be missing."""

    def without(name: str, *given: object, **named: object) -> object:
        if name == "weasyprint":
            raise error
        return real(name, *given, **named)  # type: ignore[arg-type]

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    week = golden_week()
    fleet = read_fleet(StoreInMemory((), WeeksInMemory()), EN50160, week, PlaceChoice(), NOMINAL)
    with pytest.raises(PdfMissingError, match=helps):
        written(fleet, "pdf", NOW_NS)
