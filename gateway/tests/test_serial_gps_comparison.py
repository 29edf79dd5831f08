"""Boxes without GPS beside one with it: real ptys and a drifting machine, then minutes of a simulated one."""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from waiting import wait_for

from opq_gateway.blocks import SampleBlock
from opq_gateway.config import BoxSection
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.ring.ring import Ring
from opq_gateway.serial_side.gps_comparison import GpsComparison
from opq_gateway.serial_side.intake import Intake
from opq_gateway.serial_side.reader import ROUND_S, SerialReader
from opq_gateway.serial_side.serial_clock import BoxClock, Clocks, SampleTime
from opq_gateway.serial_side.station import BoxStation
from opq_gateway.uplink.clock_ids import ClockIds
from opq_proto.kit.clock import ClockState
from opq_proto.link.messages import Hello, Samples
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Gap, TimeSource
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost
from opq_sim.box.port import PtyPort
from opq_sim.box.source import RunClock

S = 10**9
MS = 10**6
T0_NS = 1_700_000_000 * S
RATE = 12_000_000
COUNTS = np.zeros(200, np.int16)
FREE = ClockState(TimeSource.FREE, UNKNOWN_UNCERTAINTY_NS)


class ClockedBox(Box):
    """Its stamps are the run's, off by so much."""

    def __init__(self, box_id: str, source: TimeSource, off_ns: int = 0) -> None:
        super().__init__(box_id)
        self.stated, self.off_ns = source, off_ns

    def start(self, port: PtyPort, clock: RunClock) -> None:
        bound_ns = UNKNOWN_UNCERTAINTY_NS if self.stated is TimeSource.FREE else 100
        start_ns = clock.start_ns + self.off_ns
        super().start(port, replace(clock, start_ns=start_ns, uncertainty_ns=bound_ns, source=self.stated))


class Kept:
    """What the serial side hands on."""

    def __init__(self) -> None:
        self.blocks: dict[str, list[SampleBlock]] = {}

    def restart(self, box_id: str, hello: Hello) -> None:
        self.blocks.setdefault(box_id, [])

    def accept_blocks(self, box_id: str, blocks: Sequence[SampleBlock]) -> None:
        self.blocks[box_id] += blocks

    def gap(self, box_id: str, gap: Gap) -> None:
        """Lost on a busy machine; what is stamped is what counts."""

    def figures(self, box_id: str, figures: object) -> None:
        """Not looked at."""

    def crossing(self, box_id: str, crossing: object) -> None:
        """Not looked at."""


class SerialSide:
    """The reader and all before it, on a machine that is 250 ms ahead and whose clocks run 50 ppm fast."""

    def __init__(self, folder: Path, boxes: Sequence[Box]) -> None:
        began_s = time.monotonic()
        self.kept = Kept()

        def monotonic_s() -> float:
            return began_s + (time.monotonic() - began_s) * (1 + 50e-6)

        def now_ns() -> int:
            return time.time_ns() + 250 * MS + round((time.monotonic() - began_s) * 50e-6 * S)

        self.gps = GpsComparison(now_ns, monotonic_s, lambda: FREE)
        clocks = Clocks(monotonic_s, now_ns, lambda: FREE, self.gps)
        self.host = BoxHost(boxes)
        self._stop, reader = threading.Event(), SerialReader()
        self._held = ExitStack()
        self._held.enter_context(self.host)
        for box_id, port in self.host.ports.items():
            status, counters = BoxStatus(box_id, 60), BoxCounters()
            station = BoxStation(BoxSection(id=box_id, port=port), status, counters)
            ring = Ring(folder / box_id, box_id, 1.0)
            self._held.callback(ring.close)
            reader.add(station, Intake(status, ring, counters, station.send, self.kept, clocks))
        self._thread = threading.Thread(target=reader.run, args=(self._stop,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(240)
        self._held.close()

    def errors_ns(self, box_id: str) -> tuple[np.ndarray, np.ndarray]:
        """For each block: how far its stamp is from the truth, and what it states."""
        start_ns = self.host.clock.start_ns
        blocks = list(self.kept.blocks[box_id])
        off = [block.t_ns - start_ns - block.first_sample * 10**12 // RATE for block in blocks]
        return np.array(off), np.array([block.uncertainty_ns for block in blocks])


def test_the_bound_holds_on_a_drifting_machine(tmp_path: Path) -> None:
    boxes = [
        ClockedBox("1", TimeSource.GPS),
        ClockedBox("2", TimeSource.FREE, off_ns=250 * MS),  # follows the machine's clock
        ClockedBox("3", TimeSource.FREE, off_ns=-86_400 * S),  # knows nothing
    ]
    side = SerialSide(tmp_path, boxes)
    try:
        blocks = side.kept.blocks

        def bounded(box_id: str, count: int) -> bool:
            return sum(one.source is TimeSource.NTP for one in blocks.get(box_id, ())) > count

        wait_for(lambda: bounded("2", 120) and bounded("3", 120))
        state = side.gps.refresh_state()
    finally:
        side.close()
    for box_id in "23":
        off, stated = side.errors_ns(box_id)
        known = stated < UNKNOWN_UNCERTAINTY_NS
        assert np.all(np.abs(off[known]) <= stated[known])
        assert all(one.t_ns < after.t_ns for one, after in pairwise(blocks[box_id]))
    off, stated = side.errors_ns("2")
    assert off[0] == 250 * MS and off[-1] < off[0]
    assert stated[stated < UNKNOWN_UNCERTAINTY_NS].max() > 250 * MS  # on the way there
    assert state.box_id == "1" and not state.held and state.system_off_ns is not None
    assert abs(state.system_off_ns - 250 * MS) <= (state.uncertainty_ns or 0)


@dataclass
class Fleet:
    """Boxes at one simulated machine whose monotonic clock runs fast by `ppm`; GPS time is the truth."""

    ppm: float = 50.0
    seed: int = 1
    late_ns: float = 1e6
    delay_ns: dict[str, float] = field(default_factory=dict)
    state: ClockState = FREE
    system_off_ns: int = 250 * MS
    gps_off_ns: dict[str, int] = field(default_factory=dict)
    """What a Box with GPS is wrong by."""
    stated_ns: int = 100
    """The bound that Boxes with GPS state."""
    t_s: float = 0.0
    heard: list[tuple[str, int | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = np.random.default_rng(self.seed)
        self.gps = GpsComparison(
            self.now_ns, self.monotonic_s, lambda: self.state, lambda *each: self.heard.append(each)
        )
        self.clocks: dict[str, BoxClock] = {}
        self.stamps: dict[str, list[tuple[float, SampleTime | Samples]]] = {}

    def monotonic_s(self) -> float:
        return 1000.0 + self.t_s * (1 + self.ppm * 1e-6)

    def now_ns(self) -> int:
        return T0_NS + round(self.t_s * S) + self.system_off_ns

    def run(self, seconds: float, gps: str = "1", free: str = "2", own: str = "", held: str = "") -> None:
        """So long, with these Boxes at the line; `own` state the system's time, which has no reference."""
        stop_s = self.t_s + seconds
        while self.t_s < stop_s:
            looked_s = self.t_s + ROUND_S
            self.t_s = looked_s + float(self.dice.exponential(self.late_ns)) / S  # until it is handled
            for box_id in gps + held + free + own:
                self._read(box_id, looked_s, box_id in gps + held, box_id in own, box_id in held)

    def _read(self, box_id: str, looked_s: float, has_gps: bool, own: bool, held: bool) -> None:
        """What came for one Box until a look."""
        arrived_s = looked_s - self.delay_ns.get(box_id, 0.0) / S
        last = round(arrived_s * 60) - 1  # blocks that are whole
        for block in range(max(last - 2, getattr(self, f"_next_{box_id}", 0)), last):
            setattr(self, f"_next_{box_id}", block + 1)
            t_ns, bound_ns, source = 0, UNKNOWN_UNCERTAINTY_NS, TimeSource.FREE
            if has_gps:
                t_ns, bound_ns = self.truth_ns(block) + self.gps_off_ns.get(box_id, 0), self.stated_ns
                source = TimeSource.HOLDOVER if held else TimeSource.GPS
            elif own:
                t_ns = self.truth_ns(block) + 250 * MS
            samples = Samples(block * 200, t_ns, bound_ns, source, RATE, 0, COUNTS)
            clock = self.clocks.setdefault(box_id, BoxClock(self.box_clocks(), box_id=box_id))
            stamp = clock.stamp(samples, True, self.monotonic_s())
            if stamp is not None:
                self.stamps.setdefault(box_id, []).append((block, stamp))

    def box_clocks(self) -> Clocks:
        return Clocks(self.monotonic_s, self.now_ns, lambda: self.state, self.gps)

    def truth_ns(self, block: float) -> int:
        return T0_NS + round(block * 200 * 10**12 / RATE)

    def checked_ns(self, box_id: str, since: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Errors and bounds of the Box's stamps, which hold and rise."""
        found = [(block, one) for block, one in self.stamps[box_id][since:]]
        off = np.array([one.t_ns - self.truth_ns(block) for block, one in found])
        bounds = np.array([one.uncertainty_ns for _, one in found])
        known = bounds < UNKNOWN_UNCERTAINTY_NS
        assert np.all(np.abs(off[known]) <= bounds[known])
        assert all(one.t_ns < after.t_ns for (_, one), (_, after) in pairwise(self.stamps[box_id]))
        return off, bounds


def test_the_rate_is_against_gps() -> None:
    fleet = Fleet(delay_ns={"1": 0.5e6, "2": 9e6})
    fleet.run(150, own="3")
    off, bounds = fleet.checked_ns("2")
    assert bounds[-1] < 14 * MS and np.abs(off[-60:]).max() < 10 * MS
    last = fleet.stamps["2"][-1][1]
    assert last.source is TimeSource.NTP and last.rate_millihz == pytest.approx(RATE, abs=20)
    assert fleet.gps.state.drift_ppm == pytest.approx(50, abs=1.5)
    off, bounds = fleet.checked_ns("3")
    assert off[0] == 250 * MS and abs(off[-1]) < 10 * MS
    assert fleet.clocks["3"].steps == 0 and fleet.clocks["3"].shared and fleet.clocks["3"].by_gps


def test_whoever_sets_the_systems_clock_moves_no_stamp() -> None:
    fleet = Fleet()
    fleet.run(40)
    fleet.system_off_ns = -3600 * S
    fleet.run(40)
    off, _ = fleet.checked_ns("2")
    assert np.abs(np.diff(off)).max() < MS and fleet.clocks["2"].steps == 0


def test_lost_gps_is_held_over() -> None:
    fleet = Fleet()
    fleet.run(90)
    before = fleet.stamps["2"][-1][1].uncertainty_ns
    fleet.run(300, gps="")
    held = fleet.stamps["2"][-1][1]
    assert held.source is TimeSource.HOLDOVER and held.uncertainty_ns > before + 2 * MS
    assert fleet.gps.refresh_state().held
    fleet.run(40)
    assert fleet.stamps["2"][-1][1].source is TimeSource.NTP
    fleet.checked_ns("2")


def test_a_box_in_holdover_is_followed() -> None:
    fleet = Fleet()
    fleet.run(30)
    fleet.run(60, gps="", held="1")
    assert fleet.stamps["2"][-1][1].source is TimeSource.NTP
    fleet.checked_ns("2")


def test_a_second_contradicting_box_is_named() -> None:
    fleet = Fleet(gps_off_ns={"4": 2 * S})
    fleet.run(30)
    fleet.run(40, gps="14")
    assert [box_id for box_id, _ in fleet.heard] == ["4"]
    assert fleet.gps.state.box_id == "1"
    assert fleet.gps.state.apart_ns["4"] == pytest.approx(2 * S, abs=20 * MS)
    fleet.checked_ns("2")
    fleet.gps_off_ns = {}
    fleet.run(20, gps="14")
    assert fleet.heard[-1] == ("4", None) and not fleet.gps.state.apart_ns


def test_a_lone_contradiction_widens_the_bound() -> None:
    fleet = Fleet()
    fleet.run(60)
    fleet.gps_off_ns = {"1": -500 * MS}
    fleet.run(60)
    doubted = fleet.stamps["2"][-1][1]
    assert doubted.source is TimeSource.HOLDOVER and doubted.uncertainty_ns > 500 * MS
    assert [box_id for box_id, _ in fleet.heard] == ["1"]
    fleet.run(260)
    assert fleet.heard[-1] == ("1", None) and fleet.stamps["2"][-1][1].source is TimeSource.NTP


def test_most_boxes_outvote_one() -> None:
    """Two that contradict from the start are not followed."""
    fleet = Fleet(gps_off_ns={"1": 3 * S})
    fleet.run(30, gps="14")
    assert fleet.gps.reference(0) is None and {box_id for box_id, _ in fleet.heard} == {"1", "4"}
    assert {one.source for _, one in fleet.stamps["2"]} == {TimeSource.FREE}
    fleet.run(30, gps="145")
    assert fleet.gps.state.box_id in ("4", "5") and set(fleet.gps.state.apart_ns) == {"1"}
    assert fleet.stamps["2"][-1][1].source is TimeSource.NTP


def test_a_synchronised_system_overrules_one_box() -> None:
    fleet = Fleet(state=ClockState(TimeSource.NTP, 5 * MS), system_off_ns=0, gps_off_ns={"1": 9 * S})
    fleet.run(40)
    assert fleet.gps.reference(0) is None and fleet.heard[0][0] == "1"
    fleet.checked_ns("2")


def test_a_busy_machine_widens_the_bound() -> None:
    bounds_ns = []
    for late_ns in (0, 30 * MS, 300 * MS):
        fleet = Fleet(late_ns=late_ns)
        fleet.run(40)
        fleet.checked_ns("2")
        bounds_ns.append(fleet.stamps["2"][-1][1].uncertainty_ns)
    assert bounds_ns[2] > 2 * bounds_ns[0]


def test_an_early_backlog_steps_no_box() -> None:
    fleet = Fleet()
    fleet.run(1.9, own="3")  # in time, but too short to follow the GPS
    fleet.delay_ns = dict.fromkeys("123", 1500e6)
    fleet.run(12, own="3")
    assert fleet.gps.state.box_id == "1"
    fleet.delay_ns = {}
    fleet.run(40, own="3")
    fleet.checked_ns("2")
    fleet.checked_ns("3")
    assert fleet.clocks["3"].by_gps and fleet.clocks["3"].steps == 0


@pytest.mark.parametrize("own", ["", "3"])
def test_a_box_in_a_backlog_waits(own: str) -> None:
    """It was first heard in the backlog, and is not set back."""
    fleet = Fleet()
    fleet.run(30, free="")
    fleet.delay_ns = dict.fromkeys("123", 1500e6)
    fleet.run(3, free="")
    fleet.run(8, own=own)
    assert "2" not in fleet.stamps
    fleet.delay_ns = {}
    fleet.run(40, own=own)
    for box_id in "2" + own:
        fleet.checked_ns(box_id)
        assert fleet.clocks[box_id].steps == 0 and fleet.clocks[box_id].by_gps
    assert np.abs(fleet.checked_ns("2")[0]).max() < 100 * MS


def test_an_endless_backlog_is_in_the_bound() -> None:
    fleet = Fleet()
    fleet.run(30, free="")
    fleet.delay_ns = dict.fromkeys("12", 800e6)
    fleet.run(3, free="")
    fleet.run(30)
    off, bounds = fleet.checked_ns("2")
    assert np.all(off > 700 * MS) and bounds[0] < 900 * MS


def test_a_time_within_the_bound_is_kept() -> None:
    fleet = Fleet(gps_off_ns={"1": 1500 * MS}, stated_ns=2 * S)
    fleet.run(20, gps="", held="1", own="3")
    assert fleet.clocks["3"].by_gps and fleet.clocks["3"].steps == 0
    fleet.gps_off_ns, fleet.stated_ns = {}, 100
    fleet.run(20, own="3")
    off, bounds = fleet.checked_ns("3")
    assert fleet.clocks["3"].steps == 0 and abs(off[-1]) < 300 * MS and bounds[-1] < 400 * MS


def test_boxes_on_anothers_gps_share_a_number(tmp_path: Path) -> None:
    from test_uplink_clock_ids import by

    ids, ours, others = ClockIds(tmp_path / "clock_id"), BoxStatus("1", 60), BoxStatus("2", 60)
    ours.shares_clock = others.shares_clock = others.by_gps = True
    own = ids.of(by(TimeSource.NTP), ours)
    compared = {ids.of(by(TimeSource.NTP, box_id), others) for box_id in "12"}
    assert len(compared) == 1 and own not in compared and None not in compared
    others.shares_clock = False  # still on the way there
    alone = {ids.of(by(TimeSource.NTP, box_id), others) for box_id in "12"}
    assert len(alone) == 2 and not alone & {own, *compared}
    assert ClockIds(tmp_path / "clock_id").of(by(TimeSource.NTP, "2", backfilled=True), others) is None
