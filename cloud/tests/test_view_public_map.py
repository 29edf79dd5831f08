"""The public map without a server: fuzzed places, windows, outlines, marks, figures of grids and regions."""

import hashlib
import json
import re
from dataclasses import replace
from math import cos, radians

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from map_boxes import grids_now, map_marks, map_summary, regions_now

from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.stated_facts import StatedFact
from opq_cloud.view.pages.map import grid_now, outline
from opq_cloud.view.pages.map.arrival_map import arrival_map, moved_since
from opq_cloud.view.pages.map.grid_now import BoxNow, countable, tone_of
from opq_cloud.view.pages.map.map_drawing import mark_figures
from opq_cloud.view.pages.map.map_frame import HEIGHT, WIDTH, WORLD, MapFrame, frame_at, frame_of, parse_frame
from opq_cloud.view.pages.map.map_marks import CELL_UNITS, ROWS_LISTED, rows_of
from opq_cloud.view.pages.map.outline import outlines_json
from opq_cloud.view.pages.visible.fuzz import (
    KM_PER_DEGREE,
    MAX_RADII,
    SALT_BYTES,
    Place,
    distance_km,
    fuzzed_place,
)
from opq_proto.messages import BoxArrival, Incident

SALT, OTHER_SALT = bytes(range(SALT_BYTES)), bytes(SALT_BYTES)
HONOLULU = (21.297, -157.816)
BOX = BoxNow("1", "Box 1", "1", None, HONOLULU, True, False, 120.0, 60.0, 101.0, 60.01, False)
HIDDEN = replace(BOX, region="oahu", regional=True, u_percent=90.0)
places = st.tuples(st.floats(-84.0, 84.0), st.floats(-180.0, 180.0))


# Fuzzed places
@given(places, st.floats(0.1, 100.0), st.binary(min_size=SALT_BYTES, max_size=SALT_BYTES))
@settings(max_examples=60, deadline=None)
def test_a_hidden_box_keeps_its_distance(at: Place, radius_km: float, salt: bytes) -> None:
    """It is never shown nearer than the radius, nor farther than stated."""
    off_km = distance_km(at, fuzzed_place(at, salt, radius_km))
    assert radius_km <= off_km <= MAX_RADII * radius_km * 1.01


def test_a_hidden_place_is_constant_per_installation() -> None:
    """Another installation shows another place."""
    shown = fuzzed_place(HONOLULU, SALT, 2.0)
    assert {fuzzed_place(HONOLULU, SALT, 2.0) for _ in range(100)} == {shown}
    assert distance_km(shown, fuzzed_place(HONOLULU, OTHER_SALT, 2.0)) > 0.01
    # Another place from a new version of this code would be a second draw, to be averaged with the first.
    assert shown == pytest.approx((21.3005782, -157.8584258), abs=1e-6)


def test_a_houses_boxes_share_a_hidden_place() -> None:
    """So that their mean does not give the house away."""
    house = [(HONOLULU[0] + k * 1e-6, HONOLULU[1] - k * 1e-6) for k in range(100)]
    shown = {fuzzed_place(at, SALT, 2.0) for at in house}
    assert len(shown) == 1


def test_a_known_neighbour_reveals_no_shift() -> None:
    """One vector for all of a cell would give every neighbour away; one place for all of them does not."""
    village = [
        (HONOLULU[0] + row / 1000, HONOLULU[1] + column / 1000) for row in range(36) for column in range(36)
    ]
    assert len({fuzzed_place(at, SALT, 2.0) for at in village}) <= 9  # 4 km x 4 km lie in 3 x 3 cells at most


def test_cells_give_no_direction_away() -> None:
    """Over many cells the places lie all around their Boxes: no common shift could be taken off."""
    north = east = 0
    cells = [(40.0 + 0.1 * row, -100.0 + 0.1 * column) for row in range(20) for column in range(20)]
    for at in cells:
        shown = fuzzed_place(at, SALT, 2.0)
        north += shown[0] > at[0]
        east += shown[1] > at[1]
    assert 150 < north < 250 and 150 < east < 250  # 200 of 400; a standard deviation is 10


@pytest.mark.parametrize(
    ("at", "salt", "radius_km", "named"),
    [
        ((91.0, 0.0), SALT, 1.0, "not a latitude"),
        ((float("nan"), 0.0), SALT, 1.0, "not a latitude"),
        (HONOLULU, b"short", 1.0, "5 bytes"),
        (HONOLULU, SALT, 0.0, "more than 0"),
        (HONOLULU, SALT, float("nan"), "more than 0"),
    ],
)
def test_what_would_hide_nothing_is_refused(at: Place, salt: bytes, radius_km: float, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        fuzzed_place(at, salt, radius_km)


# Windows
def test_a_window_shows_all_boxes_with_margin() -> None:
    """A window around Boxes shows all of them with land around."""
    found = [(21.2, -158.3), (21.7, -157.6), HONOLULU]
    frame = frame_of(found)
    assert all(frame.shows(at) for at in found)
    assert 120 <= frame.km < 300
    assert frame_of([]) == WORLD and frame_of([HONOLULU]).km == pytest.approx(40, rel=1e-6)
    assert frame_of([HONOLULU]).units(HONOLULU) == pytest.approx((WIDTH / 2, HEIGHT / 2))


@given(places, st.floats(5, 40_000))
@settings(max_examples=60, deadline=None)
def test_a_windows_address_gives_it_again(middle: Place, km: float) -> None:
    frame = frame_at(middle, km)
    assert frame.left >= 0 and frame.left + frame.wide <= 1 + 1e-12
    found = dict(part.split("=") for part in frame.query.replace("%2C", ",").split("&"))
    again = parse_frame(found["at"], str(max(5.0, min(40_000.0, float(found["km"])))))
    assert again is not None
    assert again.wide == pytest.approx(frame.wide, rel=0.02)
    assert again.left == pytest.approx(frame.left, abs=0.02 * frame.wide + 1e-6)


def test_a_degree_is_true_to_the_ground() -> None:
    frame = frame_at((45.0, 10.0), 400.0)
    (x, _), (east, _) = frame.units((45.0, 10.0)), frame.units((45.0, 11.0))
    assert (east - x) / frame.units_per_km == pytest.approx(KM_PER_DEGREE * cos(radians(45)), rel=1e-3)


def test_a_window_zooms_around_its_middle() -> None:
    frame = frame_at(HONOLULU, 200.0)
    assert frame.zoomed(0.5).km == pytest.approx(100, rel=0.01)
    assert frame.zoomed(0.5).middle == pytest.approx(frame.middle, abs=1e-6)
    south, west, north, east = frame.corners
    assert frame.units((north, west)) == pytest.approx((0, 0), abs=0.01)
    assert frame.units((south, east)) == pytest.approx((WIDTH, HEIGHT), abs=0.01)
    assert frame.zoomed(1e-9).km == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("at", "km", "named"),
    [
        ("21.3", "100", "latitude and longitude"),
        ("91,0", "100", "latitude and longitude"),
        ("21.3,-157.8", "", "kilometres"),
        ("21.3,-157.8", "nan", "kilometres"),
        ("21.3,-157.8", "1e9", "kilometres"),
        ("21.3,-157.8; drop", "100", "latitude and longitude"),
    ],
)
def test_an_invalid_window_address_is_explained(at: str, km: str, named: str) -> None:
    """The text shows the form."""
    with pytest.raises(ValueError, match=named):
        parse_frame(at, km)


# Outlines
def test_every_outline_has_the_sum_that_is_said() -> None:
    said = dict(
        re.findall(
            r"^\| (countries\S+) \| ([0-9a-f]{64}) \|$", (outline.FOLDER / "OUTLINES.md").read_text(), re.M
        )
    )
    there = {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in outline.FOLDER.glob("*.gz")}
    assert said == there and len(there) == 2


def _features(frame: MapFrame) -> tuple[list[list[list[float]]], list[list[list[float]]]]:
    """Rings of the land and lines between countries, of (longitude, latitude)."""
    land, borders = json.loads(outlines_json(frame))["features"]
    assert (land["geometry"]["type"], borders["geometry"]["type"]) == ("MultiPolygon", "MultiLineString")
    return [area[0] for area in land["geometry"]["coordinates"]], borders["geometry"]["coordinates"]


def _on_land(at: Place, km: float) -> bool:
    """By the rule of evenodd, as a browser fills it."""
    y, x = at
    crossings = 0
    for ring in _features(frame_at(at, km))[0]:
        for (x1, y1), (x2, y2) in zip(ring, ring[1:] + ring[:1], strict=True):
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
                crossings += 1
    return crossings % 2 == 1


def test_cities_stand_on_land_and_oceans_are_none() -> None:
    for km in (300, 3000):
        for city in ((48.1, 11.6), (39.7, -105.0), (-15.8, -47.9), (64.0, 100.0), (67.0, 175.0)):
            assert _on_land(city, km), city
        for ocean in ((0.0, -30.0), (-40.0, -120.0), (20.0, 178.0), (-30.0, 80.0)):
            assert not _on_land(ocean, km), ocean
    assert _on_land((48.1, 11.6), 30_000) and not _on_land((0.0, -30.0), 30_000)
    assert _on_land((-80.0, 0.0), 3000) and not _on_land((-60.0, 0.0), 3000)  # Antarctica, around the pole


def test_outlines_cover_the_window_and_margin() -> None:
    """Outlines cover the window and as much again around it."""
    frame = frame_at(HONOLULU, 120.0)
    near, world = outlines_json(frame), outlines_json(WORLD)
    assert len(near) < 4_000 < 60_000 < len(world) < 160_000
    south, west, north, east = frame_at(HONOLULU, 400.0).corners
    land, _borders = _features(frame)
    assert land and all(west < x < east and south < y < north for ring in land for x, y in ring)
    assert _features(frame_at((48.1, 11.6), 600.0))[1], "countries have borders"


# Figures
def test_a_region_needs_three_hidden_boxes() -> None:
    """A region of fewer than three hidden Boxes has no figures."""
    hidden = [replace(HIDDEN, box_id=str(k), owner=f"owner {k}") for k in range(2)]
    shown = replace(BOX, box_id="9", region="oahu")
    assert countable([*hidden, shown]) == [shown]
    three = [*hidden, replace(hidden[0], box_id="2", owner="owner 2", u_percent=95.0)]
    (region,) = regions_now(countable([*three, shown]))
    assert (region.boxes, region.u_percent, region.regional) == (4, 92.5, True)
    assert countable([replace(each, region=None) for each in three]) == []
    elsewhere = [replace(three[0], box_id="7", region="maui")]
    assert len(countable([*three, *elsewhere])) == 3


def test_few_reporting_hidden_boxes_give_no_figure() -> None:
    """A few reporting hidden Boxes give no figure, even if others of the region are silent."""
    hidden = [replace(HIDDEN, box_id=str(k), owner=f"owner {k}") for k in range(3)]
    silent = [replace(each, silent=True, u_percent=None, f_hz=None) for each in hidden]
    shown = replace(BOX, box_id="9", region="oahu", u_percent=101.0)
    for live in (1, 2):
        (region,) = regions_now(countable([*hidden[:live], *silent[live:]]))
        assert (region.reporting, region.boxes, region.u_percent, region.f_hz) == (live, 3, None, None)
        assert region.state == "too few report for a figure"
        (region,) = regions_now(countable([*hidden[:live], *silent[live:], shown]))
        assert region.u_percent == 101.0
    (grid,) = grids_now(countable(hidden))
    assert grid.u_percent == 90.0
    apart = [replace(hidden[0], grid="2"), *hidden[1:]]  # one region in two grids
    assert [each.u_percent for each in grids_now(countable(apart))] == [None, None]


def test_figures_are_medians_of_boxes_that_report() -> None:
    boxes = [
        replace(BOX, box_id="1", f_hz=60.00),
        replace(BOX, box_id="2", f_hz=60.02, grid="1"),
        replace(BOX, box_id="3", f_hz=12.0),
        replace(BOX, box_id="4", f_hz=None, u_percent=None, silent=True),
        replace(BOX, box_id="5", f_hz=50.01, grid="2", nominal_hz=50.0),
    ]
    first, second = grids_now(boxes)
    assert (first.name, first.boxes, first.reporting, first.f_hz) == ("1", 4, 3, 60.0)
    assert (second.name, second.f_hz, second.nominal_hz) == ("2", 50.01, 50.0)
    assert grids_now([]) == () and regions_now(boxes) == ()


@pytest.mark.parametrize(
    ("u_percent", "tone"),
    [
        (100.0, "normal"),
        (95.0, "normal"),
        (105.0, "normal"),
        (94.9, "low"),
        (90.0, "low"),
        (105.1, "high"),
        (110.0, "high"),
        (89.9, "too-low"),
        (110.1, "too-high"),
        (0.0, "too-low"),
        (None, "silent"),
    ],
)
def test_tones_change_at_5_and_10_percent(u_percent: float | None, tone: str) -> None:
    assert tone_of(u_percent) == tone


def test_the_summary_says_silence_and_what_is_off() -> None:
    silent = replace(BOX, silent=True, u_percent=None)
    assert map_summary([BOX]).startswith("1 Box, and it reports. Voltage is within")
    assert "none of them reporting" in map_summary([silent, silent])
    assert "at 1 of them" in map_summary([BOX, replace(BOX, u_percent=80.0)])
    assert "No Box is shown" in map_summary([])


# Marks
def test_a_late_box_is_marked_late() -> None:
    """On the map and in its table."""
    box = replace(BOX, box_id="1", at=(21.3, -157.8), u_percent=100.0, late_s=47.0)
    (mark,) = map_marks([box], (), frame_at(HONOLULU, 120.0), 2.0)
    assert mark.text == "Box 1: 100.0\u202f%, within 5 % of nominal, late by 40\u202fs"
    assert mark_figures(mark)["state"] == "within 5 % of nominal, late by 40\u202fs"
    assert mark.tone == "normal", "late is not silent"


def test_the_worst_mark_lies_on_top() -> None:
    """Each Box has its mark and the loudest lies on top."""
    boxes = [
        replace(BOX, box_id="1", at=(21.3, -157.8), silent=True, u_percent=None),
        replace(BOX, box_id="2", at=(21.4, -157.9), u_percent=93.0),
        replace(BOX, box_id="3", at=None),
        replace(BOX, box_id="4", at=(60.0, 10.0)),
        replace(BOX, box_id="5", regional=True),
    ]
    marks = map_marks(boxes, (), frame_at(HONOLULU, 120.0), 2.0)
    assert [(mark.mark_id, mark.tone) for mark in marks] == [("box-2", "low"), ("box-1", "silent")]
    assert marks[0].text == "Box 1: 93.0\u202f%, 5 to 10 % below nominal"
    assert (
        marks[0].href == "/boxes/2"
        and marks[0].doubt_km == 0
        and marks[0].at == pytest.approx((21.4, -157.9), abs=1e-6)
    )
    rough = map_marks([replace(boxes[1], exact=False)], (), frame_at(HONOLULU, 120.0), 2.0)
    assert rough[0].doubt_km == pytest.approx(2.0 * MAX_RADII) and rough[0].rough


def test_boxes_at_a_place_share_a_mark() -> None:
    boxes = [replace(BOX, box_id=str(k), label=f"Box {k}", u_percent=100.0 + k) for k in range(5)]
    (mark,) = map_marks(boxes, (), frame_at(HONOLULU, 120.0), 2.0)
    assert (mark.boxes, mark.label, mark.pages, mark.u_percent) == (5, "5 Boxes", (), 104.0)
    assert "5 of 5 Boxes report" in mark.text and mark.href.endswith("&km=30.0"), "a closer window"
    (closest,) = map_marks(boxes, (), frame_at(HONOLULU, 5.0), 2.0)
    assert closest.href == ""
    (few,) = map_marks(boxes[:2], (), frame_at(HONOLULU, 120.0), 2.0)
    assert few.href == f"#{few.mark_id}" and few.pages == (("Box 0", "/boxes/0"), ("Box 1", "/boxes/1"))


def test_an_incidents_map_shares_marks_by_place() -> None:
    """Boxes at one place share a mark of an incident's way."""
    places = {"1": HONOLULU, "2": HONOLULU, "3": HONOLULU, "4": (22.0, -159.5)}
    arrivals = tuple(
        BoxArrival(box_id, 10**18 + k * 3_000, 1_000, "1" if k else None) for k, box_id in enumerate(places)
    )
    start_ns = 10**18
    incident = Incident(
        1, "sag", tuple(places), (1,), start_ns, start_ns + 10**8, True, 80.0, (), arrivals=arrivals
    )
    found = arrival_map(incident, places, {})
    assert found is not None
    assert found.marks == [(HONOLULU, "1, 2, 3"), ((22.0, -159.5), "4")]
    assert [each.after_words for each in found.arrivals][:2] == ["first", "3\u202f\u00b5s later"]


def test_a_moved_box_is_not_on_the_map() -> None:
    """An incident's map has no mark where a Box is now that was elsewhere then."""
    moved = BoxRecord(
        "1", "", "new", stated=(StatedFact("location", 0, "old"), StatedFact("location", 10**6, "new"))
    )
    records = {"1": moved, "2": BoxRecord("2", "", "new")}
    assert (moved_since(records, 5), moved_since(records, 10**12)) == ({"1"}, set())


def test_thousands_of_boxes_make_a_limited_map() -> None:
    boxes = [
        replace(BOX, box_id=str(k), at=(21.0 + (k % 100) / 100, -158.5 + (k // 100) / 100))
        for k in range(4_000)
    ]
    marks = map_marks(boxes, (), frame_of([each.at for each in boxes if each.at]), 2.0)
    assert sum(mark.boxes for mark in marks) == 4_000
    assert len(marks) <= (WIDTH / CELL_UNITS) * (HEIGHT / CELL_UNITS) and len(rows_of(marks)) <= ROWS_LISTED


def test_a_region_has_a_rounded_mark() -> None:
    """At a tenth of a degree."""
    hidden = [
        replace(HIDDEN, box_id=str(k), owner=f"owner {k}", at=(21.31 + k / 50, -157.83)) for k in range(3)
    ]
    (mark,) = map_marks(hidden, regions_now(countable(hidden)), frame_at(HONOLULU, 120.0), 2.0)
    assert (mark.mark_id, mark.boxes, mark.href) == ("region-oahu", 3, "")
    assert regions_now(hidden)[0].at == (21.3, -157.8)
    assert set(grid_now.TONES) == set(grid_now.LOUDEST)
