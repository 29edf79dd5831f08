"""Reader: the one thread that serves the ports of all Boxes.

Every 19 ms (ROUND_S) it looks at all of them, so that what a Box said meanwhile is read, decoded, stamped
and kept at once: a thread, or a wake-up, per Box and frame costs ten times as much. One Box whose
handling throws is counted, logged, closed and opened again; the others do not see it.
"""

import select
import threading
import time
from collections.abc import Callable

from opq_gateway.serial_side.station import Station, Talk
from opq_proto import log

ROUND_S = 0.019
"""At 921,600 baud 1,750 bytes, well below a tty's 4,096; no multiple of a block's 16.7 ms, so that each
phase between the two comes up within a second (the clock looks for the earliest arrival)."""
MANY_ROUND_S = 0.037
"""The same for more Boxes than MANY: twice the blocks per wake-up, 3,400 bytes at most."""
MANY = 32
LEAST_PAUSE_S = 0.001


class Reader:
    """Serves Stations; `add` before `run`."""

    def __init__(
        self, round_s: float | None = None, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._round_s = round_s
        self._monotonic_s = monotonic_s
        self._poll = select.poll()
        self._stations: list[Station] = []
        self._log = log.get(service="gateway")

    def add(self, station: Station, intake: Talk) -> None:
        """One Box more."""
        station.attach(intake, self._poll)
        self._stations.append(station)

    @property
    def round_s(self) -> float:
        """From one look to the next; a Box's word is here as late at most."""
        if self._round_s is not None:
            return self._round_s
        return ROUND_S if len(self._stations) <= MANY else MANY_ROUND_S

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop`; ends within a round of it."""
        pause_s = 0.0
        while not stop.wait(pause_s):
            began_s = self._monotonic_s()
            self.round(began_s)
            pause_s = max(LEAST_PAUSE_S, began_s + self.round_s - self._monotonic_s())
        for station in self._stations:
            self._guarded(station, station.close)

    def round(self, now_s: float) -> None:
        """Look at every port once."""
        ready = dict(self._poll.poll(0))
        for station in self._stations:
            try:
                station.round(ready.get(station.fd, 0), now_s)
            except Exception:  # the runner of all Boxes: see above
                self._failed(station)

    def _failed(self, station: Station) -> None:
        station.counters.add("failures")
        self._log.exception("box.failed", box_id=station.box.id)
        self._guarded(station, station.failed)

    def _guarded(self, station: Station, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception:
            station.counters.add("failures")
            self._log.exception("box.failed", box_id=station.box.id)
