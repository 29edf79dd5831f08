"""A correction for the past, then a re-analysis: incidents are as if the facts had been right at once."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mauka.test_mauka_reanalysis import ZERO_NS, again, analyse, put_event, said_of_incidents, sine

from opq_cloud.store import BoxRecord, CloudStore, LocationRecord, open_store

Facts = dict[str, dict[str, Any]]
"""Box -> its facts."""
EARLY_MS = ZERO_NS // 10**6 - 3_600_000
FEEDER: Facts = {each: {"feeder": "f1", "region": "north"} for each in "123"}
WORLDS: dict[str, tuple[Facts, Facts]] = {
    "a Box on another grid": ({}, {"2": {"grid": "island"}}),
    "two Boxes on one grid after all": ({"2": {"grid": "island"}}, {"2": {"grid": "1"}}),
    "each on a grid of its own": ({}, {"1": {"grid": "g1"}, "2": {"grid": "g2"}, "3": {"grid": "g3"}}),
    "another feeder": (FEEDER, {"2": {"feeder": "f2"}}),
    "one feeder after all": ({**FEEDER, "3": {"feeder": "f9"}}, {"3": {"feeder": "f1"}}),
    "another region": (FEEDER, {"3": {"region": "south"}}),
    "another phase": (
        {each: {"phase": "L1"} for each in "123"},
        {"2": {"phase": "L2"}, "3": {"phase": "L3"}},
    ),
    "another place": ({each: {"location": "quay"} for each in "123"}, {"1": {"location": "hill"}}),
    "no place": ({each: {"location": "quay"} for each in "123"}, {"2": {"location": ""}}),
    "all at once": (FEEDER, {"3": {"grid": "g", "feeder": "f2", "region": "south", "location": "hill"}}),
    "another nominal voltage": ({}, {"2": {"nominal_v": 110.0}, "3": {"nominal_v": 240.0}}),
    "another gain": ({"1": {"calibration_constant": 1 / 0.0068}}, {"1": {"calibration_constant": 1 / 0.005}}),
}
QUICK = ("a Box on another grid", "another feeder", "another place", "all at once", "another gain")
"""Worlds that are tried each time."""


def facts_put(store: CloudStore, facts: Facts, since_ms: int | None = None) -> None:
    for box_id, fields in facts.items():
        store.put_box(BoxRecord(box_id, "", **fields), since_ms)


def opened(folder: Path, facts: Facts) -> CloudStore:
    """A dip at three Boxes, one at two, and one at the third later."""
    store = open_store(None, folder)
    for name, latitude in (("quay", 21.0), ("hill", 22.0)):
        store.put_location(LocationRecord(name, latitude, -157.0))
    for box_id in "123":
        store.put_box(BoxRecord(box_id, f"Box {box_id}"))
    facts_put(store, facts)
    for start_s, boxes in ((0, "123"), (100, "12"), (200, "3")):
        waves = [sine(each, start_s, (1.0, 1.1, 0.5 + 0.1 * int(each))) for each in boxes]
        put_event(store, *(replace(each, gain_stated=each.box_id != "1") for each in waves))
    return store


@pytest.mark.parametrize(
    "world", [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in WORLDS]
)
def test_a_correction_is_as_right_facts(world: str, tmp_path: Path) -> None:
    wrong, correction = WORLDS[world]
    right = {each: {**wrong.get(each, {}), **correction.get(each, {})} for each in "123"}
    want = opened(tmp_path / "right", right)
    analyse(want)
    store = opened(tmp_path / "wrong", wrong)
    analyse(store)
    before = said(store)
    assert before != said(want), "the facts change nothing"
    facts_put(store, correction, EARLY_MS)
    assert said(store) == before, "nothing changes by itself"
    report = again(store, 90.0)
    assert said(store) == said(want)
    assert report.incidents, "the report says what changed"
    revision = store.join_revision()
    assert again(store, 90.0).incidents == [] and store.join_revision() == revision
    want.close(), store.close()


def said(store: CloudStore) -> Sequence[object]:
    facts = [store.incident_facts(each.incident_id) for each in store.incidents(limit=100)]
    known = [replace(each, incident_id=0, follows=None) for each in facts if each is not None]
    return [said_of_incidents(store), sorted(known, key=repr)]
