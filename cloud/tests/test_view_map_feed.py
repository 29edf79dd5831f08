"""What open maps are sent by the live feed: their state each second, made once for all of an audience."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import demo
import pytest
from open_view import open_services

from opq_cloud.store import BoxRecord, LocationRecord, open_store
from opq_cloud.view.pages.map import map_feed
from opq_cloud.view.pages.map.grid_reader import GridReader
from opq_cloud.view.pages.map.map_drawing import live_state
from opq_cloud.view.pages.map.map_feed import MapFeeds, MapPosition
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.shares import REQUEST_SHARE, FairShares, RequestShare, in_thread
from opq_cloud.view.web.visitors import OPEN, Visitor
from opq_proto.errors import StoreError
from opq_proto.messages import Measurement, Metric

HOME = (21.3, -157.8)
REGIONAL = frozenset("345")
STRANGER = Visitor(public=frozenset("1"), regional=REGIONAL)
OWNER = Visitor(public=frozenset("1"), full=frozenset("2"), regional=REGIONAL)
NARROW = "at=21.3,-157.8&km=50"


@dataclass
class Maps:
    """Six stored Boxes: one public, one owned, three of a region, one without owner; a set clock."""

    services: ViewServices
    now_s: float = 1000.0
    taken: dict[tuple[str, str], MapPosition | None] = field(default_factory=dict)
    states: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reader = GridReader(VisitorContext(self.services), self.services, 2.0, lambda: self.now_s)
        self.feeds = MapFeeds(self.reader, self.services.counters, lambda: self.now_s)

    def place(self, box_id: str, name: str, region: str = "", off: float = 0.0) -> None:
        store = self.services.store
        store.put_location(LocationRecord(f"at {box_id}", HOME[0] + off, HOME[1] + off))
        store.put_box(BoxRecord(box_id, name, f"at {box_id}", nominal_v=120.0, region=region))

    def send(self, box_id: str, volts: float) -> None:
        self.now_s += 0.01
        metrics = {"rms": Metric(volts, volts, volts), "f": Metric(60, 60, 60.01)}
        row = Measurement(box_id, round(self.now_s * 1000), metrics)
        self.services.hub.accept_measurement(row, received_ms=self.services.now_ns() // 1_000_000)

    def take(self, who: str, visitor: Visitor, window: str = "") -> bytes:
        """What a map is sent now."""
        asked = self.feeds.read_after(
            visitor, window, MapFeeds.read_windows([window])[window], self.taken.get((who, window))
        )
        text, self.taken[who, window], _ = asyncio.run(_made(asked))
        for each in filter(None, text.decode().split("\n\n")):
            facts = json.loads(each.partition("data: ")[2])
            assert facts["map"] == window
            self.states[who, window] = facts["state"]
        return text

    def asked(self, visitor: Visitor, window: str = "") -> dict[str, Any]:
        """What a map that asks for its state is answered."""
        text = asyncio.run(self.feeds.state_text(visitor, MapFeeds.read_windows([window])[window]))
        found: dict[str, Any] = json.loads(text.body)
        return found


async def _made(asked: Any) -> Any:
    return await asked


@pytest.fixture
def maps(tmp_path: Path) -> Iterator[Maps]:
    with closing(open_store(None, tmp_path)) as store:
        now_ns = 10**18
        made = Maps(open_services(store, "beyond_loopback", now_ns=lambda: now_ns))
        for number in range(1, 7):
            region = "north" if str(number) in REGIONAL else ""
            made.place(str(number), f"room {number}", region, number / 10)
            store.people.claim_box(str(number), f"owner {number}")
            made.send(str(number), 120.0)
        yield made


def test_the_feed_gives_the_requested_state(maps: Maps) -> None:
    """For each audience and window, whatever moves, comes and goes."""
    people = {"everything": OPEN, "owner": OWNER, "stranger": STRANGER}
    store, hub = maps.services.store, maps.services.hub
    demo.put_together(store, 1, demo.findings_in([demo.waveform_of(demo.OUTLETS[0], 10**18)]))
    (incident,) = store.incidents()
    assert incident.box_ids == ("1",)
    steps = [
        lambda: maps.send("1", 100.0),
        lambda: maps.send("2", 131.0),
        lambda: [maps.send(box_id, 117.0) for box_id in "345"],
        lambda: hub.accept_incident(incident),
        lambda: hub.drop_incident(incident.incident_id),
        lambda: maps.place("2", "attic", off=0.9),
        lambda: maps.place("3", "barn"),
        lambda: None,
    ]
    for step in [lambda: None, *steps]:
        step()
        maps.now_s += 1.0
        for who, visitor in people.items():
            for window in ("", NARROW):
                maps.take(who, visitor, window)
                assert maps.states[who, window] == maps.asked(visitor, window), (who, window)


def test_a_map_shows_what_its_visitor_may(maps: Maps) -> None:
    """It shows no more than that."""
    texts = {
        who: maps.take(who, visitor).decode()
        for who, visitor in {"everything": OPEN, "owner": OWNER, "stranger": STRANGER}.items()
    }
    named = {who: {n for n in "123456" if f"room {n}" in text} for who, text in texts.items()}
    assert named == {"everything": set("123456"), "owner": set("12"), "stranger": set("1")}
    assert "region north u" in texts["stranger"]
    before = maps.taken["stranger", ""]
    hidden = Visitor(
        regional=REGIONAL | {"1"}
    )  # its owner hides Box 1: the next second is of the new audience
    maps.now_s += 1.0
    text = maps.take("stranger", hidden)
    assert text and b"room 1" not in text and b"box-1" not in text
    now = maps.taken["stranger", ""]
    assert before is not None and now is not None and now.feed is not before.feed
    assert maps.states["stranger", ""] == maps.asked(hidden)


def test_one_audiences_maps_share_their_bytes(maps: Maps, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes are made once."""
    made: list[object] = []

    def counted(*args: Any) -> dict[str, object]:
        made.append(args)
        return live_state(*args)

    monkeypatch.setattr(map_feed, "live_state", counted)
    wholes = [maps.take(f"map {n}", STRANGER) for n in range(5)]
    assert all(each is wholes[0] for each in wholes) and len(made) == 1
    assert [maps.take(f"map {n}", STRANGER) for n in range(5)] == [b""] * 5, "the second has not gone by"
    maps.now_s += 1.0
    maps.send("1", 125.0)
    seconds = [maps.take(f"map {n}", STRANGER) for n in range(5)]
    assert all(each is seconds[0] for each in seconds) and seconds[0] != wholes[0] and len(made) == 2


def test_a_late_map_gets_the_newest_state(maps: Maps) -> None:
    """What it lost is counted."""
    maps.take("late", STRANGER)
    for volts in range(4):
        maps.now_s += 1.0
        maps.send("1", 119.0 + volts)
        maps.take("in time", STRANGER)
    assert maps.take("late", STRANGER)
    assert maps.states["late", ""] == maps.states["in time", ""] == maps.asked(STRANGER)
    assert maps.services.counters.of("live_dropped", "map") == 3


def test_after_a_store_failure_comes_the_state(maps: Maps, monkeypatch: pytest.MonkeyPatch) -> None:
    """During a failure of the store nothing is sent."""
    maps.take("map", STRANGER)
    maps.take("slow", STRANGER)

    def fails(*args: object) -> None:
        raise StoreError("gone")

    with monkeypatch.context() as failing:
        failing.setattr(map_feed, "live_state", fails)
        maps.now_s += 1.0
        assert maps.take("map", STRANGER) == b""
    maps.now_s += 1.0
    assert maps.take("map", STRANGER)
    assert maps.take("slow", STRANGER), "it took nothing meanwhile"


def test_requests_share_the_state_of_the_live_feed(maps: Maps, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request waits for the next state, others get the one before; all learn that the store failed."""
    made, go_on = [0], threading.Event()

    def slow(*args: Any) -> dict[str, object]:
        assert go_on.wait(240)
        made[0] += 1
        if made[0] == 3:
            raise StoreError("gone")
        return live_state(*args)

    async def state() -> bytes:
        return (await maps.feeds.state_text(STRANGER, None)).body

    async def requests() -> None:
        go_on.set()
        first = await state()
        assert await state() is first and made == [1]
        go_on.clear()
        maps.now_s += 1.0
        maps.send("1", 100.0)
        waits = asyncio.ensure_future(state())
        await asyncio.sleep(0)
        assert [await state() for _ in range(3)] == [first] * 3
        go_on.set()
        second = await waits
        assert second != first and made == [2]
        maps.now_s += 1.0
        for _ in range(2):
            with pytest.raises(StoreError, match="gone"):
                await state()
        maps.now_s += 1.0
        assert json.loads(await state()) == json.loads(second) and made == [4]

    monkeypatch.setattr(map_feed, "live_state", slow)
    asyncio.run(requests())
    assert maps.take("live", STRANGER) and made == [4]


def test_a_cancelled_first_state_is_made_again(maps: Maps, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the thread of a request that ended has made is shown for one second at most."""
    made, go_on = list[object](), threading.Event()

    def slow(*args: Any) -> dict[str, object]:
        made.append(args)
        assert go_on.wait(240)
        return live_state(*args)

    async def cancelled() -> None:
        request = asyncio.create_task(maps.feeds.state_text(STRANGER, None))
        async with asyncio.timeout(240):
            while not made:
                await asyncio.sleep(0)
            request.cancel()
            await asyncio.wait([request])
            go_on.set()
            while maps.feeds._first._making:
                await asyncio.sleep(0)

    monkeypatch.setattr(map_feed, "live_state", slow)
    asyncio.run(cancelled())
    maps.now_s += map_feed.EVERY_S
    maps.send("1", 99.0)
    assert maps.asked(STRANGER) and len(made) == 2


@pytest.mark.parametrize("waited_s", [0.0, 60.0])
def test_a_first_state_waits_for_no_other_visitor(maps: Maps, waited_s: float) -> None:
    """A visitor whose pages take long requests a map first; another visitor's is not delayed.

    The first one gets the other's state only if it is of the present second.
    """
    fair, go_on = FairShares(maps.services.counters), threading.Event()

    async def is_here() -> bool:
        return False

    def begun(key: str, work: Callable[[], Awaitable[Any]]) -> asyncio.Task[Any]:
        async def request() -> Any:
            REQUEST_SHARE.set(RequestShare(fair, key, is_here, reads=True))
            return await work()

        return asyncio.create_task(request())

    def state() -> Awaitable[Any]:
        return maps.feeds.state_text(STRANGER, None)

    async def requests() -> None:
        page = begun("192.0.2.1", lambda: in_thread(go_on.wait, 240))
        first = begun("192.0.2.1", state)
        async with asyncio.timeout(240):
            while not (fair._turns and fair._turns["192.0.2.1"].present == 2):
                await asyncio.sleep(0)
        other = begun("198.51.100.7", state)
        done, _ = await asyncio.wait([other], timeout=60)
        maps.now_s += waited_s
        go_on.set()
        assert done == {other} and (await first is await other) == (waited_s == 0.0)
        await page

    asyncio.run(requests())


def test_a_map_too_many_waits(maps: Maps, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets data when another one is closed."""
    monkeypatch.setattr(map_feed, "MAX_FEEDS", 2)
    assert maps.take("a", STRANGER) and maps.take("b", OWNER)
    assert maps.take("c", OPEN) == b"" and maps.services.counters.total("maps_refused") == 1
    assert len(maps.asked(OPEN)["marks"]) == 6, "its requests are answered"
    maps.now_s += map_feed.IDLE_S - 1.0
    maps.take("a", STRANGER)
    maps.now_s += 1.0
    assert maps.take("c", OPEN)
    assert maps.take("a", STRANGER), "it was not left"
    maps.now_s += map_feed.IDLE_S
    assert maps.take("b", OWNER) and len(maps.feeds._feeds) == 1


@pytest.mark.parametrize(
    ("addresses", "why"),
    [
        (["at=91,0&km=50"], "not a place"),
        (["at=21,-157&km=x"], "not a width"),
        (["zoom=3"], "not a window"),
        (["at"], "not a window"),
        (["a" * 65], "65 characters"),
        ([f"at=2{n},0&km=50" for n in range(5)], "5 times"),
    ],
)
def test_a_window_that_cannot_be_used_is_said(addresses: list[str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        MapFeeds.read_windows(addresses)
