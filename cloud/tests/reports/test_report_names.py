"""One event has one name in a report, and a row counts what it names: a Box, or a site."""

import pytest
from golden_weeks import disturbance, golden_week, place_of
from stored_weeks import StoreInMemory, WeeksInMemory

from opq_cloud.reports.as_json import report_json
from opq_cloud.reports.fleet_reading import read_fleet
from opq_cloud.reports.indices import FleetIndices, indices_table
from opq_cloud.reports.limit_table import limit_table
from opq_cloud.reports.place_indices import BoxIndices, PlaceIndices
from opq_cloud.reports.place_reading import PlaceChoice
from opq_cloud.reports.week_report import named_by_standard, site_events, week_report
from opq_cloud.store.box_record import BoxRecord
from opq_measure.standards.event_tables import SiteEvent, sarfi_of
from opq_proto.decision import Nominal
from opq_proto.messages import Disturbance

WEEK = golden_week()
NOMINAL = Nominal(230.0, 50.0)
Low = tuple[str, float, float, float]
"""Box, second of the week, seconds, residual voltage in percent."""


def stored(*low: Low, boxes: int, kind: str = "interruption") -> StoreInMemory:
    """A site of so many phases; the gateway begins an interruption at 10 %, and calls a deeper dip one."""
    events: list[Disturbance] = []
    for box_id, at_s, seconds, percent in low:
        of_gateway = kind if percent < 10 else "dip"
        events.append(disturbance(WEEK, of_gateway, at_s, seconds, percent, box_id))
    site = "mill" if boxes > 1 else None
    records = [BoxRecord(str(n + 1), f"Box {n + 1}", site=site, phase="abc"[n]) for n in range(boxes)]
    return StoreInMemory(records, WeeksInMemory({}, events))


@pytest.mark.parametrize("standard", ["en50160", "iec61000-2-2", "ieee519"])
@pytest.mark.parametrize(
    ("low", "boxes", "en", "ieee"),
    [
        ([("1", 10, 0.19, 8.9)], 1, "dip", "interruption"),
        ([("1", 10, 0.19, 4.9)], 1, "interruption", "interruption"),
        ([("1", 10, 0.19, 5.0)], 1, "dip", "interruption"),
        ([("1", 10, 0.19, 10.0)], 1, "dip", "dip"),
        ([("1", 10, 400.0, 7.0)], 1, "dip", "interruption"),
        ([("1", 10, 400.0, 0.1)], 1, "interruption", "interruption"),
        ([("1", 10, 0.2, 8.0), ("2", 10, 0.2, 8.0), ("3", 10, 0.2, 8.0)], 3, "dip", "interruption"),
        ([("1", 10, 0.2, 1.0), ("2", 10, 0.2, 1.0), ("3", 10, 0.2, 1.0)], 3, "interruption", "interruption"),
        ([("1", 10, 0.2, 1.0), ("2", 10, 0.2, 1.0), ("3", 10, 0.2, 60.0)], 3, "dip", "dip"),
        ([("1", 10, 0.2, 1.0)], 3, "dip", "dip"),
        ([("1", 10, 0.2, 1.0), ("2", 10, 0.2, 1.0), ("3", 10, 0.2, 6.0)], 3, "dip", "interruption"),
        ([("2", 10, 400.0, 0.5)], 3, "dip", "dip"),
    ],
)
def test_an_event_has_one_name_in_a_report(
    low: list[Low], boxes: int, en: str, ieee: str, standard: str
) -> None:
    kind = ieee if standard == "ieee519" else en
    place = PlaceChoice("site", "mill") if boxes > 1 else PlaceChoice("box", "1")
    table = limit_table(standard)
    found = report_json(read_fleet(stored(*low, boxes=boxes), table, WEEK, place, NOMINAL).reports[0])
    assert [each["class"] for each in found["events"]] == [kind]
    assert any(f"1 {kind} began" in line for line in found["sentences"])
    lost = [(box["interruptions"] or 0) + (box["short_interruptions"] or 0) for box in found["boxes"]]
    assert lost == [1 if kind == "interruption" else 0] * boxes
    assert any("had 1 interruption" in line for line in found["sentences"]) == (
        kind == "interruption" and low[0][2] > table.long_interruption_s
    )


@pytest.mark.parametrize(
    ("events", "above", "below"),
    [
        ([("swell", 0, 115), ("dip", 0, 75)], 1, 1),
        ([("dip", 0, 75), ("swell", 0, 115)], 1, 1),
        ([("swell", 0, 115), ("dip", 30, 40)], 1, 1),
        ([("swell", 0, 130), ("dip", 59, 89)], 1, 1),
        ([("dip", 0, 30), ("swell", 10, 112), ("dip", 20, 80)], 1, 1),
        ([("swell", 0, 112), ("dip", 10, 30), ("swell", 20, 118)], 1, 1),
        ([("swell", 0, 112), ("swell", 70, 118), ("dip", 75, 50)], 2, 1),
        ([("dip", 0, 50), ("dip", 61, 50), ("swell", 62, 111)], 1, 2),
        ([("interruption", 0, 1), ("swell", 1, 125)], 1, 1),
        ([("swell", 0, 109), ("dip", 1, 75)], 0, 1),
        ([("swell", 0, 115), ("dip", 1, 91)], 1, 0),
    ],
)
def test_a_dip_hides_no_swell(events: list[tuple[str, float, float]], above: int, below: int) -> None:
    found = sarfi_of([SiteEvent(kind, round(at_s * 1e9), 0.5, percent) for kind, at_s, percent in events])
    assert (dict(found.beyond)[110.0], dict(found.beyond)[90.0]) == (above, below)


def test_a_row_counts_what_it_names() -> None:
    """Box 2 had one dip and Boxes 3 and 4 two, one of which all three had; the site had two."""
    low: list[Low] = [(box, 10.0, 0.15, 31.0) for box in "123"]
    low += [("2", 700.0, 0.1, 44.0), ("3", 700.05, 0.1, 88.0)]
    store = stored(*low, boxes=3)
    boxes = named_by_standard(
        [
            box
            for report in read_fleet(store, limit_table("en50160"), WEEK, PlaceChoice(), NOMINAL).reports
            for box in report.place.boxes
        ],
        5.0,
    )
    phases = week_report(limit_table("en50160"), WEEK, place_of()).phases[0]
    own = tuple(
        BoxIndices(
            box.box_id,
            box.label,
            "mill",
            None,
            phases.supply,
            100.0,
            0.0,
            230.0,
            sarfi_of(site_events([box], WEEK)),
            len(site_events([box], WEEK)),
        )
        for box in boxes
    )
    joined = sarfi_of(site_events(boxes, WEEK))
    place = PlaceIndices("Site mill", "mill", None, own, joined, own)
    fleet = FleetIndices(WEEK, "all places", 180.0, (place,), {}, None)  # type: ignore[arg-type]
    rows = [*indices_table(fleet).rows]
    assert [(row["row"], row["box_id"], row["sarfi_90"]) for row in rows] == [
        ("box", "1", 1),
        ("box", "2", 2),
        ("box", "3", 2),
        ("site", None, 2),
    ]
