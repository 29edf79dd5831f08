"""Boxes of many gateways on cables, in one thread; they stand still, go dark, and set their clocks."""

import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from opq_proto.kit.own_thread import OwnThread
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource
from opq_sim.box.box import Box
from opq_sim.box.source import RunClock
from opq_sim.faults.gateway.boxes import GPS_UNCERTAINTY_NS, TICK_S, Cable
from opq_sim.mains import events
from opq_sim.mains.disturbance import PlacedDisturbance

RATE_HZ, NOMINAL_HZ = 12_000, 60
UNCERTAINTY_NS = {
    TimeSource.GPS: GPS_UNCERTAINTY_NS,
    TimeSource.NTP: 5_000_000,
    TimeSource.FREE: UNKNOWN_UNCERTAINTY_NS,
}


class TrialBox(Box):
    """A Box that notes all that it skipped, across its starts.

    Attributes:
        skips: [first, end) of the run's samples.
    """

    def __init__(self, box_id: str) -> None:
        super().__init__(box_id, measurements=False)
        self.skips: list[tuple[int, int]] = []

    @property
    def skipped(self) -> int:
        """Number of samples that it skipped."""
        return sum(end - first for first, end in self.skips)

    def _skip_what_is_too_old(self, now_ns: int) -> bool:
        first = self._next
        overrun = super()._skip_what_is_too_old(now_ns)
        if overrun:
            self.skips.append((first, self._next))
        return overrun


class TrialBoxes(OwnThread):
    """The Boxes of a world for the `with` block.

    Attributes:
        dark_ns: by Box, [from, to) without supply, UTC.
    """

    def __init__(
        self, box_ids: Sequence[str], ports: Path, with_gps: Iterable[str] = (), first_ns: int | None = None
    ) -> None:
        """`first_ns`: what a Box shows that is not in `with_gps`; None: the true time, without a bound."""
        super().__init__("boxes")
        self._with_gps, self._first_ns = frozenset(with_gps), first_ns
        self.boxes = {box_id: TrialBox(box_id) for box_id in box_ids}
        self.paths = {box_id: ports / f"box{box_id}" for box_id in self.boxes}
        self.dark_ns: dict[str, tuple[int, int]] = {}
        self._cables = {box_id: Cable(path) for box_id, path in self.paths.items()}
        self._still: set[str] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        monotonic_ns, now_ns = time.monotonic_ns(), time.time_ns()
        gps = RunClock(monotonic_ns, now_ns, GPS_UNCERTAINTY_NS, TimeSource.GPS)
        first_ns = now_ns if self._first_ns is None else self._first_ns
        free = RunClock(monotonic_ns, first_ns, UNKNOWN_UNCERTAINTY_NS, TimeSource.FREE)
        self._start_ns = now_ns
        for box_id, box in self.boxes.items():
            self._cables[box_id].plug()
            box.start(self._cables[box_id], gps if box_id in self._with_gps else free)
        super().start()

    def close(self) -> None:
        super().close()
        for cable in self._cables.values():
            cable.unplug()

    def stand_still(self, box_ids: tuple[str, ...], still: bool) -> None:
        """Stops the Boxes, or lets them go on."""
        with self._lock:
            self._still = self._still | set(box_ids) if still else self._still - set(box_ids)

    def pull_line(self, box_ids: tuple[str, ...], out: bool) -> None:
        """Pulls the Boxes' cables out, or puts them in again."""
        with self._lock:
            for box_id in box_ids:
                (self._cables[box_id].unplug if out else self._cables[box_id].plug)()

    def lose_supply(self, box_ids: tuple[str, ...], for_s: float, has_battery: bool = False) -> None:
        """Takes supply and mains from the Boxes for `for_s`; a battery carries a Box through it."""
        with self._lock:
            for box_id in box_ids:
                box = self.boxes[box_id]
                at_s, _ = box.lose_supply(for_s, {"battery_s": 2 * for_s} if has_battery else {})
                if has_battery:
                    box.add_event(events.disturbance("interruption", 1.0, for_s * 60.0, 0.0))
                begin_ns = self._start_ns + round(at_s * 1e9)
                self.dark_ns[box_id] = begin_ns, begin_ns + round(for_s * 1e9)

    def is_dark(self, box_id: str, first: int, end: int) -> bool:
        """Whether the Box had no supply at any of the samples [first, end), counted from the run's start."""
        begin_ns, end_ns = (self._start_ns + each * 10**9 // RATE_HZ for each in (first, end))
        went_ns, came_ns = self.dark_ns.get(box_id, (0, 0))
        return begin_ns < came_ns and went_ns < end_ns

    def dip(self, box_id: str, residual_percent: float, cycles: float) -> int:
        """Makes a dip as soon as possible; returns its first sample, counted from the run's start."""
        with self._lock:
            placed = self.boxes[box_id].add_event(
                events.disturbance("sag", 1.0 - residual_percent / 100.0, cycles)
            )
        assert not isinstance(placed, PlacedDisturbance)
        return round(placed.start_cycles * RATE_HZ / NOMINAL_HZ)

    def set_clock(self, box_id: str, source: TimeSource, ahead_s: float = 0.0) -> None:
        """Sets a Box's clock: to the true time and some seconds; FREE: it knows no time, as after a start."""
        start_ns = self._start_ns + round(ahead_s * 1e9)
        if source is TimeSource.FREE and self._first_ns is not None:
            start_ns = self._first_ns
        with self._lock:
            self.boxes[box_id].set_clock(start_ns, UNCERTAINTY_NS[source], source)

    def _run(self) -> None:
        while not self._stop.wait(TICK_S):
            now_ns = time.monotonic_ns()
            with self._lock:
                for box_id, box in self.boxes.items():
                    if box_id in self._still:
                        continue
                    cable = self._cables[box_id]
                    box.tick(now_ns)
                    cable.flush(now_ns)
                    while data := cable.receive():
                        box.receive(data)
