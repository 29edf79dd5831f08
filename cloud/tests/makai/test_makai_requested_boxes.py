"""Whom a decision asks: on closed-form grids, without sockets; and how much a minute."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from judged_triggers import note_heard

from opq_cloud.core.original.original_settings import read_config
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.makai_settings import AskingSection, TriggeringServiceSection
from opq_cloud.makai.openings.openings import EventOpenings
from opq_cloud.makai.openings.request_budget import BYTES_PER_S, RequestBudget, bytes_of_half_cycles
from opq_cloud.makai.requested_boxes import BoxPlaces
from opq_cloud.makai.triggering_boxes import BoxRegister
from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.box_place import BoxPlace
from opq_proto.decision import Decision, Nominal
from opq_proto.errors import ConfigError, StoreError
from opq_proto.messages import Measurement, Metric
from opq_proto.wire.frames import command_from_wire

LIMITS = AskingSection()
SECOND_NS = 10**9
DIP = Decision("rms", 90.0, 108.0, "threshold: rms 90 V below 108")


def grid_of(feeders: int, boxes: int) -> dict[str, BoxPlace]:
    """Feeders in a line 2 km apart, their Boxes 10 m apart; ten feeders are a region."""
    return {
        str(1000 + feeder * boxes + k): BoxPlace(
            feeder=f"f{feeder}",
            region=f"r{feeder // 10}",
            latitude=21.0 + feeder * 0.018 + k * 9e-5,
            longitude=-157.8,
        )
        for feeder in range(feeders)
        for k in range(boxes)
    }


class JudgedGrid:
    """Openings over a store of their own, all Boxes heard, and the commands that go out."""

    def __init__(self, store: CloudStore, places: dict[str, BoxPlace], **asking: int) -> None:
        self.now_s = 0.0
        self.counters = ServiceCounters()
        self.boxes = BoxRegister(Nominal(120.0, 60.0), lambda: self.now_s)
        self.boxes.places = BoxPlaces(places)
        for box_id in places:
            note_heard(self.boxes, box_id, 0, (0, SECOND_NS))
        section = replace(TriggeringServiceSection(), asking=replace(LIMITS, **asking))
        self.openings = EventOpenings(section, "test", self.boxes, self.counters)
        self.commands: list[bytes] = []
        self.accepted: list[Measurement] = []
        self.store = store

        def send(command: bytes) -> bool:
            self.commands.append(command)
            return True

        self.openings.begin(store, send, self.accepted.append)

    def see(
        self,
        box_id: str,
        at_s: float,
        decision: Decision = DIP,
        length_s: float = 1.0,
        least_v: float = 90.0,
        stored: bool = False,
    ) -> bool:
        end_ns = round((1000 + at_s) * SECOND_NS)
        start_ns = end_ns - round(length_s * SECOND_NS)
        row = Measurement(box_id, end_ns // 10**6, {"rms": Metric(least_v, 120, 119)}, start_ns, end_ns)
        row = replace(row, crossing=length_s < 1.0)
        return self.openings.open_at_onset(row, decision, stored=stored)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    made = open_store(None, tmp_path / "store")
    yield made
    made.close()


def test_boxes_without_facts_are_all_asked() -> None:
    asked = BoxPlaces().requested_boxes("2", ["1", "2", "10"], LIMITS)
    assert asked.by_reason == (("saw", ("2",)), ("no_place", ("10", "1")))
    assert asked.left_out == 0


def test_neighbours_and_witnesses_are_chosen() -> None:
    """Neighbours come by feeder distance and region and witnesses from elsewhere."""

    def at(feeder: str, region: str, north_km: float, grid: str = "1") -> BoxPlace:
        return BoxPlace(
            grid, feeder=feeder, region=region, latitude=21.0 + north_km / 111.2, longitude=-157.8
        )

    places = BoxPlaces(
        {
            "1": at("f1", "r1", 0),
            "2": at("f1", "r1", 9),
            "3": at("f1", "r1", 7),
            "4": at("f2", "r2", 1),
            "5": at("f3", "r1", 30),
            "6": at("f4", "r3", 40),
            "7": at("f5", "r3", 50),
            "8": at("f6", "r4", 90),
            "9": at("f1", "r1", 0, grid="2"),
        }
    )
    heard = [str(k) for k in range(1, 12)]
    asked = places.requested_boxes("1", heard, LIMITS)
    assert dict(asked.by_reason) == {
        "saw": ("1",),
        "feeder": ("3", "2"),
        "near": ("4",),
        "region": ("5",),
        "no_place": ("10", "11"),
        "witness": ("6", "8", "7", "9"),
    }
    few = places.requested_boxes("1", heard, replace(LIMITS, most_boxes=5, most_witnesses=2))
    assert dict(few.by_reason) == {"saw": ("1",), "feeder": ("3", "2"), "witness": ("6", "8")}
    assert few.left_out == 6
    assert places.requested_boxes("1", heard[::-1], LIMITS) == asked, "the order of hearing does not matter"
    north = places.requested_boxes("7", heard, LIMITS)
    assert north.by_reason[0] == ("saw", ("7",)) and dict(north.by_reason)["region"] == ("6",)
    without = places.requested_boxes("1", [each for each in heard if each != "1"], LIMITS)
    assert without == asked, "who saw it need not be among them"


def test_each_region_of_a_box_counts() -> None:
    """A location may be in several: neighbours share any of them, a witness stands for each of its own."""

    def at(north_km: float, *regions: str) -> BoxPlace:
        latitude = 21.0 + north_km / 111.2
        return BoxPlace(region=regions[0], further_regions=regions[1:], latitude=latitude, longitude=-157.8)

    places = {
        "1": at(0, "r1", "r2"),
        "2": at(30, "r2"),
        "3": at(20, "r3", "r1"),
        "4": at(40, "r4"),
        "5": at(50, "r6", "r5"),
        "6": at(60, "r4", "r5", "r6"),
        "7": at(71, "r7", "r4"),
    }
    found = BoxPlaces(places)
    asked = found.requested_boxes("1", list(places), LIMITS)
    expected = {"saw": ("1",), "region": ("3", "2"), "witness": ("4", "5", "7", "6")}
    assert dict(asked.by_reason) == expected
    assert dict(found.requested_boxes("2", list(places), LIMITS).by_reason)["region"] == ("1",)
    several = found.requested_boxes("6", list(places), LIMITS)
    assert dict(several.by_reason)["region"] == ("5", "7", "4")


def test_boxes_join_while_one_region_has_room(store: CloudStore) -> None:
    """Two districts of one island: the limit of the island ends no district's."""
    places = {
        str(1000 + k): BoxPlace(region="island", further_regions=("north" if k < 20 else "south",))
        for k in range(40)
    }
    grid = JudgedGrid(store, places, most_boxes=1)
    for box_id in places:
        grid.see(box_id, 0.0)
    (event,) = store.events()
    joined = [
        places[box_id].further_regions[0] for box_id in event.boxes_triggered if box_id != event.opened_by
    ]
    assert (joined.count("north"), joined.count("south")) == (10, 10)


def test_a_dip_at_one_feeder_asks_sixty_boxes(store: CloudStore) -> None:
    """A dip at one feeder of ten thousand Boxes asks sixty at most."""
    places = grid_of(feeders=100, boxes=100)
    grid = JudgedGrid(store, places)
    feeder = [box_id for box_id, place in places.items() if place.feeder == "f50"]
    for k, box_id in enumerate(feeder):
        grid.see(box_id, at_s=k / 200)
    grid.openings.advance(10.0)
    (event,) = store.events()
    assert len(event.boxes_triggered) == len(set(grid.commands)) == 60
    assert str(command_from_wire(grid.commands[0]).box_id) == event.opened_by == feeder[0]
    asked = {reason: len(boxes) for reason, boxes in event.asked_as.items()}
    assert asked == {"saw": 11, "feeder": 37, "witness": 12}
    assert event.not_asked == {"bound": 9950, "saw": 52}
    assert grid.counters.of("boxes_not_asked", "bound") == 9950
    assert grid.counters.of("boxes_not_asked", "saw_bound") == 52
    info = grid.openings.health().info or ""
    assert "asked 60 times a Box for 4.5 MB; did not ask 10002 times: bound 9950, saw_bound 52" in info


def test_a_wide_area_dip_asks_two_hundred_boxes(
    store: CloudStore,
) -> None:
    """A wide area dip of ten thousand Boxes asks two hundred at most on many feeders."""
    places = grid_of(feeders=100, boxes=100)
    grid = JudgedGrid(store, places)
    for k, box_id in enumerate(places):  # feeder after feeder, as the worst case
        grid.see(box_id, at_s=k / 10_000)
    (event,) = store.events()
    assert len(event.boxes_triggered) == len(grid.commands) == 200
    feeders = {places[box_id].feeder for box_id in event.boxes_triggered}
    assert len(feeders) >= 15
    grid.openings.advance(10.0)
    (event,) = store.events()
    joined = len(event.asked_as["saw"]) - 1
    assert joined == 150 and event.not_asked["bound"] == 9950
    seen = 10_000 - len(event.asked_as["saw"]) - event.not_asked["saw"]
    assert 0 < seen < 50, "the others of the first fifty saw it too, and their samples are on their way"


def test_a_located_transient_is_requested_short(
    store: CloudStore,
) -> None:
    """A transient that a gateway found is three tenths of a second and its window is it too."""
    grid = JudgedGrid(store, grid_of(2, 3))
    edge = Decision("edge_impulsive_transient", 40.0, 0.0, "detector at the gateway: 40")
    assert grid.see("1000", 0.5, edge, 0.02, 119.0)
    assert grid.see("1001", 0.52, edge, 0.02, 119.0) is False, "it was asked"
    assert not grid.see("1000", 0.9, replace(DIP, metric="trans"), least_v=119.0)
    (event,) = store.events()
    assert event.end_ns - event.start_ns == pytest.approx(0.3 * SECOND_NS, abs=2)
    assert grid.see("1000", 0.49, length_s=0.016), (
        "a dip or a change of the rms is more than a transient's event has"
    )
    assert next(event.end_ns - event.start_ns for event in store.events()) > 2 * SECOND_NS


@pytest.mark.parametrize(
    ("metric", "length_s"),
    [
        ("rms", 3.1),
        ("thd", 3.1),
        ("h5", 3.1),
        ("f", 10.0),
        ("flicker", 7.0),
        ("edge_mains_signalling", 5.05),
    ],
)
def test_each_class_has_its_span(store: CloudStore, metric: str, length_s: float) -> None:
    """A class is asked for as long as it needs."""
    grid = JudgedGrid(store, grid_of(2, 3))
    assert grid.see("1000", 0.0, replace(DIP, metric=metric))
    (event,) = store.events()
    assert (event.end_ns - event.start_ns) / SECOND_NS == pytest.approx(length_s)


def test_a_flapping_box_is_limited_to_its_budget(store: CloudStore) -> None:
    """A wavering Box is asked alone, then not at all, and takes no place of others."""
    size = round(3.1 * BYTES_PER_S)
    grid = JudgedGrid(
        store,
        grid_of(1, 10),
        bytes_per_min_by_box=20 * size,
        bytes_per_min_of_box=12 * size,
        bytes_per_min=400 * size,
    )
    asked = []
    for k in range(14):
        before = len(grid.commands)
        grid.see("1000", at_s=10.0 * k)
        asked.append(len(grid.commands) - before)
    assert asked == [10, 10, 3, *[1] * 9, 0, 0]
    assert grid.counters.of("decisions_not_asked", "1000") == 2
    assert grid.counters.of("boxes_not_asked", "budget_by_box") > 0
    before = len(grid.commands)
    grid.see("1005", at_s=500.0)
    assert len(grid.commands) - before == 9, "another Box asks all that have something left"
    grid.now_s = 60.0
    for box_id in grid_of(1, 10):
        note_heard(grid.boxes, box_id, 60_000)
    before = len(grid.commands)
    grid.see("1000", at_s=600.0)
    assert len(grid.commands) - before == 10, "a minute later it has a minute's bytes"


def test_the_last_quarter_is_for_seeing_boxes() -> None:
    """The last quarter of the limit is kept for Boxes that saw the event."""
    clock = [0.0]
    budget = RequestBudget(replace(LIMITS, bytes_per_min=1_000_000), lambda: clock[0])
    others = [f"o{k}" for k in range(20)]
    asked, refused = budget.spend(("1",), others, 100_000)
    assert len(asked) == 7 and refused == {"budget_of_all": 14}
    for k in (2, 3, 4):
        assert budget.spend((str(k),), others, 100_000)[0] == (str(k),)
    assert budget.spend(("5",), others, 100_000) == ((), {"budget_of_all": 1})
    clock[0] = 6.0
    assert budget.spend(("5",), others, 100_000)[0] == ("5",)


@pytest.mark.parametrize(("budget", "asked_bytes"), [(150_000, None), (200_000, 96_000 + 42_480)])
def test_half_cycles_come_out_of_the_budgets(store: CloudStore, budget: int, asked_bytes: int | None) -> None:
    """A minute of dip, whose end alone is sampled: 4 s of samples, 59 s of half cycles."""
    grid = JudgedGrid(store, {"1": BoxPlace()}, bytes_per_min_of_box=budget)
    for first_s in (1000, 1100) if asked_bytes is None else (1000,):  # of the second one nothing is left
        span_ns = ((first_s + 55) * SECOND_NS, (first_s + 57) * SECOND_NS)
        end = Decision("rms", 70.0, 108.0, "its end", span_ns, since_ns=first_s * SECOND_NS)
        grid.openings.note_end("1", end, 0.0)
        grid.openings.advance(10.0)
    (event,) = store.events()
    assert event.half_cycles_ns == (999 * SECOND_NS, 1058 * SECOND_NS) and len(grid.commands) == 1
    refused = grid.counters.of("boxes_not_asked", "budget_of_box")
    assert refused == (asked_bytes is None)
    assert asked_bytes is None or grid.counters.total("asked_bytes") == asked_bytes
    assert bytes_of_half_cycles((0, 3600 * SECOND_NS)) == 220_000, "an hour comes in as many points as 166 s"


def test_a_refused_join_is_repeated_once(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Box that the store lets not join joins later and is asked once."""
    grid = JudgedGrid(store, grid_of(1, 3), most_boxes=1)
    grid.see("1000", 0.0)

    def refused(*_: object) -> None:
        raise StoreError("the database is away")

    with monkeypatch.context() as away:
        away.setattr(store, "widen_event", refused)
        assert grid.see("1001", 0.0, stored=True), "its Measurement goes with the event"
        assert not grid.see("1001", 0.5, stored=True)
        grid.openings.advance(10.0)
        assert (grid.accepted, len(grid.commands)) == ([], 1)
    grid.openings.advance(20.0)
    grid.openings.advance(30.0)
    (event,) = store.events()
    assert event.boxes_triggered == ("1000", "1001")
    assert ([each.box_id for each in grid.accepted], len(grid.commands)) == (["1001"], 2)


def test_an_invalid_setting_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cloud.toml"
    path.write_text("[triggering_service.asking]\nmost_boxes = 0\nmost_boxs = 3\n")
    with pytest.raises(ConfigError) as caught:
        read_config([path])
    text = str(caught.value)
    assert "triggering_service.asking.most_boxes" in text and "1 to 1_000" in text
    assert 'did you mean "most_boxes"?' in text
