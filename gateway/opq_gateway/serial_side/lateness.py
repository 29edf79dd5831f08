"""Lateness: whether a Box's blocks, by its receiver's time, come later or earlier than before.

Against the monotonic clock a receiver's time drifts at most by this machine's crystal. If it falls behind,
blocks are read late, or the Box runs slower than its time, as an emulated Box does on a busy machine; such
blocks do not show the time. If blocks come earlier than a crystal allows, all earlier ones came late.

    the earliest block of each window, compared with the windows before; by more than LATE_NS, and by more
    than the reads of a busy machine explain (arrivals.left_ns)

Pure; one receiver.
"""

from collections import deque
from enum import Enum, auto

from opq_gateway.serial_side.arrivals import CRYSTAL_ERROR, READ_NS, left_ns

WINDOW_NS = 900_000_000
"""Length of a window with enough reads. Two of them fit into clock.START_S."""
LONGEST_NS = 3 * 10**9
"""A window with fewer reads lasts up to this."""
WINDOW_READS = 4
"""Reads of the port that are enough for a window."""
LATE_NS = 100_000_000
WINDOWS_KEPT = 600
"""Ten minutes."""
NO_BLOCK_NS = 2**62


class Pace(Enum):
    """How the last window compares with those before."""

    STEADY = auto()
    LATE = auto()
    """Its blocks came later than before."""
    EARLIER = auto()
    """Its blocks came earlier, so earlier windows were late."""


class Lateness:
    """Examines the blocks of one run of a receiver's time."""

    def __init__(self, late_ns: int = 0) -> None:
        """`late_ns`: how late the first block is by earlier blocks without a receiver's time."""
        self._late_ns = late_ns if late_ns > LATE_NS else 0
        self._windows: deque[tuple[int, int, float]] = deque(maxlen=WINDOWS_KEPT)
        """Of steady windows: monotonic time, the least lateness, and the bound of its error."""
        self._zero_ns: int | None = None
        self._began_ns = self._due_ns = self._read_ns = 0
        self._reads: list[int] = []
        self._least_ns = NO_BLOCK_NS
        self.pace = Pace.STEADY
        self.late_since_ns: int | None = None
        """When the blocks began to be late; None: they are not late."""

    @property
    def is_settled(self) -> bool:
        """Whether a window agrees with an earlier one, so that the time is known."""
        return len(self._windows) > 1

    def add(self, end_ns: int, arrived_ns: int) -> bool:
        """Adds a block that ends at `end_ns` by the receiver; True when a window is over, so that `pace` is
        new."""
        if self._zero_ns is None:
            self._zero_ns = arrived_ns - end_ns
            self._began_ns, self._due_ns = arrived_ns, arrived_ns + WINDOW_NS
            if self._late_ns:
                self._windows.append((arrived_ns, -self._late_ns, 0.0))
        late_ns = arrived_ns - end_ns - self._zero_ns
        self._least_ns = min(self._least_ns, late_ns)
        if arrived_ns - self._read_ns < READ_NS:
            self._reads[-1] = late_ns
        else:
            self._reads.append(late_ns)
            self._read_ns = arrived_ns
        if arrived_ns < self._due_ns:
            return False
        if len(self._reads) < WINDOW_READS and arrived_ns - self._began_ns < LONGEST_NS:
            return False
        self._close(arrived_ns, self._least_ns)
        self._reads, self._least_ns = [], NO_BLOCK_NS
        self._read_ns, self._began_ns, self._due_ns = 0, arrived_ns, arrived_ns + WINDOW_NS
        return True

    def _close(self, now_ns: int, least_ns: int) -> None:
        own_left_ns = left_ns(self._reads, least_ns)
        windows = [(at_ns, low_ns, low_left_ns) for at_ns, low_ns, low_left_ns in self._windows]
        drifts_ns = [LATE_NS + 2 * CRYSTAL_ERROR * (now_ns - at_ns) for at_ns, _, _ in windows]
        lows = list(zip(windows, drifts_ns, strict=True))
        if any(least_ns - own_left_ns > low_ns + drift_ns for (_, low_ns, _), drift_ns in lows):
            self.pace = Pace.LATE
            if self.late_since_ns is None:
                self.late_since_ns = self._began_ns
            return
        self.late_since_ns = None
        self.pace = Pace.STEADY
        if windows and all(least_ns < low_ns - left - drift_ns for (_, low_ns, left), drift_ns in lows):
            self.pace = Pace.EARLIER
            self._windows.clear()
        self._windows.append((now_ns, least_ns, own_left_ns))
