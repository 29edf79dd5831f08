"""What an audience sees of all Boxes now: by columns, read again only where something has changed."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import cast

import numpy as np
import pytest
from open_view import open_services

from opq_cloud.store import BoxRecord, LocationRecord, open_store
from opq_cloud.store.reading_spans import BoxSpans
from opq_cloud.store.records.accounts.account_records import BoxAccess
from opq_cloud.store.stated_facts import LAST_NS
from opq_cloud.view.pages.map.grid_now import medians_of
from opq_cloud.view.pages.map.grid_reader import GridReader
from opq_cloud.view.pages.map.map_drawing import live_state
from opq_cloud.view.pages.visible.fuzz import distance_km
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.visitors import OPEN, VISITOR, RequestFacts, Visitor
from opq_proto.messages import Measurement, Metric

HOME = (21.3, -157.8)


class Grid:
    """Three stored Boxes, and a clock that stands still."""

    def __init__(self, services: ViewServices) -> None:
        self.services = services
        self.now_s = 1000.0
        self.reader = GridReader(VisitorContext(services), services, 2.0, lambda: self.now_s)
        services.store.put_location(LocationRecord("home", *HOME))
        for number in (1, 2, 3):
            services.store.put_box(BoxRecord(str(number), f"name {number}", "home", nominal_v=120.0))

    def send(self, box_id: str, volts: float, **facts: object) -> None:
        self.now_s += 1.0
        metrics = {"rms": Metric(volts, volts, volts), "f": Metric(60, 60, 60.01)}
        row = replace(Measurement(box_id, round(self.now_s * 1000), metrics), **facts)  # type: ignore[arg-type]
        self.services.hub.accept_measurement(row, received_ms=self.services.now_ns() // 1_000_000)

    def levels(self, visitor: Visitor = OPEN) -> dict[str, float | None]:
        """Box -> percent of nominal, as the visitor sees it; None: silent."""
        self.now_s += 1.0
        token = VISITOR.set(visitor)
        try:
            now = self.reader.boxes()
        finally:
            VISITOR.reset(token)
        rows = zip(now.fixed.boxes, now.u_percent.tolist(), now.silent.tolist(), strict=True)
        return {box.box_id: None if silent else round(level, 3) for box, level, silent in rows}


@pytest.fixture
def grid(tmp_path: Path) -> Iterator[Grid]:
    with closing(open_store(None, tmp_path)) as store:
        yield Grid(open_services(store, "beyond_loopback"))


def test_moving_values_do_not_read_boxes_again(grid: Grid) -> None:
    assert grid.levels() == {"1": None, "2": None, "3": None}
    grid.send("2", 120.0)
    assert grid.levels() == {"1": None, "2": 100.0, "3": None}
    before = next(iter(grid.reader._cached.values())).fixed
    grid.send("2", 108.0)
    assert grid.levels()["2"] == 90.0
    grid.send("2", 96.0, crossing=True, metrics={"rms": Metric(96, 96, 96)})
    grid.send("2", float("inf"))
    assert np.isnan(cast(float, grid.levels()["2"])), "heard, but not a number"
    assert next(iter(grid.reader._cached.values())).fixed is before


def test_new_boxes_names_and_nominals_are_seen(grid: Grid) -> None:
    grid.levels()
    grid.send("9", 120.0)
    assert grid.levels()["9"] == 100.0
    grid.services.store.put_box(BoxRecord("9", "attic", nominal_v=240.0))
    assert grid.levels()["9"] == 50.0
    fixed = next(iter(grid.reader._cached.values())).fixed
    assert [box.label for box in fixed.boxes] == [f"Box {k}, name {k}" for k in (1, 2, 3)] + ["Box 9, attic"]


def test_each_audience_has_its_own(grid: Grid) -> None:
    for box_id in "123":
        grid.send(box_id, 120.0)
    public = Visitor(public=frozenset("2"), regional=frozenset("2"))
    owner = Visitor(full=frozenset("1"), public=frozenset("2"), regional=frozenset("12"))
    for _ in range(2):
        assert list(grid.levels(public)) == ["2"]
        assert list(grid.levels(owner)) == ["1", "2"]
        assert list(grid.levels()) == ["1", "2", "3"]
    kept = {each.fixed.boxes[0].box_id: each.fixed for each in grid.reader._cached.values()}
    near = kept["2"].boxes[0]
    assert near.at is not None and distance_km(near.at, HOME) >= 2.0 and not near.exact


def test_a_value_before_the_claim_is_hidden(grid: Grid) -> None:
    """Box 1 has been silent since before its new owner had it; Boxes 2 and 3 have sent since."""
    people, since = grid.services.store.people, ((2_000_000 * 10**6, LAST_NS),)
    for box_id in "123":
        people.change_access(box_id, lambda _, b=box_id: BoxAccess(b, "new", since_ms=2_000_000))
    owner = Visitor(
        own=frozenset("123"), full=frozenset("123"), since=BoxSpans.of(dict.fromkeys("123", since))
    )
    grid.now_s = 1990.0
    grid.send("1", 118.0)
    grid.now_s = 2001.0
    for box_id in "23":
        grid.send(box_id, 120.0)
    assert grid.levels(owner) == {"1": None, "2": 100.0, "3": 100.0}
    assert grid.levels()["1"] == 98.333, "an administrator sees it"
    former = BoxSpans.of({"1": ((1_000_000 * 10**6, 2_000_000 * 10**6),)})
    assert grid.levels(replace(owner, former=former))["1"] == 98.333, "who had it before, too, sees it"
    grid.send("1", 119.0)
    assert grid.levels(owner)["1"] == 99.167


def test_the_state_of_a_map_is_of_now(grid: Grid) -> None:
    token = VISITOR.set(OPEN)
    try:
        grid.send("1", 100.0)
        grid.now_s += 1.0
        state = live_state(grid.reader, None)
        (mark,) = cast(dict[str, dict[str, str]], state["marks"]).values()
        assert state["silent"] is False and mark["tone"] == "silent", "of three at one place the loudest"
        for box_id in "123":
            grid.send(box_id, 100.0)
        grid.now_s += 1.0
        (mark,) = cast(dict[str, dict[str, str]], live_state(grid.reader, None)["marks"]).values()
        assert mark["tone"] == "too-low" and "more than 10 % below nominal" in mark["text"]
    finally:
        VISITOR.reset(token)


def test_medians_of_groups_are_those_of_statistics() -> None:
    values = np.random.default_rng(1).normal(size=200)
    which = np.arange(200) * 7 % 5
    found = medians_of(which, values, 6)
    assert found[5] is None
    for group in range(5):
        assert found[group] == pytest.approx(median(values[which == group].tolist()))


def test_unconfigured_boxes_need_no_store(grid: Grid) -> None:
    visitors = grid.services.visitors
    plain = RequestFacts({"host": "127.0.0.1"}, "127.0.0.1")
    assert visitors.at_once(plain) is None, "nothing is known yet"
    assert visitors.of(plain) == visitors.at_once(plain)
    for header in ("cookie", "authorization"):
        assert visitors.at_once(RequestFacts({**plain.headers, header: "x"}, "127.0.0.1")) is None
    visitors.discard_cached()
    assert visitors.at_once(plain) is None
