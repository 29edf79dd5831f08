"""The samples of a run that are still needed, and where UTC instants fall among them.

The run's clock is that of its first piece. A piece whose time differs from it by more than `SLIP_NS` sets it
again. The cutting into pieces therefore does not affect the result, and a crystal's drift is followed.
"""

import numpy as np

from opq_measure.signal import FloatArray, SignalPiece

SECOND_NS = 1_000_000_000
SLIP_NS = 100
"""A piece whose time is this far from the run's clock sets it again: 0.04 mrad at 60 Hz."""
MAX_RATE_CHANGE = 1e-3
"""Largest relative change of the rate that is a better measurement; a larger one means another signal."""


class UtcRun:
    """Samples `first` .. `end` (indices on the Box's axis), in their original unit of `gain` volts."""

    def __init__(self) -> None:
        self.first = 0
        self.gain = 1.0
        self.rate_hz = 0.0
        self._held = np.empty(0)
        self._sample = 0
        self._time_ns: int | None = None

    @property
    def end(self) -> int:
        return self.first + len(self._held)

    def push_samples(self, samples: SignalPiece) -> bool:
        """Accepts the next piece; returns True where it begins a new run.

        Raises:
            ValueError: `start_ns` is not known.
        """
        if samples.start_ns is None:
            raise ValueError("start_ns is not known, and this is against UTC")
        if len(samples.volts) == 0:
            return False
        begins = (
            self._time_ns is None
            or samples.first_sample != self.end
            or samples.v_per_lsb != self.gain
            or abs(samples.rate_hz / self.rate_hz - 1) > MAX_RATE_CHANGE
        )
        if begins:
            self._held, self.first, self.gain = np.empty(0), samples.first_sample, samples.v_per_lsb
        if begins or abs(self._late_ns(samples.first_sample, samples.start_ns)) > SLIP_NS:
            self._sample, self._time_ns = samples.first_sample, samples.start_ns
            self.rate_hz = samples.rate_hz
        self._held = np.concatenate((self._held, np.asarray(samples.volts, dtype=np.float64)))
        return begins

    def _late_ns(self, sample: int, time_ns: int) -> float:
        since_ns = (sample - self._sample) * SECOND_NS / self.rate_hz
        return time_ns - (self._time_ns or 0) - since_ns  # integers first: 1.7e18 ns do not fit a float

    def position(self, count: int, per_s: int = 1) -> float:
        """Position of the UTC instant `count / per_s` seconds, in samples on the Box's axis."""
        since_ns = (count * SECOND_NS - (self._time_ns or 0) * per_s) / per_s
        return self._sample + since_ns * self.rate_hz / SECOND_NS

    def count_from(self, position: int, per_s: int = 1) -> int:
        """The first `count` whose instant is at or after a position."""
        since_ns = round((position - self._sample) * SECOND_NS / self.rate_hz)
        return -(-((self._time_ns or 0) + since_ns) * per_s // SECOND_NS)

    def frame(self, first: int, last: int) -> FloatArray:
        """A copy of samples `first` .. `last`: its alignment for BLAS does not depend on earlier pieces."""
        return self._held[first - self.first : last - self.first].copy()

    def discard_before(self, before: int) -> None:
        """Drops the samples before this one."""
        spare = min(before, self.end) - self.first
        if spare > 0:
            self._held, self.first = self._held[spare:], self.first + spare
