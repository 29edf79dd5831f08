"""The inputs of a simulated Box: its samples (generated or replayed), and the clock of the run.

All Boxes of a run share the clock, so recordings of one event stay on one time axis. The clock reads the
system's time once, at the start, and then advances by sample numbers. So it never jumps, whatever happens to
the system's clock later.
"""

import time
from dataclasses import dataclass
from typing import Protocol
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from opq_proto.kit.clock import system_clock
from opq_proto.messages import TimeSource


class SampleSource(Protocol):
    """The source of a Box's samples: a generator or a replayed recording."""

    @property
    def rate_millihz(self) -> int: ...

    @property
    def v_per_lsb(self) -> float: ...

    @property
    def nominal_v(self) -> float: ...

    @property
    def nominal_hz(self) -> float: ...

    @property
    def effective_bits(self) -> float: ...

    @property
    def offset_ns(self) -> int:
        """Time of sample 0 after the common start of the run."""
        ...

    def counts(self, first: int, count: int) -> NDArray[np.int16]:
        """(count,) converter counts from sample `first` on; callers request them in rising order."""
        ...

    def marks(self, first: int, count: int) -> tuple[int, ...]:
        """Samples in this span at which a disturbance begins, as truth for the log."""
        ...


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
        """A clock that starts now; NTP with the kernel's maximum error if that is synchronised, else FREE."""
        state = system_clock()
        return cls(time.monotonic_ns(), time.time_ns(), state.uncertainty_ns, state.source)

    @property
    def start_id(self) -> int:
        """The name of the start in which the samples of this run count, for Boxes without a gateway.

        Runs that begin at other moments have other names. A run under a virtual clock that is made again has
        the same one, as it has the same samples.
        """
        return (crc32(f"{self.monotonic_ns} {self.start_ns}".encode()) >> 1 or 1) << 32

    def t_ns(self, sample: int, rate_millihz: int, offset_ns: int = 0) -> int:
        """UTC of a sample; `offset_ns` is the time of its stream's sample 0 after the start."""
        return self.start_ns + offset_ns + sample * 10**12 // rate_millihz

    def due_ns(self, sample: int, rate_millihz: int) -> int:
        """Monotonic time at which the samples before `sample` have been taken."""
        return self.monotonic_ns + sample * 10**12 // rate_millihz
