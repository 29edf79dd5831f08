"""SystemTime: UTC for the monotonic clock, as far as the system's clock can be trusted.

A time daemon's slewing moves both clocks alike, so UTC minus monotonic is constant until somebody sets the
clock. Then:

    by less than a tenth of a second       followed, by slewing (steering.py)
    an unsynchronised clock that becomes   followed by a step: nothing was known before. A Raspberry
    synchronised                           Pi without a battery does that after each start
    any other setting (date -s, +-1 h)     not followed: the known offset continues, and its bound grows
                                           by the drift of the machine's crystal (and covers both clocks
                                           where the system's is synchronised); only a setting that lasts
                                           for SETTLED_S is followed, by a step

Pure; the clocks are handed in. Call `read_clocks` every few seconds.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from opq_proto.kit import log
from opq_proto.kit.clock import ClockState, system_clock
from opq_proto.kit.time_daemons import read_clock_state
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

SET_NS = 1_000_000
"""Two readings of the two clocks differ by less than this, unless one was set."""
FOLLOWED_NS = 100_000_000
SETTLED_S = 45.0
"""A setting that is undone within this time leaves no trace; Boxes follow any other one within a minute."""
CRYSTAL_DRIFT = 10e-6
"""Drift of the machine's crystal after its daemon's last correction."""


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """UTC ns = monotonic ns + offset_ns."""

    offset_ns: int
    source: TimeSource
    bound_ns: int
    """UNKNOWN_UNCERTAINTY_NS: not known."""
    step: str = ""
    """Reason to follow the offset by a step; empty: slew."""
    period_ns: float = 1.0
    """Monotonic ns per ns of UTC."""
    period_bound: float = 0.0
    period_known: bool = True
    """Whether the rate was measured, or is kept by a daemon."""


class SystemTime:
    """Follows the system's clock for one run."""

    def __init__(
        self, now_ns: Callable[[], int], monotonic_s: Callable[[], float], system: Callable[[], ClockState]
    ) -> None:
        self._now_ns = now_ns
        self._monotonic_s = monotonic_s
        self._system = system
        self._offset_ns: int | None = None
        self._known_s: float | None = None  # when the clock was last synchronised, at this offset
        self._known_ns = UNKNOWN_UNCERTAINTY_NS
        self._differs_s: float | None = None  # since when the clock is synchronised at another offset

    def read_clocks(self) -> ClockOffset:
        """The reference now."""
        offset_ns, now_s = read_offset(self._now_ns, self._monotonic_s)
        state = self._system()
        synchronised = state.source is not TimeSource.FREE
        step = ""
        if self._offset_ns is None:
            self._offset_ns = offset_ns
        off_ns = abs(offset_ns - self._offset_ns)
        if off_ns > SET_NS:
            step = self._moved(off_ns, synchronised, now_s)
        else:
            self._differs_s = None
        if off_ns <= SET_NS or step or (synchronised and off_ns <= FOLLOWED_NS):
            self._offset_ns = offset_ns
            if synchronised:
                self._known_s, self._known_ns = now_s, state.uncertainty_ns
                return ClockOffset(offset_ns, state.source, state.uncertainty_ns, step)
        return self._held_over(now_s, off_ns if synchronised else 0)

    def keep_offset(self, offset_ns: int) -> ClockOffset:
        """Continues the offset known before this run, as if the clock had been set since."""
        self._offset_ns = offset_ns
        return self.read_clocks()

    def _moved(self, off_ns: int, synchronised: bool, now_s: float) -> str:
        """Somebody set the clock; the reason to step to it, or empty."""
        if not synchronised:
            self._differs_s = None
            return ""
        if off_ns <= FOLLOWED_NS:
            self._differs_s = None
            return ""
        if self._known_s is None:
            return "the system's clock was synchronised"
        if self._differs_s is None:
            self._differs_s = now_s
        if now_s - self._differs_s < SETTLED_S:
            return ""
        self._differs_s = None
        return f"the system's clock was set, and is synchronised for {SETTLED_S:g} s"

    def _held_over(self, now_s: float, apart_ns: int) -> ClockOffset:
        """The last known offset; its bound also covers a synchronised clock that is apart, which may be
        right."""
        assert self._offset_ns is not None
        if self._known_s is None:
            return ClockOffset(self._offset_ns, TimeSource.FREE, UNKNOWN_UNCERTAINTY_NS)
        bound_ns = max(apart_ns, self._known_ns + round((now_s - self._known_s) * 1e9 * CRYSTAL_DRIFT))
        return ClockOffset(self._offset_ns, TimeSource.HOLDOVER, min(bound_ns, UNKNOWN_UNCERTAINTY_NS))


def read_offset(now_ns: Callable[[], int], monotonic_s: Callable[[], float]) -> tuple[int, float]:
    """UTC minus monotonic in ns, and the monotonic time; the least interrupted of three tries."""
    best: tuple[float, int, float] | None = None
    for _ in range(3):
        before_s = monotonic_s()
        utc_ns = now_ns()
        after_s = monotonic_s()
        offset_ns = utc_ns - round((before_s + after_s) / 2 * 1e9)
        if best is None or after_s - before_s < best[0]:
            best = (after_s - before_s, offset_ns, after_s)
    assert best is not None
    return best[1], best[2]


READ_EACH_S = 16.0
"""Period of the checks; a daemon polls its servers every 64 s at the soonest (NTP, RFC 5905)."""


class ClockWatch:
    """Watches the system's clock; `state` from any thread, `run` in its own."""

    def __init__(self) -> None:
        self._state = system_clock()  # from the kernel, until the daemons were queried

    def state(self) -> ClockState:
        """The state at the last check."""
        return self._state

    def run(self, stop: threading.Event) -> None:
        """Checks until `stop`; logs a change of the time source."""
        while not stop.is_set():
            before, self._state = self._state, read_clock_state()
            if before.source is not self._state.source:
                facts = {"source": self._state.source.name.lower()}
                log.get(service="gateway").info(
                    "clock.changed", **facts, uncertainty_ns=self._state.uncertainty_ns
                )
            stop.wait(READ_EACH_S)
