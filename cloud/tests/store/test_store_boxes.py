"""Boxes, their places and regions, held by both stores."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from store_cases import NOW_MS

from opq_cloud.store import BoxRecord, CloudStore, LocationRecord
from opq_cloud.store.stated_facts import StatedFact


def test_a_box_comes_back_as_it_was_put(store: CloudStore) -> None:
    box = BoxRecord("10", "Cellar", "oahu-1", 146.8, 230.0, 50.0, unplugged=True)
    store.put_box(box)
    store.put_box(BoxRecord("9", "Roof"))
    found = store.box("10")
    assert found is not None
    assert replace(found, stated=()) == box
    assert [known.box_id for known in store.boxes()] == ["9", "10"]
    assert store.box("11") is None


def test_names_that_look_equal_are_equal(store: CloudStore) -> None:
    """The letter ü in one character, and as u with two points, as macOS writes file names."""
    one, two = "M\u00fcller", "Mu\u0308ller"
    store.put_box(BoxRecord("1", one, site=one, feeder=one, region=one))
    store.put_box(BoxRecord("2", two, site=two, feeder=two, region=two))
    found = store.boxes()
    for fact in ("name", "site", "feeder", "region"):
        assert {getattr(each, fact) for each in found} == {one}
        assert {value for each in found for value in each.values_of(fact)} == {one}


def test_unknown_facts_leave_what_was_known(store: CloudStore) -> None:
    store.put_box(BoxRecord("1", "Cellar", "oahu-1"))
    first = store.box("1")
    assert first is not None and first.location_start_time_ms is not None
    known = BoxRecord("1", "Cellar", "oahu-1", stated=first.stated)
    assert replace(first, unplugged=None) == known, "the original needs `unplugged`, so MongoDB has it"
    store.put_box(BoxRecord("1", "", nominal_v=230.0, nominal_hz=50.0))
    store.put_box(BoxRecord("1", "Cellar", calibration_constant=50.0))
    assert store.box("1") == replace(first, calibration_constant=50.0, nominal_v=230.0, nominal_hz=50.0)


def test_every_fact_returns_and_empty_text_removes(store: CloudStore) -> None:
    """Every fact of a Box comes back and a text is taken away by an empty one."""
    box = BoxRecord(
        "7",
        "Roof",
        "kailua",
        146.8,
        120.0,
        60.0,
        unplugged=True,
        description="above the stairs",
        region="oahu",
        feeder="f2",
        site="mill",
        phase="L1",
        grid="2",
        public_key="k" * 40,
        retired_ms=NOW_MS + 1,
        stated=(
            StatedFact("location", 0, "lihue"),
            StatedFact("retired_ms", 0, None),
            StatedFact("location", NOW_MS - 5, "manoa"),
            StatedFact("location", NOW_MS, "kailua"),
            StatedFact("retired_ms", NOW_MS + 1, NOW_MS + 1),
        ),
    )
    store.put_box(box)
    assert store.box("7") == box
    assert box.location_archive == (("lihue", None), ("manoa", NOW_MS - 5))
    store.put_box(BoxRecord("7", "", feeder="", site="", phase="", grid="", description="", retired_ms=0))
    after = store.box("7")
    assert after is not None
    bare = replace(box, feeder=None, site=None, phase=None, grid=None, description=None, retired_ms=None)
    assert replace(after, stated=()) == replace(bare, stated=())


def test_a_new_box_without_a_name_has_one(store: CloudStore) -> None:
    """The original's index on names is unique: two Boxes without one would be one too many."""
    store.put_box(BoxRecord("12", "", nominal_v=230.0))
    assert [(box.box_id, box.name) for box in store.boxes()] == [("12", "Box 12")]


def test_a_moved_boxs_former_places_are_archived(store: CloudStore) -> None:
    store.put_box(BoxRecord("1", "Cellar", "manoa"), NOW_MS)
    store.put_box(BoxRecord("1", "Cellar", "manoa", region="campus"))
    known = store.box("1")
    assert known is not None and known.location_archive == () and known.location_start_time_ms == NOW_MS
    before_ms = time.time_ns() // 1_000_000
    store.put_box(BoxRecord("1", "", "kailua"))
    moved = store.box("1")
    assert moved is not None and moved.location_start_time_ms is not None
    assert moved.location_start_time_ms >= before_ms
    assert moved.location_archive == (("manoa", NOW_MS),)
    assert moved.region is None, "it was that of the former place"
    store.put_box(BoxRecord("1", "", "manoa"), moved.location_start_time_ms + 1)
    back = store.box("1")
    assert back is not None
    assert back.location_archive == (("manoa", NOW_MS), ("kailua", moved.location_start_time_ms))


def test_concurrent_writers_keep_each_others_fields(
    store: CloudStore, open_again: Callable[[], CloudStore]
) -> None:
    other = open_again()
    store.put_box(BoxRecord("1", "Cellar", "place 0"))
    with ThreadPoolExecutor(2) as pool:
        moves = pool.submit(lambda: [store.put_box(BoxRecord("1", "", f"place {n}")) for n in range(1, 11)])
        gains = pool.submit(
            lambda: [other.put_box(BoxRecord("1", "", calibration_constant=n)) for n in range(1, 11)]
        )
        moves.result(), gains.result()
    box = other.box("1")
    assert box is not None
    assert (box.name, box.location, box.calibration_constant) == ("Cellar", "place 10", 10.0)
    assert [place for place, _ in box.location_archive] == [f"place {n}" for n in range(10)]


def test_places_and_regions_come_back(store: CloudStore) -> None:
    assert (store.locations(), store.regions()) == ({}, {})
    store.put_location(LocationRecord("manoa", 21.31, -157.81, "the campus"))
    store.put_location(LocationRecord("kailua", 21.4, -157.74))
    store.put_location(LocationRecord("manoa", 21.3125, -157.8125, "the campus"))
    assert store.locations() == {
        "kailua": LocationRecord("kailua", 21.4, -157.74, "kailua"),
        "manoa": LocationRecord("manoa", 21.3125, -157.8125, "the campus"),
    }
    for region in ("oahu", "campus", "oahu"):
        store.put_region(region, "manoa")
    assert store.regions() == {"manoa": ("campus", "oahu")}
