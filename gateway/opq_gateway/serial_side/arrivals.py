"""Arrivals: the monotonic time of a sample index, estimated from the earliest arrivals over minutes.

A block arrives after its last sample: by the frame's time on the line, by up to a round of the reader,
and by whatever a busy machine adds. All of that only ever delays, so the truth lies along the lower
edge of the arrivals: per five seconds the earliest, over ten minutes the line that lies below them all
and closest to them (a lower hull: Moon, Skelly and Towsley, 1999, on a clock's skew from one-way delays),
then least squares over those near it for the slope. Jitter does not enter that leaves one block in five
seconds alone. How far the earliest of a bucket may still be from an undelayed one follows from how many
looks at the port there were, and how late the blocks of half of them came: a busy machine widens the bound.
Pure.
"""

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

BUCKET_S = 5.0
BUCKETS = 120
"""Ten minutes: a crystal's rate wanders by some 0.01 ppm meanwhile, 6 us."""
SLOPE_BUCKETS = 12
"""Before a minute the Box's own figure of its rate is better than a fitted one."""
CRYSTAL = 100e-6
"""No crystal is further off than this."""
FIRST_NS = 20e6
"""How late the earliest arrival of few blocks may be: a round of the reader; less with every bucket."""
LEFT = 10.0
"""Times the median lateness, by the number of looks. That the earliest is later than that has a chance of
0.1 % (delays are exponential) to 0.7 % (even)."""
LOOK_NS = 2_000_000
"""Blocks that are handled within so long were read in one look, or as good as."""
MOST_LOOKS = 1000
"""Per bucket: more than BUCKET_S of blocks."""
NEAR_NS = 200_000.0
"""An arrival this near to the lower edge counts; reader and blocks meet within 0.35 ms (reader.ROUND_S)."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Earliest arrivals as a line: monotonic ns = at_ns + (sample - sample_0) * period_ns."""

    sample: int
    at_ns: float
    period_ns: float
    bound_ns: float
    """How far the line may be above the earliest possible arrival, at its end."""
    slope_bound: float
    """The same for its rate, relative."""
    fitted: bool
    """The rate is fitted, not the Box's own."""
    buckets: int
    """Made from so many, the one that is being filled included."""

    def arrival_ns(self, sample: int) -> float:
        """When the block that ends with `sample` arrives at the earliest."""
        return self.at_ns + (sample - self.sample) * self.period_ns


class Arrivals:
    """The arrivals of one run of sample indices."""

    def __init__(self, rate_millihz: int) -> None:
        self._period_ns = 1e12 / rate_millihz
        self._bucket = round(BUCKET_S * rate_millihz / 1000)
        self._zero: tuple[int, int] | None = None
        self._low: tuple[int, float] | None = None  # sample and lateness of the bucket's earliest
        self._looks: list[float] = []  # of the bucket: the lateness of the last block of each look
        self._looked_ns = 0
        self._since = 0
        self._edge: deque[tuple[int, float, float]] = deque(maxlen=BUCKETS)  # and what may be left

    def add(self, end_sample: int, arrived_ns: int) -> bool:
        """A live block arrived; True when a bucket is full, so that `fit` may have changed."""
        if self._zero is None:
            self._zero = (end_sample, arrived_ns)
            self._since = end_sample
        late_ns = arrived_ns - self._zero[1] - (end_sample - self._zero[0]) * self._period_ns
        if self._low is None or late_ns < self._low[1]:
            self._low = (end_sample, late_ns)
        if arrived_ns - self._looked_ns < LOOK_NS and self._looks:
            self._looks[-1] = late_ns  # of blocks that were read at once the last has waited least
        elif len(self._looks) < MOST_LOOKS:
            self._looks.append(late_ns)
        self._looked_ns = arrived_ns
        if end_sample - self._since < self._bucket:
            return False
        self._edge.append((*self._low, self._left_ns()))
        self._low = None
        self._looks.clear()
        self._since = end_sample
        return True

    def fit(self) -> Fit | None:
        """The line through what is known by now; None before the first block."""
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
        slope = min(max(slope, -CRYSTAL), CRYSTAL)
        rest = y[near] - y[near].mean() - slope * x_near
        rms_ns = float(np.sqrt(np.mean(rest**2)))
        slope_bound = 3.5 * rms_ns / float(np.sqrt(x_near @ x_near))
        left_ns = 1 / float(np.sum(1 / left[near]))  # the looks of all of them together
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
        """How late the earliest block of the bucket may be, by how late the others of it are."""
        assert self._low is not None
        late_ns = float(np.median(self._looks)) - self._low[1]
        return max(FIRST_NS, LEFT * late_ns) / len(self._looks)

    def _flat(self, sample: int, x: NDArray[np.float64], y: NDArray[np.float64], left_ns: float) -> Fit:
        """By the Box's own rate; the newest points weigh against a rate that is wrong."""
        assert self._zero is not None
        lasting_ns = float(x[-1] - x[0])
        return Fit(
            sample=sample,
            at_ns=self._zero[1] + float(x[-1]) + float(y.min()),
            period_ns=self._period_ns,
            bound_ns=NEAR_NS + max(FIRST_NS / len(x), left_ns) + CRYSTAL * lasting_ns,
            slope_bound=CRYSTAL,
            fitted=False,
            buckets=len(x),
        )


def _lower_edge(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The line below all points with the least sum of distances: its values at `x`, its slope."""
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
