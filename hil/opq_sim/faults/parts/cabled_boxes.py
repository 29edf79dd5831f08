"""Boxes on cables that can be pulled out and made noisy; they stop, go dark, set their clocks, and
know the truth about what they sent."""

import threading
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from opq_proto.kit.own_thread import OwnThread
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource
from opq_sim.box.box import Box
from opq_sim.box.port import CATCH_UP_NS, PtyPort
from opq_sim.box.source import RunClock, SampleSource
from opq_sim.box.wire_faults import FaultyLine, LineFaults
from opq_sim.mains.generator import Generator
from opq_sim.mains.grid_events import GridEvent, disturbance
from opq_sim.own_processor import have_own_processor

RATE_HZ = 12_000
NOMINAL_HZ = 60
CLEAN: Final = LineFaults()
CORRUPTED_SHARE: Final = 1e-4
TICK_S: Final = 0.004
NEVER_NS: Final = 1 << 62
IN_1970_NS: Final = 10**9
UNCERTAINTY_NS: Final = {
    TimeSource.GPS: 100,
    TimeSource.NTP: 5_000_000,
    TimeSource.FREE: UNKNOWN_UNCERTAINTY_NS,
}


class Cable(PtyPort):
    """A port with a stable path, unplugged at first; not for use by several threads.

    Attributes:
        unplugged_bytes: bytes that the Box sent while unplugged.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        super().close()
        self.plugged = False
        self.unplugged_bytes = 0
        self._path = path
        self._noise = CLEAN
        self._lines: list[FaultyLine] = []

    @property
    def corrupted_bytes(self) -> int:
        """Bytes that arrived changed, both ways."""
        return sum(line.corrupted_bytes for line in self._lines)

    def plug(self) -> None:
        """Opens a new pty at the path."""
        if not self.plugged:
            unread_bytes = self.lost_bytes
            PtyPort.__init__(self)
            self.lost_bytes = unread_bytes
            self.link_as(self._path)
            self.plugged = True
            self.disturb(self._noise)

    def unplug(self, leaves_path: bool = False) -> None:
        """Closes the pty and removes its path; data on their way are lost.

        `leaves_path`: as a process that is killed does.
        """
        if self.plugged:
            self.plugged = False
            if leaves_path:
                self._link = None
            self.close()

    def disturb(self, noise: LineFaults) -> None:
        """Applies these faults to the wire from now on, both ways."""
        self._noise = noise
        self.out, self.back = FaultyLine(noise, 0), FaultyLine(noise, 1)
        self._lines += [self.out, self.back]

    def send(self, frame: bytes) -> None:
        if self.plugged:
            super().send(frame)
        else:
            self.unplugged_bytes += len(frame)

    def flush(self, now_ns: int) -> None:
        if self.plugged:
            super().flush(now_ns)

    def receive(self) -> bytes:
        return super().receive() if self.plugged else b""


class WatchedBox(Box):
    """A Box that can stop sampling and still answers, and notes all that it skipped, across its starts.

    Attributes:
        skips: [first, end) of the run's samples.
    """

    ended = False

    def __init__(self, box_id: str, source: SampleSource | None = None, boot_id: int = 1) -> None:
        super().__init__(box_id, source, measurements=False, boot_id=boot_id)
        self.skips: list[tuple[int, int]] = []

    @property
    def samples(self) -> int:
        """Number of samples taken and sent so far."""
        return self._next

    def own_number(self, sample: int) -> int:
        """The number that the Box has given to a sample of the run since its last start."""
        return sample - self._zero

    def own_time_ns(self, sample: int) -> int:
        """The time stamp that the Box gives to a sample."""
        return self.clock.t_ns(sample, self.source.rate_millihz)

    def due_ns(self) -> int:
        return NEVER_NS if self.ended else super().due_ns()

    def truth(self, first: int, count: int) -> NDArray[np.int16]:
        """The counts that the Box sent as these samples; they are computed again."""
        return Generator(seed=int(self.box_id)).counts(first, count)

    def _skip_what_is_too_old(self, now_ns: int) -> bool:
        first = self._next
        overrun = super()._skip_what_is_too_old(now_ns)
        if overrun:
            self.skips.append((first, self._next))
        return overrun


class CabledBoxes(OwnThread):
    """The Boxes of a world for the `with` block, in one thread.

    Attributes:
        held_up_s: how long, in all, this machine kept the Boxes from sending and answering. A wire makes up
            for `CATCH_UP_NS` of each pause; the data of the rest arrive later.
        longest_held_s: the longest of these pauses.
        first: whether they have processors of their own, however busy this machine is; set before the start.
        dark_ns: by Box, [from, to) without supply, UTC.
    """

    held_up_s = longest_held_s = 0.0
    first = False

    def __init__(
        self,
        paths: Mapping[str, Path],
        with_gps: Collection[str] = (),
        in_1970: Collection[str] = (),
    ) -> None:
        """`paths`: by Box, where its pty is found. `with_gps`: Boxes that know the time; `in_1970`: those
        that do not even know the year. The others show the true time and do not know how good it is.
        """
        super().__init__("boxes")
        self.boxes = {box_id: WatchedBox(box_id) for box_id in paths}
        self.cables = {box_id: Cable(path) for box_id, path in paths.items()}
        self.dark_ns: dict[str, tuple[int, int]] = {}
        self._with_gps, self._in_1970 = frozenset(with_gps), frozenset(in_1970)
        self._still: set[str] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        monotonic_ns, self._start_ns = time.monotonic_ns(), time.time_ns()
        for box_id, box in self.boxes.items():
            source = TimeSource.GPS if box_id in self._with_gps else TimeSource.FREE
            start_ns = IN_1970_NS if box_id in self._in_1970 else self._start_ns
            self.cables[box_id].plug()
            box.start(self.cables[box_id], RunClock(monotonic_ns, start_ns, UNCERTAINTY_NS[source], source))
        self._begin_thread()

    def _begin_thread(self) -> None:
        super().start()

    def close(self) -> None:
        super().close()
        for cable in self.cables.values():
            cable.unplug()

    def pull_line(self, box_ids: Iterable[str], out: bool) -> None:
        """Pulls the Boxes' cables out, or puts them in again."""
        with self._lock:
            for box_id in box_ids:
                (self.cables[box_id].unplug if out else self.cables[box_id].plug)()

    def disturb(self, box_ids: Iterable[str], seed: int | None) -> None:
        """Changes one byte in 10,000; none if `seed` is None."""
        noise = CLEAN if seed is None else LineFaults(corruption=CORRUPTED_SHARE, seed=seed)
        with self._lock:
            for box_id in box_ids:
                self.cables[box_id].disturb(noise)

    def stand_still(self, box_ids: Collection[str], still: bool) -> None:
        """Stops the Boxes, or lets them go on."""
        with self._lock:
            self._still = self._still | set(box_ids) if still else self._still - set(box_ids)

    def end(self) -> None:
        """Ends the sampling; the gateway can still request samples that it lacks."""
        with self._lock:
            for box in self.boxes.values():
                box.ended = True

    def lose_supply(self, box_ids: Iterable[str], for_s: float, has_battery: bool = False) -> None:
        """Takes supply and mains from the Boxes for `for_s`; a battery carries a Box through it."""
        with self._lock:
            for box_id in box_ids:
                box = self.boxes[box_id]
                at_s, _ = box.lose_supply(for_s, {"battery_s": 2 * for_s} if has_battery else {})
                if has_battery:
                    box.add_event(disturbance("interruption", 1.0, for_s * NOMINAL_HZ, 0.0))
                begin_ns = self._start_ns + round(at_s * 1e9)
                self.dark_ns[box_id] = begin_ns, begin_ns + round(for_s * 1e9)

    def add_event(self, box_id: str, event: GridEvent) -> int:
        """Makes a disturbance as soon as possible; returns its first sample, counted from the run's start."""
        with self._lock:
            placed = self.boxes[box_id].add_event(event)
        assert isinstance(placed, GridEvent)
        return round(placed.start_cycles * RATE_HZ / NOMINAL_HZ)

    def set_clock(self, box_id: str, source: TimeSource, ahead_s: float = 0.0) -> None:
        """Sets a Box's clock: to the true time and some seconds; FREE: as after its start."""
        free_in_1970 = source is TimeSource.FREE and box_id in self._in_1970
        start_ns = IN_1970_NS if free_in_1970 else self._start_ns + round(ahead_s * 1e9)
        with self._lock:
            self.boxes[box_id].set_clock(start_ns, UNCERTAINTY_NS[source], source)

    def not_sampled(self, box_id: str, first: int, end: int) -> bool:
        """Whether the Box skipped, or had no supply, at any of the samples [first, end) of the run."""
        begin_ns, end_ns = (self._start_ns + each * 10**9 // RATE_HZ for each in (first, end))
        went_ns, came_ns = self.dark_ns.get(box_id, (0, 0))
        return (begin_ns < came_ns and went_ns < end_ns) or any(
            skipped < end and first < until for skipped, until in self.boxes[box_id].skips
        )

    def _run(self) -> None:
        if self.first:
            have_own_processor()
        before_ns = time.monotonic_ns()
        while not self._stop.wait(TICK_S):
            now_ns = time.monotonic_ns()
            held_s = max(0, now_ns - before_ns - CATCH_UP_NS) / 1e9
            self.held_up_s += held_s
            self.longest_held_s = max(self.longest_held_s, held_s)
            before_ns = now_ns
            with self._lock:
                for box_id, box in self.boxes.items():
                    if box_id in self._still:
                        continue
                    cable = self.cables[box_id]
                    box.tick(now_ns)
                    cable.flush(now_ns)
                    while data := cable.receive():
                        box.receive(data)
