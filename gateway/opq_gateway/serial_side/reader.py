"""Reader: the one thread that serves the ports of all Boxes.

Every 31 to 63 ms (ROUNDS_S), or 16 (PROMPT_ROUND_S), it serves all of them. The bytes of each Box are read,
decoded, stamped and stored at once, because a thread or a wake-up per Box and frame costs ten times as much.
When the handling of one Box raises an exception, it is counted and logged, and its port is closed and opened
again. Neither this nor a flooding Box affects other Boxes.
"""

import math
import select
import threading
import time
from collections.abc import Callable

from opq_gateway.serial_side.station import BoxStation, StationListener
from opq_proto.kit import log

ROUND_S = 0.031
"""2,900 bytes at 921,600 baud, below a tty's 4,096. It is 93/50 of a block's 16.7 ms, so that all fifty
phases between the two occur within two seconds (the clock needs the earliest arrival)."""
ROUNDS_S = ((4, ROUND_S), (16, 0.047), (math.inf, 0.063))
"""(Most Boxes, period), each period a whole number of fiftieths of a block. A wake-up costs as much as ten
blocks, and serving one of many Boxes, whose data has left the processor's caches, as much as two; so many
Boxes are served less often. A line at full speed brings 5,800 bytes in 63 ms, more than a tty's buffer holds;
the rest waits in the driver's buffer of 64 KB. Without GPS this widens the bound of the time, 8 ms, by 0.5
ms."""
PROMPT_ROUND_S = 0.047 / 3
"""Period where a Measurement is sent at its window's end: 47 fiftieths of a block."""
MIN_PAUSE_S = 0.001
STALL_S = 0.25
"""A longer time between two rounds is a pause of the gateway, and the line has not caused losses in it. It is
the time of several rounds; the buffers of a Box and a tty may not hold more."""
LOGGED_S = 1.0
"""Shorter pauses are only counted."""
END_S = 1.0
"""At the end of the gateway, samples that are being sent again may take this long."""
LONG_S = 0.05
"""Most CPU time for one Box in one round; a full read of good samples takes 4 ms."""
REST_FACTOR = 4
"""A Box that took longer is not served for this many times as long. It gets at most a fifth of the thread,
its port's buffer drops the rest, and other Boxes lose nothing."""


class SerialReader:
    """Serves Stations; call `add` before `run`."""

    def __init__(
        self,
        round_s: float | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
        cpu_s: Callable[[], float] = time.thread_time,
        is_prompt: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        Args:
            cpu_s: the thread's CPU time, so that a Box does not count as flooding on a busy machine.
            is_prompt: returns whether a Box's last samples are needed at once.
        """
        self._is_prompt = is_prompt
        self._round_s = round_s
        self._monotonic_s = monotonic_s
        self._cpu_s = cpu_s
        self._rests_until_s: dict[BoxStation, float] = {}
        self._poll = select.poll()
        self._stations: list[BoxStation] = []
        self._began_s = math.inf
        """When the last round began, because the pause may have been in it."""
        self._log = log.get(service="gateway")

    def add(self, station: BoxStation, intake: StationListener) -> None:
        """Adds a Box."""
        station.attach(intake, self._poll)
        self._stations.append(station)

    @property
    def round_s(self) -> float:
        """Time from one round to the next; a Box's data waits at most this long."""
        if self._round_s is not None:
            return self._round_s
        if self._is_prompt():
            return PROMPT_ROUND_S
        return next(round_s for most, round_s in ROUNDS_S if len(self._stations) <= most)

    def run(self, stop: threading.Event) -> None:
        """Serves until `stop`; ends within a round, or END_S while something is being sent again."""
        pause_s = 0.0
        while not stop.wait(pause_s):
            began_s = self._monotonic_s()
            self.round(began_s)
            pause_s = max(MIN_PAUSE_S, began_s + self.round_s - self._monotonic_s())
        until_s = self._monotonic_s() + END_S
        while any(station.waits for station in self._stations) and self._monotonic_s() < until_s:
            time.sleep(ROUND_S)
            self.round(self._monotonic_s())
        for station in self._stations:
            self._guarded(station, station.close)

    def round(self, now_s: float) -> None:
        """Serves every port once."""
        stalled_s, self._began_s = now_s - self._began_s, now_s
        if stalled_s > STALL_S:
            if stalled_s > LOGGED_S:
                self._log.warning("gateway.stalled", seconds=round(stalled_s, 1))
            for station in self._stations:
                station.stalled(stalled_s)
        ready = dict(self._poll.poll(0))
        rests = self._rests_until_s
        before_s = self._cpu_s()
        for station in self._stations:
            if rests and rests.get(station, 0.0) > now_s:
                continue
            try:
                station.round(ready.get(station.fd, 0), now_s)
            except Exception:  # the runner of all Boxes; see the module's docstring
                self._failed(station)
            after_s = self._cpu_s()
            if after_s - before_s > LONG_S:
                rests[station] = self._monotonic_s() + REST_FACTOR * (after_s - before_s)
                station.counters.add("serial_rests")
            elif rests:
                rests.pop(station, None)
            before_s = after_s

    def _failed(self, station: BoxStation) -> None:
        station.counters.add("failures")
        self._log.exception("box.failed", box_id=station.box.id)
        self._guarded(station, station.failed)

    def _guarded(self, station: BoxStation, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception:
            station.counters.add("failures")
            self._log.exception("box.failed", box_id=station.box.id)
