"""Arrivals: the monotonic time of a sample index, estimated from the earliest arrivals over minutes.

A block arrives after its last sample: later by the frame's time on the line, by up to a round of the reader,
and by the delay of a busy machine. These are only delays, so the true time lies along the lower edge of the
arrivals. Each five seconds give their earliest arrival. Over ten minutes, the line below all of them and
closest to them is found (a lower hull: Moon, Skelly and Towsley, 1999, on a clock's skew from one-way
delays). Least squares over the arrivals near it then give the slope. Jitter has no effect while one block in
five seconds is undelayed. The bound for the delay of the earliest block follows from the number of reads of
the port and the median lateness of their blocks, so a busy machine widens it. Pure.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

BUCKET_S = 5.0
BUCKETS = 120
"""Ten minutes, in which a crystal's rate wanders by some 0.01 ppm, 6 us."""
SLOPE_BUCKETS = 12
"""Below a minute the Box's own rate is better than a fitted one."""
CRYSTAL_ERROR = 100e-6
"""Largest error of a crystal's rate."""
FIRST_NS = 20e6
"""How late the earliest of few blocks may be, a round of the reader; it shrinks with every bucket."""
LATENESS_FACTOR = 10.0
"""Factor on the median lateness, divided by the number of reads. The earliest arrival is later than that with
a probability of 0.1 % (exponential delays) to 0.7 % (uniform delays)."""
READ_NS = 2_000_000
"""Blocks handled within this time count as read at once."""
MAX_READS = 1000
"""Most reads per bucket; more than a bucket's time of blocks."""
NEAR_NS = 200_000.0
"""An arrival this close to the lower edge counts; reader and blocks meet within 0.35 ms (reader.ROUND_S)."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Earliest arrivals as a line: monotonic ns = at_ns + (sample - sample_0) * period_ns."""

    sample: int
    at_ns: float
    period_ns: float
    bound_ns: float
    """How far the line may lie above the earliest possible arrival, at its end."""
    slope_bound: float
    """The same bound for its rate, as a ratio."""
    fitted: bool
    """Whether the rate was fitted; otherwise it is the Box's own."""
    buckets: int
    """Number of buckets in it, including the unfinished one."""

    def arrival_ns(self, sample: int) -> float:
        """The earliest time at which the block that ends with `sample` arrives."""
        return self.at_ns + (sample - self.sample) * self.period_ns


class Arrivals:
    """The arrivals of one run of sample indices."""

    def __init__(self, rate_millihz: int) -> None:
        self._period_ns = 1e12 / rate_millihz
        self._bucket = round(BUCKET_S * rate_millihz / 1000)
        self._zero: tuple[int, int] | None = None
        self._low: tuple[int, float] | None = None  # the bucket's earliest: its sample and lateness
        self._late_ns: list[float] = []  # lateness of the last block of each read in the bucket
        self._read_ns = 0
        self._since = 0
        self._edge: deque[tuple[int, float, float]] = deque(maxlen=BUCKETS)  # with a bound of its lateness

    def add(self, end_sample: int, arrived_ns: int) -> bool:
        """Adds a live block; True when a bucket is full, so that `fit` may have changed."""
        if self._zero is None:
            self._zero = (end_sample, arrived_ns)
            self._since = end_sample
        late_ns = arrived_ns - self._zero[1] - (end_sample - self._zero[0]) * self._period_ns
        if self._low is None or late_ns < self._low[1]:
            self._low = (end_sample, late_ns)
        if arrived_ns - self._read_ns < READ_NS and self._late_ns:
            self._late_ns[-1] = late_ns  # the last of the blocks read at once has waited least
        elif len(self._late_ns) < MAX_READS:
            self._late_ns.append(late_ns)
        self._read_ns = arrived_ns
        if end_sample - self._since < self._bucket:
            return False
        self._edge.append((*self._low, self._left_ns()))
        self._low = None
        self._late_ns.clear()
        self._since = end_sample
        return True

    def fit(self) -> Fit | None:
        """The line through the arrivals so far; None before the first block."""
        points = list(self._edge)
        if self._low is not None and len(points) < SLOPE_BUCKETS:
            points.append((*self._low, self._left_ns()))
        if self._zero is None or not points:
            return None
        x = np.array([sample - self._zero[0] for sample, _, _ in points], dtype=np.float64) * self._period_ns
        y = np.array([late_ns for _, late_ns, _ in points])
        left = np.array([left_ns for _, _, left_ns in points])
        if len(self._edge) < SLOPE_BUCKETS:
            return self._flat(points[-1][0], x, y, float(left[y.argmin()]))
        hull, slope = _lower_edge(x, y)
        above = y - hull
        near = above <= NEAR_NS + 2 * np.median(above)
        x_near, y_near = x[near] - x[near].mean(), y[near] - y[near].mean()
        if np.count_nonzero(near) >= SLOPE_BUCKETS // 2:
            slope = float(x_near @ y_near / (x_near @ x_near))
        slope = min(max(slope, -CRYSTAL_ERROR), CRYSTAL_ERROR)
        rest = y[near] - y[near].mean() - slope * x_near
        rms_ns = float(np.sqrt(np.mean(rest**2)))
        slope_bound = 3.5 * rms_ns / float(np.sqrt(x_near @ x_near))
        left_ns = 1 / float(np.sum(1 / left[near]))  # by the reads of all buckets together
        at_end_ns = float(y[near].mean() + slope * (x[-1] - x[near].mean()))
        return Fit(
            sample=points[-1][0],
            at_ns=self._zero[1] + float(x[-1]) + at_end_ns + float(rest.min()),
            period_ns=self._period_ns * (1 + slope),
            bound_ns=NEAR_NS + left_ns + 2 * rms_ns + slope_bound * float(x[-1] - x[0]) / 2,
            slope_bound=slope_bound,
            fitted=True,
            buckets=len(points),
        )

    def _left_ns(self) -> float:
        """How late the bucket's earliest block may be."""
        assert self._low is not None
        return left_ns(self._late_ns, self._low[1])

    def _flat(self, sample: int, x: NDArray[np.float64], y: NDArray[np.float64], left_ns: float) -> Fit:
        """A line with the Box's own rate; its bound grows with time, because this rate may be wrong."""
        assert self._zero is not None
        lasting_ns = float(x[-1] - x[0])
        return Fit(
            sample=sample,
            at_ns=self._zero[1] + float(x[-1]) + float(y.min()),
            period_ns=self._period_ns,
            bound_ns=NEAR_NS + max(FIRST_NS / len(x), left_ns) + CRYSTAL_ERROR * lasting_ns,
            slope_bound=CRYSTAL_ERROR,
            fitted=False,
            buckets=len(x),
        )


def left_ns(reads_ns: Sequence[float], least_ns: float) -> float:
    """How late the earliest of some blocks may be, judged by the lateness of the last block of each read."""
    late_ns = float(np.median(np.array(reads_ns, np.float64))) - least_ns
    return max(FIRST_NS, LATENESS_FACTOR * late_ns) / len(reads_ns)


def _lower_edge(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The line below all points with the smallest sum of distances: its values at `x`, and its slope."""
    hull: list[int] = []
    for k in range(len(x)):
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            if (y[b] - y[a]) * (x[k] - x[a]) < (y[k] - y[a]) * (x[b] - x[a]):
                break
            hull.pop()
        hull.append(k)
    middle = x.mean()
    for a, b in pairwise(hull):
        if x[b] >= middle:
            slope = float((y[b] - y[a]) / (x[b] - x[a]))
            return y[a] + slope * (x - x[a]), slope
    return np.full(len(x), y.min()), 0.0
