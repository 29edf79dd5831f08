"""Boxes on cables that can be pulled out and made noisy, and the truth about what they sent."""

import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opq_proto.kit.own_thread import OwnThread
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource
from opq_sim.box.box import Box
from opq_sim.box.faults import FaultyLine, LineFaults
from opq_sim.box.port import CATCH_UP_NS, PtyPort
from opq_sim.box.source import RunClock
from opq_sim.mains.generator import Generator

CLEAN = LineFaults()


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
            PtyPort.__init__(self)
            self.link_as(self._path)
            self.plugged = True
            self.disturb(self._noise)

    def unplug(self) -> None:
        """Closes the pty and removes its path; data on their way are lost."""
        if self.plugged:
            self.plugged = False
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


TICK_S = 0.004
CORRUPTION = 1e-4
NEVER_NS = 1 << 62
GPS_UNCERTAINTY_NS = 100


class WatchedBox(Box):
    """A Box that can stop sampling and still answers."""

    ended = False

    @property
    def samples(self) -> int:
        """Number of samples taken and sent so far."""
        return self._next

    def own_time_ns(self, sample: int) -> int:
        """The time stamp that the Box gives to a sample."""
        return self.clock.t_ns(sample, self.source.rate_millihz)

    def due_ns(self) -> int:
        return NEVER_NS if self.ended else super().due_ns()

    def truth(self, first: int, count: int) -> NDArray[np.int16]:
        """The counts that the Box sent as these samples; they are computed again."""
        return Generator(seed=int(self.box_id)).counts(first, count)


class CabledBoxes(OwnThread):
    """Boxes of a world for the `with` block; the first one has GPS, the others do not know the time.

    Every other Box without GPS does not even know the year: its stamps begin in 1970.

    Attributes:
        held_up_s: how long, in all, this machine kept the Boxes from sending and answering. A wire makes up
            for `CATCH_UP_NS` of each pause; the data of the rest arrive later.
    """

    held_up_s = 0.0

    def __init__(self, box_ids: tuple[str, ...], ports: Path) -> None:
        super().__init__("boxes")
        self.boxes = {box_id: WatchedBox(box_id, measurements=False) for box_id in box_ids}
        self.cables = {box_id: Cable(ports / f"box{box_id}") for box_id in box_ids}
        self.paths = {box_id: ports / f"box{box_id}" for box_id in box_ids}
        self._lock = threading.Lock()

    def start(self) -> None:
        monotonic_ns, now_ns = time.monotonic_ns(), time.time_ns()
        for number, (box_id, box) in enumerate(self.boxes.items()):
            start_ns = 10**9 if number % 2 else now_ns
            source = TimeSource.FREE if number else TimeSource.GPS
            uncertainty_ns = UNKNOWN_UNCERTAINTY_NS if number else GPS_UNCERTAINTY_NS
            self.cables[box_id].plug()
            box.start(self.cables[box_id], RunClock(monotonic_ns, start_ns, uncertainty_ns, source))
        super().start()

    def close(self) -> None:
        super().close()
        for cable in self.cables.values():
            cable.unplug()

    def unplug(self, box_id: str, out: bool) -> None:
        """Pulls a plug out, or puts it in again."""
        with self._lock:
            if out:
                self.cables[box_id].unplug()
            else:
                self.cables[box_id].plug()

    def disturb(self, box_id: str, seed: int | None) -> None:
        """Changes one byte in 10,000; none if `seed` is None."""
        with self._lock:
            self.cables[box_id].disturb(
                CLEAN if seed is None else LineFaults(corruption=CORRUPTION, seed=seed)
            )

    def end(self) -> None:
        """Ends the sampling; the gateway can still request samples that it lacks."""
        with self._lock:
            for box in self.boxes.values():
                box.ended = True

    def _run(self) -> None:
        before_ns = time.monotonic_ns()
        while not self._stop.wait(TICK_S):
            now_ns = time.monotonic_ns()
            self.held_up_s += max(0, now_ns - before_ns - CATCH_UP_NS) / 1e9
            before_ns = now_ns
            with self._lock:
                for box_id, box in self.boxes.items():
                    cable = self.cables[box_id]
                    box.tick(now_ns)
                    cable.flush(now_ns)
                    while data := cable.receive():
                        box.receive(data)
