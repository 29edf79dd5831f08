"""ClockComparison: whether the Box's own time follows the system's clock.

A block arrives after its last sample was taken; that delay is never negative. So the earliest block gives an
upper bound for how far the Box's time is behind the system's clock. Between two blocks the Box's time drifts
at most by its crystal, so a bound from one quiet moment is valid for minutes on a busy machine, where every
block comes late. A step of the Box's time shows in its time stamps, however late they come.

    blocks that come before their last sample     the Box's time is ahead: another clock
    the earliest, and CRYSTAL_ERROR since, <= 18 ms     the system's clock
    nothing earlier than APART_NS for 20 s        another clock, or somebody set one of the two

Pure; times are handed in.
"""

from opq_gateway.serial_side.arrivals import CRYSTAL_ERROR
from opq_proto.link.messages import Samples

SHARED_NS = (-2_000_000, 18_000_000)
"""Delay of the earliest block after its last sample (a frame, and the reader's round): two Boxes that follow
the system's clock this well are at most 20 ms apart."""
APART_NS = 500_000_000
"""Even on a busy machine some block of 20 s comes earlier than this."""
WINDOW_S = 10.0
"""The earliest block of this time and of the same time before it count."""
STEP_NS = 1_000_000
NO_BLOCK_NS = 2**62


class ClockComparison:
    """Compares the Box's time with the system's clock over one run of samples."""

    def __init__(self) -> None:
        self._last: tuple[Samples, float] | None = None
        self._since_s = 0.0
        self._near_s = 0.0
        """Monotonic time of the last block that came when it should, by the system's clock."""
        self._earliest_ns, self._earliest_before_ns = NO_BLOCK_NS, NO_BLOCK_NS
        self._bound_ns = float(NO_BLOCK_NS)
        """Upper bound of how far the Box's time is behind the system's clock."""

    @property
    def follows(self) -> bool:
        """Whether the Box's time was found to follow, and later blocks do not contradict it."""
        earliest_ns = min(self._earliest_ns, self._earliest_before_ns)
        apart = APART_NS < earliest_ns < NO_BLOCK_NS
        return bool(SHARED_NS[0] <= earliest_ns and self._bound_ns <= SHARED_NS[1] and not apart)

    @property
    def is_apart(self) -> bool:
        """Whether the Box's time has been another than the system's clock for two windows without a break."""
        return self._last is not None and self._last[1] - self._near_s >= 2 * WINDOW_S

    def compare(self, samples: Samples, now_ns: int, now_s: float) -> None:
        """Adds a live block that arrived at `now_ns` by the system's clock, `now_s` monotonic."""
        if self._last is not None:
            before, then_s = self._last
            if stepped(before, samples):
                self._reset()  # earlier observations belong to another time
            else:
                self._bound_ns += CRYSTAL_ERROR * (now_s - then_s) * 1e9
        if now_s - self._since_s > WINDOW_S:
            self._since_s = now_s
            self._earliest_before_ns, self._earliest_ns = self._earliest_ns, NO_BLOCK_NS
        late_ns = now_ns - samples.t_ns - len(samples.counts) * 10**12 // samples.rate_millihz
        if abs(late_ns) <= APART_NS or self._last is None:
            self._near_s = now_s
        self._earliest_ns = min(self._earliest_ns, late_ns)
        self._bound_ns = min(self._bound_ns, float(late_ns))
        self._last = samples, now_s

    def _reset(self) -> None:
        self._since_s = 0.0
        self._earliest_ns, self._earliest_before_ns = NO_BLOCK_NS, NO_BLOCK_NS
        self._bound_ns = float(NO_BLOCK_NS)


def stepped(before: Samples, samples: Samples) -> bool:
    """Whether the Box's time moved by more than its samples did."""
    elapsed_ns = (samples.first_sample - before.first_sample) * 10**12 // before.rate_millihz
    return abs(samples.t_ns - before.t_ns - elapsed_ns) > STEP_NS + CRYSTAL_ERROR * abs(elapsed_ns)
