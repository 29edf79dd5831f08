"""The clock of a run: system time, read once at the start, then stepped by sample numbers.

All Boxes of a run share it, so recordings of one event stay on one time axis, and it never jumps
whatever happens to the system's clock later.
"""

import time
from dataclasses import dataclass

from opq_proto.clock import system_clock
from opq_proto.messages import TimeSource


@dataclass(frozen=True, slots=True)
class RunClock:
    """Sample 0 of a run, on the monotonic clock and in UTC."""

    monotonic_ns: int
    start_ns: int
    uncertainty_ns: int
    """0xFFFFFFFF: unknown."""
    source: TimeSource

    @classmethod
    def now(cls) -> "RunClock":
        """Start now; NTP with the kernel's maximum error when it is synchronised, else FREE."""
        state = system_clock()
        return cls(time.monotonic_ns(), time.time_ns(), state.uncertainty_ns, state.source)

    def t_ns(self, sample: int, rate_millihz: int, offset_ns: int = 0) -> int:
        """UTC of a sample; `offset_ns` is its stream's own sample 0 after the start."""
        return self.start_ns + offset_ns + sample * 10**12 // rate_millihz

    def due_ns(self, sample: int, rate_millihz: int) -> int:
        """Monotonic time at which the samples before `sample` have been taken."""
        return self.monotonic_ns + sample * 10**12 // rate_millihz
